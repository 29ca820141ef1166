"""What every cell of a task has chosen: a row per layer, a column per cell."""

from __future__ import annotations

from collections.abc import Mapping

from rank_search.report.measure import ABSENT
from rank_search.report.tables.table import Column, Table
from rank_search.space.plan import Choice

Cell = tuple[str, str, int]
"""Budget, searcher, seed."""


def plans_table(task: str, plans: Mapping[Cell, Mapping[str, Choice]]) -> Table:
    """The form and the ranks of every layer in every cell; a dash where a plan has no such layer.

    Args:
        task: its name.
        plans: by cell, in the order of the columns.
    """
    layers = tuple(dict.fromkeys(layer for plan in plans.values() for layer in plan))
    columns = [
        Column(
            f"{budget}\n{searcher}, seed {seed}",
            tuple(str(plan[layer]) if layer in plan else ABSENT for layer in layers),
            numeric=False,
        )
        for (budget, searcher, seed), plan in plans.items()
    ]
    title = f"{task}: form and ranks of every layer in {len(plans)} cells"
    return Table(title, (Column("layer\n", layers, numeric=False), *columns), tuple("" for _ in layers))
