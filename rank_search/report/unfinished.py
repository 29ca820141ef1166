"""What a run has planned and not ended: its config names every cell, its results those that ended."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from itertools import product
from typing import Any, NamedTuple

from rank_search.errors import BudgetError
from rank_search.space.budget import Budget

MOST = 6
"""Groups of missing cells that a sentence names."""


class Planned(NamedTuple):
    """A cell as the results name it."""

    task: str
    budget: str
    searcher: str
    seed: int


def planned_cells(config: Mapping[str, Any]) -> list[Planned]:
    """All cells of a run's config, in the order of its lists; none where it does not say which.

    Args:
        config: as ``read_run_config`` gives it, defaults spelled out.
    """
    try:
        budgets = [_text(dict(bounds)) for bounds in config["budgets"]]
        arms = [str(arm.get("label") or arm["name"].rpartition(":")[2]) for arm in config["searchers"]]
        return [Planned(*cell) for cell in product(map(str, config["tasks"]), budgets, arms, map(int, config["seeds"]))]
    except (KeyError, TypeError, ValueError, AttributeError):
        return []


def unfinished_words(
    name: str, done: int, failed: int, planned: Sequence[Planned], missing: Collection[Planned]
) -> str:
    """One sentence: how many cells are done, and which are missing.

    Args:
        name: of the run, where there are several; may be empty.
        done, failed: how many of the planned cells.
        planned: all.
        missing: those that have neither ended nor failed, at least one.
    """
    groups = _grouped(planned, missing)
    named = "; ".join(text for text, _ in groups[:MOST])
    rest = sum(count for _, count in groups[MOST:])
    more = f"; and {rest} more cell{'s' * (rest > 1)}" if rest else ""
    told = f", {failed} failed" if failed else ""
    return (
        f"{f'{name}: ' if name else ''}{done} of {len(planned)} cells are done{told}; missing: {named}{more}; "
        "go on with --resume. What is said here is of the finished ones."
    )


def _grouped(planned: Sequence[Planned], missing: Collection[Planned]) -> list[tuple[str, int]]:
    """Texts and how many cells each is for: whole budgets, whole tasks, whole tasks at a budget, then the others."""
    absent, left, found = set(missing), set(missing), list[tuple[str, int]]()
    several = len({cell.task for cell in planned}) > 1

    def whole(cells: list[Planned], text: str) -> None:
        if absent.issuperset(cells) and not left.isdisjoint(cells):
            found.append((f"all of {text}", len(left.intersection(cells))))
            left.difference_update(cells)

    for budget in dict.fromkeys(cell.budget for cell in planned):
        whole([cell for cell in planned if cell.budget == budget], budget)
    for task in dict.fromkeys(cell.task for cell in planned):
        whole([cell for cell in planned if cell.task == task], task)
    for task, budget in dict.fromkeys((cell.task, cell.budget) for cell in planned):
        whole([cell for cell in planned if (cell.task, cell.budget) == (task, budget)], f"{task} at {budget}")
    seeds: dict[tuple[str, str, str], list[int]] = {}
    for cell in planned:
        if cell in left:
            seeds.setdefault((cell.task, cell.budget, cell.searcher), []).append(cell.seed)
    for (task, budget, searcher), of_arm in seeds.items():
        where = f"{searcher}{f' on {task}' if several else ''} at {budget}"
        found.append((f"{where} (seed{'s' * (len(of_arm) > 1)} {', '.join(map(str, of_arm))})", len(of_arm)))
    return found


def _text(bounds: dict[str, Any]) -> str:
    """A budget as the results spell it; a metric of a plug-in that is not here has its own words."""
    try:
        return str(Budget(**bounds))
    except BudgetError:
        return ",".join(f"{metric}={bound}" for metric, bound in bounds.items())
