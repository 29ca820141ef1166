"""Every two searchers compared, as tables."""

from __future__ import annotations

import math
from collections.abc import Sequence

import pandas as pd

from rank_search.report.measure import ABSENT, Measure
from rank_search.report.pairs import Pair
from rank_search.report.tables.table import MIDDLE, Column, Table

MOST_SEARCHERS = 6
"""Of more searchers the table shows the pairs with the first of every budget only; the numbers have all."""
LEGEND = (
    "Pairs: difference of the first less the second over the seeds that both have, with half the 95 % Student-t "
    "interval (of one comparison). p: two-sided paired t test and Wilcoxon's exact signed-rank test, each adjusted by "
    "Holm for all pairs of the table. Signed ranks of fewer than six pairs cannot reach 5 % (three: least p .25) and "
    "are left out; so is a t test where all differences are the same. What is not told apart is not shown to be equal."
)


def pairs_table(task: str, pairs: Sequence[Pair], measure: Measure) -> Table:
    """The pairs of one task.

    Args:
        task: its name.
        pairs: of all its budgets.
        measure: that it reports.
    """
    shown, part = _shown(pairs)
    budgets = tuple(pair.budget for pair in shown)
    columns = (
        Column("budget\n", budgets, numeric=False),
        *_names(shown),
        Column(f"difference\n{_in_unit(measure)}", tuple(_difference(pair, measure) for pair in shown)),
        *_counts(shown, "seeds"),
    )
    return Table(f"{task}: pairs{part}", columns, budgets, f"pairs_{task}", _numbers(pairs, task))


def pairs_over_blocks_table(pairs: Sequence[Pair]) -> Table:
    """The pairs of a run over its tasks and budgets, without a difference: tasks have units of their own."""
    shown, part = _shown(pairs)
    columns = (*_names(shown), *_counts(shown, "blocks"))
    numbers = _numbers(pairs).drop(columns=["task", "budget", "difference", "half_width", "t_p", "t_p_holm"])
    return Table(f"pairs over tasks x budgets{part}", columns, tuple("" for _ in shown), "pairs", numbers)


def _shown(pairs: Sequence[Pair]) -> tuple[list[Pair], str]:
    names = {name for pair in pairs for name in (pair.first, pair.second)}
    if len(names) <= MOST_SEARCHERS:
        return list(pairs), ""
    first: dict[str, str] = {}
    for pair in pairs:
        first.setdefault(pair.budget, pair.first)
    return [pair for pair in pairs if pair.first == first[pair.budget]], " with the first"


def _names(pairs: Sequence[Pair]) -> tuple[Column, ...]:
    return (
        Column("first\n", tuple(pair.first for pair in pairs), numeric=False),
        Column("second\n", tuple(pair.second for pair in pairs), numeric=False),
    )


def _counts(pairs: Sequence[Pair], what: str) -> tuple[Column, ...]:
    score = tuple(f"{pair.found.wins}/{pair.found.ties}/{pair.found.losses}" for pair in pairs)
    columns = [
        Column(f"{what}\n", tuple(str(pair.found.n) for pair in pairs)),
        Column("wins/ties/\nlosses", score),
        Column("p, t\n(Holm)", tuple(p_text(pair.t_p) for pair in pairs)),
        Column("p, ranks\n(Holm)", tuple(p_text(pair.rank_p) for pair in pairs)),
    ]
    return tuple(columns if what == "seeds" else [*columns[:2], columns[3]])


def _in_unit(measure: Measure) -> str:
    return f"({'points' if measure.in_percent else measure.unit or measure.name})"


def _difference(pair: Pair, measure: Measure) -> str:
    half = measure.half_width_text(pair.found.half_width)
    return MIDDLE.join(filter(None, [signed(pair.found.mean, measure), half]))


def signed(value: float, measure: Measure) -> str:
    """A difference of measures with its sign."""
    text = measure.text(value)
    return f"+{text}" if value > 0 and not math.isnan(value) else text


def p_text(p: float) -> str:
    """A p value: two significant digits, never 0."""
    if math.isnan(p):
        return ABSENT
    return "<0.001" if p < 0.001 else f"{p:.2g}" if p < 0.1 else f"{p:.2f}"


def p_words(p: float) -> str:
    """``p = 0.02``, ``p < 0.001``, ``p is not defined``."""
    text = p_text(p)
    return "p is not defined" if text == ABSENT else f"p < {text[1:]}" if text[0] == "<" else f"p = {text}"


def _numbers(pairs: Sequence[Pair], task: str = "") -> pd.DataFrame:
    return pd.DataFrame(
        [
            {
                **{"task": task, "budget": pair.budget, "first": pair.first, "second": pair.second},
                **{"difference": pair.found.mean, "half_width": pair.found.half_width, "n": pair.found.n},
                **{"wins": pair.found.wins, "ties": pair.found.ties, "losses": pair.found.losses},
                **{"t_p": pair.found.t_p, "t_p_holm": pair.t_p},
                **{"signed_rank_p": pair.found.rank_p, "signed_rank_p_holm": pair.rank_p},
            }
            for pair in pairs
        ]
    )
