"""Random tables of a greedy budget step, and what every selection of their ranks loses and costs, by enumeration."""

from __future__ import annotations

import itertools
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import FrameType

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import LinearConstraint, milp

from rank_search.searchers.batude.greedy_ranks import RankTable

Floats = NDArray[np.float64]
Ranks = tuple[int, ...]
Instance = tuple[list[RankTable], Floats]


def convex_lost(rng: np.random.Generator, largest: int) -> Floats:
    """``[largest + 1]``: from 1 at rank 0 to 0, in steps that shrink."""
    energies = np.sort(rng.exponential(size=largest) * np.exp(-np.arange(largest) / rng.uniform(1, 6)))[::-1]
    return np.append(np.cumsum(energies[::-1])[::-1], 0.0) / energies.sum()


def matrix_table(rng: np.random.Generator, metrics: int, largest: int = 8) -> RankTable:
    """One mode; the ranks near the full one cost more than the dense layer."""
    top = int(rng.integers(2, largest + 1))
    costs = np.arange(top + 1)[:, None] * rng.integers(3, 30, metrics).astype(float)
    dense = np.floor(costs[-1] * rng.uniform(0.5, 0.9))
    possible = np.arange(top + 1) >= 1
    return RankTable(convex_lost(rng, top), costs, dense, possible, possible & (costs < dense).any(1), True)


def tucker_table(rng: np.random.Generator, metrics: int, largest: int = 5) -> RankTable:
    """Two modes of a random core whose slices fade; parameters, and multiply-adds of a layer with or without stride."""
    out, into = (int(size) for size in rng.integers(2, largest + 1, 2))
    taps, pixels = int(rng.integers(2, 10)), int(rng.choice([1, 4]))
    fading = [np.exp(-np.arange(size) / rng.uniform(1, 4)) for size in (out, into)]
    core = np.square(rng.normal(size=(out, into, taps)) * fading[0][:, None, None] * fading[1][:, None])
    lost = np.zeros((out + 1, into + 1))
    for one, other in np.ndindex(*lost.shape):
        lost[one, other] = 1 - core[:one, :other].sum() / core.sum()
    lost[-1, -1] = 0.0
    first, second = np.indices(lost.shape)
    params = into * second + taps * first * second + out * first
    macs = pixels * into * second + taps * first * second + out * first
    both = np.stack([params, macs], axis=-1).astype(float)
    costs, dense = both[..., 2 - metrics :], np.full(metrics, float(out * into * taps))
    possible = (first >= 1) & (second >= 1) & (first <= taps * second) & (second <= taps * first)
    return RankTable(lost, costs, dense, possible, possible & (costs < dense).any(-1), True)


def thinned(rng: np.random.Generator, table: RankTable) -> RankTable:
    """Half of the ranks, drawn at random, are not offered."""
    offered = table.offered & (rng.random(table.offered.shape) < 0.5)
    complete = bool((offered == table.offered).all())
    return RankTable(table.lost, table.costs, table.dense, table.possible, offered, complete)


def choices(table: RankTable) -> tuple[list[Ranks], Floats, Floats]:
    """Dense and every offered rank, ``[n]`` of what they lose and ``[n, metrics]`` of what they cost."""
    ranks: list[Ranks] = [(), *(tuple(row) for row in np.argwhere(table.offered).tolist())]
    lost = np.array([0.0 if one == () else table.lost[one] for one in ranks])
    return ranks, lost, np.array([table.dense if one == () else table.costs[one] for one in ranks])


def lost_by(tables: Sequence[RankTable], ranks: Sequence[Ranks]) -> float:
    return float(sum(0.0 if one == () else table.lost[one] for table, one in zip(tables, ranks, strict=True)))


def cost_of(tables: Sequence[RankTable], ranks: Sequence[Ranks]) -> Floats:
    return np.sum([table.dense if one == () else table.costs[one] for table, one in zip(tables, ranks, strict=True)], 0)


def least_loss(tables: Sequence[RankTable], capacity: Floats) -> float | None:
    """The least loss of all selections within the capacity."""
    total, spent = np.zeros(1), np.zeros((1, len(capacity)))
    for _, lost, cost in map(choices, tables):
        total = (total[:, None] + lost).ravel()
        spent = (spent[:, None] + cost).reshape(-1, len(capacity))
    inside = (spent <= capacity).all(1)
    return float(total[inside].min()) if inside.any() else None


def least_loss_by_milp(tables: Sequence[RankTable], capacity: Floats) -> float:
    """The same for more selections than can be listed."""
    found = [choices(table) for table in tables]
    layer = np.repeat(np.arange(len(tables)), [len(ranks) for ranks, _, _ in found])
    one_each = (layer[None, :] == np.arange(len(tables))[:, None]).astype(float)
    answer = milp(
        np.concatenate([lost for _, lost, _ in found]),
        constraints=[
            LinearConstraint(one_each, 1, 1),
            LinearConstraint(np.concatenate([cost for _, _, cost in found]).T, -np.inf, capacity),
        ],
        integrality=np.ones(len(layer)),
        options={"mip_rel_gap": 0},
    )
    assert answer.status == 0
    return float(answer.fun)


def random_instance(kind: str, metrics: int, seed: int, thin: bool = False, layers: int | None = None) -> Instance:
    """A few layers of one mode, of two or of both kinds, and a capacity that something fits."""
    rng = np.random.default_rng([seed, metrics, thin])
    makers = {"one mode": [matrix_table], "two modes": [tucker_table], "mixed": [matrix_table, tucker_table]}[kind]
    small = layers is None
    tables = []
    for _ in range(int(rng.integers(1, 5)) if layers is None else layers):
        maker = makers[int(rng.integers(len(makers)))]
        largest = {matrix_table: 8, tucker_table: 4}[maker] * (1 if small else 3)
        table = maker(rng, metrics, largest)
        tables.append(thinned(rng, table) if thin else table)
    least = np.sum([choices(table)[2].min(0) for table in tables], axis=0)
    dense = np.sum([table.dense for table in tables], axis=0)
    return tables, np.floor(least + rng.random(metrics) * (dense - least))


def instances(kind: str, metrics: int, count: int, thin: bool = False) -> Iterator[Instance]:
    return (random_instance(kind, metrics, seed, thin) for seed in range(count))


@contextmanager
def at_most(seconds: float) -> Iterator[None]:
    """Ends what never comes to an end."""

    def stop(number: int, frame: FrameType | None) -> None:
        raise TimeoutError(f"no answer after {seconds} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def better_neighbours(tables: Sequence[RankTable], ranks: Sequence[Ranks], capacity: Floats) -> list[tuple[int, Ranks]]:
    """Every choice of one layer that loses less and still fits with the others as they are."""
    room, found = capacity - cost_of(tables, ranks), []
    for i, (table, here) in enumerate(zip(tables, ranks, strict=True)):
        options, lost, cost = choices(table)
        now = options.index(here)
        better = (lost < lost[now] - 1e-12) & (cost - cost[now] <= room).all(1)
        found += [(i, option) for option in itertools.compress(options, better)]
    return found
