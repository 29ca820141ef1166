"""The data-free optimum of a ResNet-20, ``space.minimise``, against ``scipy.optimize.milp`` on the same tables."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
from cifar import add_weights, resnet20
from numpy.typing import NDArray
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_matrix
from timing import Spread, parser, print_table, print_verdict, seconds, use_threads

from rank_search.space import Budget, RankSpace

BUDGETS = (0.7, 0.5, 0.3)
FORMS = (("tucker2",), ("tucker2", "cp"))
TARGET_GAP = 0.5
PROOF_LIMIT_S = 60.0

Tables = list[NDArray[np.float64]]


@dataclass(frozen=True)
class Exact:
    """What ``milp`` found: the value of its selection, whether proven the least, and the seconds of the call."""

    value: float
    proven: bool
    spent_s: float


def exact(space: RankSpace, values: Tables, budget: Budget, prune: bool) -> Exact:
    """One binary per option, one option per layer, the MACs within the budget; proven to a relative gap of 0.

    With ``prune`` the options that a cheaper one of the same layer beats are dropped first, as an expert would.
    """
    macs = [options.costs[:, space.metric_names.index("macs")] for options in space.layers]
    select = undominated if prune else lambda value, _: np.flatnonzero(np.isfinite(value))
    start = time.perf_counter()
    rows = [select(value, cost) for value, cost in zip(values, macs, strict=True)]
    objective = np.concatenate([value[row] for value, row in zip(values, rows, strict=True)])
    weight = np.concatenate([cost[row] for cost, row in zip(macs, rows, strict=True)])
    layer = np.repeat(np.arange(len(rows)), [len(row) for row in rows])
    one_each = csr_matrix((np.ones(len(layer)), (layer, np.arange(len(layer)))))
    capacity = budget.limits(space.dense_cost)["macs"] - space.fixed_cost["macs"]
    answer = milp(
        objective,
        integrality=np.ones(len(objective)),
        bounds=Bounds(0, 1),
        constraints=[LinearConstraint(one_each, 1, 1), LinearConstraint(weight[None].astype(float), ub=capacity)],
        options={"mip_rel_gap": 0.0, "time_limit": PROOF_LIMIT_S},
    )
    spent = time.perf_counter() - start
    if answer.x is None:
        return Exact(float("nan"), False, spent)
    chosen = answer.x > 0.5
    fits = chosen.sum() == len(rows) and weight[chosen].sum() <= capacity
    return Exact(float(objective[chosen].sum()), bool(answer.status == 0 and fits), spent)


def undominated(value: NDArray[np.float64], cost: NDArray[np.int64]) -> NDArray[np.int64]:
    """The options that no option of at most their cost beats, by rising cost."""
    order = np.lexsort((value, cost))
    best = np.minimum.accumulate(np.concatenate([[np.inf], value[order]]))
    return order[value[order] < best[:-1]]


@dataclass(frozen=True)
class Measured:
    """One instance: ours, and milp's answers to the full and to the pruned tables; gaps in percent."""

    forms: str
    macs: float
    value: float
    bound_gap: float
    spent: Spread
    full: Exact
    pruned: Exact

    @property
    def optimum(self) -> float:
        """The proven least value; NaN when neither call of milp came to its end."""
        return min((found.value for found in (self.full, self.pruned) if found.proven), default=float("nan"))

    @property
    def optimum_gap(self) -> float:
        return 100 * (self.value / self.optimum - 1)

    @property
    def times_faster(self) -> list[float]:
        return [found.spent_s / self.spent.median for found in (self.full, self.pruned)]

    def cells(self) -> list[str]:
        gaps = [f"{self.bound_gap:.3f}", f"{self.optimum_gap:+.3f}"]
        times = [*self.spent.cells(1e-3), f"{self.full.spent_s:.2f}", f"{self.pruned.spent_s:.2f}"]
        ratios = [f"{ratio:.0f}" for ratio in self.times_faster]
        return [self.forms, f"{self.macs}", f"{self.value:.5f}", f"{self.optimum:.5f}", *gaps, *times, *ratios]


def measure(space: RankSpace, values: Tables, forms: str, macs: float, repetitions: int) -> Measured:
    """Ours many times before, between and after the two calls of milp."""
    budget = Budget(macs=macs)
    solution = space.minimise(values, budget)
    spent: list[float] = []

    def ours() -> None:
        spent.extend(seconds(lambda: space.minimise(values, budget)) for _ in range(repetitions))

    ours()
    full = exact(space, values, budget, prune=False)
    ours()
    pruned = exact(space, values, budget, prune=True)
    ours()
    gap = 100 * (solution.value / solution.lower_bound - 1)
    return Measured(forms, macs, solution.value, gap, Spread.of(spent), full, pruned)


def main() -> None:
    command = parser(__doc__)
    add_weights(command)
    arguments = command.parse_args()
    use_threads(arguments.threads)
    model, example = resnet20(arguments.weights)
    found: list[Measured] = []
    for forms in FORMS:
        space = RankSpace.from_model(model, example, forms=forms)
        start = time.perf_counter()
        values = space.relative_errors()
        spent = time.perf_counter() - start
        print(f"{'+'.join(forms)}: {len(space.layers)} layers, {sum(map(len, values)):,} options, tables {spent:.2f} s")
        found += [measure(space, values, "+".join(forms), macs, arguments.repetitions or 10) for macs in BUDGETS]
    header = ["forms", "macs", "value", "optimum", "to bound %", "to milp %", "ms", "range", "milp s", "pruned milp s"]
    print_table([*header, "milp/ours", "pruned/ours"], [one.cells() for one in found])
    print(
        "Ours: repeated calls before, between and after; milp: one call each, to a relative gap of 0, "
        f"at most {PROOF_LIMIT_S:.0f} s; pruned: without the options that a cheaper one of their layer beats."
    )
    judged = [one for one in found if one.forms == "tucker2"]
    bound, optimum = max(one.bound_gap for one in judged), max(one.optimum_gap for one in judged)
    faster = min(min(one.times_faster) for one in judged)
    close = all(one.bound_gap <= TARGET_GAP and one.optimum_gap <= TARGET_GAP for one in judged)
    print_verdict(
        f"tucker2: at most {TARGET_GAP} % above its bound and above milp, not slower than the faster milp",
        f"at most {bound:.3f} % and {optimum:.3f} %, at least {faster:.0f} times faster",
        close and faster >= 1,
    )


if __name__ == "__main__":
    main()
