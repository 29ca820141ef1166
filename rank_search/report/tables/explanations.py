"""What the columns of a report's tables say, for readers who meet them for the first time."""

from __future__ import annotations

import re

from rank_search.report.tables.table import Table

Patterns = tuple[tuple[str, str], ...]

_SEARCHER = ("searcher", "the method that chose the ranks; dense is the network as it was")
_BUDGET = ("budget", "what a plan may cost at most: a share of the dense network, or an absolute number")
_SEEDS = ("seeds", "how many seeds the row is of")
_PAIR: Patterns = (
    ("first", "the searcher with the better place in its leaderboard"),
    ("second", "the searcher that it is compared with"),
    ("difference.*", "mean of the first less the second, seed by seed, with half its 95 % Student-t interval"),
    ("seeds", "how many seeds both have finished"),
    ("blocks", "how many pairs of a task and a budget both have"),
    ("wins/ties/ losses", "in how many of them the first is better, the same, worse"),
    (
        r"p, t \(Holm\)",
        "of the two-sided paired t test, adjusted for all pairs of the table; – where all differences are the same",
    ),
    (
        r"p, ranks \(Holm\)",
        "of Wilcoxon's exact signed-rank test, adjusted alike; – below six pairs, which cannot reach 5 %",
    ),
)
COLUMNS: dict[str, Patterns] = {
    "leaderboard": (
        ("searcher", f"{_SEARCHER[1]}; behind it, where cells failed, how many seeds of how many are done"),
        _BUDGET,
        ("predicted time", "share of the dense network's time by the tables that budgets are held against, in %"),
        ("kept time", "measured time of one run of the network, as a share of the dense network's, in %"),
        ("kept .*", "cost of the compressed network, as a share of the dense network's, in %"),
        (".*before.*", "the measure on the validation set, after the repair and before the fine-tune"),
        (".*on validation", "the measure on the validation set after the fine-tune, with half its 95 % interval"),
        (".*on test", "the measure on the test set, which no search sees, after the fine-tune, with half its interval"),
        ("evals", "how many plans the search evaluated"),
        (r"samples \(k\)", "samples that the search ran forward or trained on, in thousands"),
        (r"search \(s\)", "wall time of the search in seconds"),
    ),
    "charged": (
        _BUDGET,
        _SEARCHER,
        _SEEDS,
        ("evaluations", "how many plans were evaluated"),
        ("samples forward", "how many samples were run forward: validation, and what a repair needs"),
        ("samples trained", "how many samples the search trained on; they are taken off the common fine-tune"),
        ("search seconds", "wall time of the search"),
    ),
    "pairs": (_BUDGET, *_PAIR),
    "hypervolume": (
        _SEARCHER,
        ("hypervolume.*", "area between the searcher's budgets and the reference, of kept cost and error; 0 to 1 for "
         "fractions; mean over seeds with half its 95 % interval"),
        ("seeds", "how many seeds finished every budget"),
    ),
    "mean_ranks": (_SEARCHER, ("mean rank", "mean over tasks and budgets of its place by the measure; 1 is best")),
    "regret": (
        _SEARCHER,
        ("regret at .*", "of the best plan after the work of that many evaluations: 0 is the best recorded plan, 1 the "
         "median one; in brackets the 95 % bootstrap interval over seeds"),
        ("test at .*", "the same by the loss on the test set"),
        ("mean rank", "mean over tasks and budgets of its place; 1 is best"),
        _SEEDS,
        ("CPU s", "mean CPU time of a search in seconds; what plans are worth was looked up"),
    ),
    "refitted_ranks": (
        _SEARCHER,
        ("mean rank, recalibrated", "of its answers by their loss with batch norm recalibrated"),
        ("mean rank, refitted", "of the same answers by their loss with factors refitted"),
        ("answers refitted", "how many of its answers the recording has refitted"),
    ),
    "proxies": (
        ("proxy", "what is known of a plan without data or without training"),
        ("Spearman, untrained", "its rank correlation with the loss before the fine-tune"),
        ("Spearman, fine-tuned", "its rank correlation with the loss after the fine-tune"),
        ("Kendall, fine-tuned", "Kendall's tau of the same"),
    ),
}  # fmt: skip
"""By the kind of table: headers as patterns, on one line, and their meaning. The first that fits counts."""


def explained(table: Table) -> tuple[tuple[str, str], ...]:
    """Headers on one line and what they say; none for a table of another kind, or a column that is not known.

    Args:
        table: its name begins with its kind.
    """
    kind = next((kind for kind in sorted(COLUMNS, key=len, reverse=True) if _is_of(table.name, kind)), "")
    found = []
    for column in table.columns:
        header = " ".join(column.header.split())
        meaning = next((said for pattern, said in COLUMNS.get(kind, ()) if re.fullmatch(pattern, header)), "")
        if meaning:
            found.append((header, meaning))
    return tuple(found)


def _is_of(name: str, kind: str) -> bool:
    return name == kind or name.startswith(f"{kind}_")
