"""Every two searchers of a task or of a run, compared pair by pair, with one correction for all of them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import pandas as pd

from rank_search.report.budget_order import largest_first
from rank_search.report.measure import HIGHER, Measure
from rank_search.report.statistics.friedman import Ranking, rank_blocks
from rank_search.report.statistics.holm import holm
from rank_search.report.statistics.paired import Paired, paired
from rank_search.report.statistics.signed_rank import least_p

LEVEL = 0.05
Block = tuple[str, str]


@dataclass(frozen=True)
class Pair:
    """Two searchers over the seeds that both finished, or over blocks.

    Attributes:
        budget: its text; empty over blocks.
        first, second: their names; the first has the better place.
        found: first less second.
        t_p, rank_p: of ``found``, adjusted by Holm for all pairs of the same table; NaN for a test that was not made,
            which signed ranks are not where they could not reach 5 % either.
    """

    budget: str
    first: str
    second: str
    found: Paired
    t_p: float
    rank_p: float

    @property
    def told(self) -> bool:
        """Whether the adjusted t test tells them apart at 5 %."""
        return self.t_p <= LEVEL


def reported_column(cells: pd.DataFrame, measure: Measure) -> str:
    """The column of the results that methods are compared by: of the test set if there is one, else of validation."""
    test = f"test_{measure.name}"
    return test if cells[test].notna().any() else f"val_{measure.name}"


def pairs_of_task(board: pd.DataFrame, cells: pd.DataFrame) -> tuple[Pair, ...]:
    """Every two searchers under every budget of one task, over the seeds that both have finished.

    Args:
        board: the task's rows of the leaderboard, which say who has the better place.
        cells: its rows of results.
    """
    measure = Measure.of(cells)
    column = reported_column(cells, measure)
    done = cells.loc[(cells["status"] == "done") & cells[column].notna()]
    rows = []
    for budget in largest_first(done["budget"]):
        of_budget = done.loc[done["budget"] == budget]
        by_seed = of_budget.pivot(index="seed", columns="searcher", values=column)
        placed = [name for name in board.loc[board["budget"] == budget, "searcher"] if name in by_seed.columns]
        for first, second in combinations(placed, 2):
            both = by_seed[[first, second]].dropna()
            rows.append((budget, first, second, paired(both[first], both[second], measure.better == HIGHER)))
    return _corrected(rows)


def pairs_over_blocks(results: pd.DataFrame) -> tuple[Pair, ...]:
    """Every two searchers over the blocks (a task and a budget) that both have: means over seeds, higher is better.

    Differences of several tasks are in several units: then only who is ahead is meant, not by how much.

    Args:
        results: rows of any number of tasks.
    """
    values = block_values(results)
    placed = list(ranking.ranks) if (ranking := ranking_of(results)) is not None else []
    placed += [name for name in values if name not in placed]
    rows = []
    for first, second in combinations(placed, 2):
        both = [block for block in values[first] if block in values[second]]
        found = paired([values[first][block] for block in both], [values[second][block] for block in both])
        rows.append(("", first, second, found))
    return _corrected(rows)


def block_values(results: pd.DataFrame) -> dict[str, dict[Block, float]]:
    """Per searcher and block (a task and a budget) the mean over finished seeds, signed so that higher is better."""
    found: dict[str, dict[Block, float]] = {}
    for task, cells in results.groupby("task"):
        measure = Measure.of(cells)
        column = reported_column(cells, measure)
        done = cells.loc[(cells["status"] == "done") & cells[column].notna()]
        for (budget, searcher), group in done.groupby(["budget", "searcher"]):
            mean = float(group[column].mean())
            found.setdefault(str(searcher), {})[(str(task), str(budget))] = mean if measure.better == HIGHER else -mean
    return found


def blocks_of(values: Mapping[str, Mapping[Block, float]]) -> list[Block]:
    """All blocks that any searcher has, by name."""
    return sorted({block for own in values.values() for block in own})


def ranking_of(results: pd.DataFrame) -> Ranking | None:
    """Mean ranks over all blocks (Demsar, JMLR 2006), of the searchers that have every one; None for fewer than two.

    Args:
        results: rows of any number of tasks.
    """
    values = block_values(results)
    blocks = blocks_of(values)
    whole = {name: own for name, own in values.items() if len(own) == len(blocks)}
    return rank_blocks({name: [-own[block] for block in blocks] for name, own in sorted(whole.items())})


def _corrected(rows: Sequence[tuple[str, str, str, Paired]]) -> tuple[Pair, ...]:
    by_t = holm([found.t_p for *_, found in rows])
    by_rank = holm([_reaching(found) for *_, found in rows])
    return tuple(
        Pair(budget, first, second, found, t, rank)
        for (budget, first, second, found), t, rank in zip(rows, by_t, by_rank, strict=True)
    )


def _reaching(found: Paired) -> float:
    return found.rank_p if least_p(found.n - found.ties) <= LEVEL else math.nan


def seeds_in_common(pairs: Iterable[Pair]) -> tuple[int, int] | None:
    """The least and the greatest number of pairs that two searchers share; None without any."""
    counts = sorted(pair.found.n for pair in pairs)
    return (counts[0], counts[-1]) if counts else None
