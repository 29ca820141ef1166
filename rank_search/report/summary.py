"""A report in words: who leads, how sure that is, and what is kept."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

import pandas as pd

from rank_search.report.measure import Measure
from rank_search.report.pairs import LEVEL, Pair, reported_column
from rank_search.report.ranking_words import not_told_words, too_few_words
from rank_search.report.statistics.friedman import Ranking
from rank_search.report.tables.pairs import p_words, signed

SAME = 1e-9  # means that differ by less share the lead


def task_summary(task: str, board: pd.DataFrame, cells: pd.DataFrame, pairs: Sequence[Pair]) -> tuple[str, ...]:
    """Sentences on one task, a few per budget from the loosest; nothing that the statistics do not carry.

    Args:
        task: its name.
        board: its rows of the leaderboard.
        cells: its rows of results.
        pairs: every two of its searchers.
    """
    measure = Measure.of(board)
    name = "test" if reported_column(cells, measure).startswith("test_") else "validation"
    dense = board.loc[board["budget"] == ""].iloc[0]
    found = []
    for budget in dict.fromkeys(board.loc[board["budget"] != "", "budget"]):
        rows = board.loc[(board["budget"] == budget) & board[name].notna()]
        if rows.empty:
            found.append(f"{task} at {budget}: no cell has finished.")
            continue
        of_budget = [pair for pair in pairs if pair.budget == budget]
        found.append(f"{task} at {budget}: {_lead(rows, name, measure)} {_kept(rows.iloc[0], dense, name, measure)}")
        found.extend(_told(rows, of_budget, len(pairs), measure))
    return tuple(found)


def gist(board: pd.DataFrame, cells: pd.DataFrame) -> str:
    """What the tightest budget of a task leaves, for a reader who reads no more; empty if nothing has finished.

    Args:
        board: the task's rows of the leaderboard.
        cells: its rows of results.
    """
    measure = Measure.of(board)
    name = "test" if reported_column(cells, measure).startswith("test_") else "validation"
    dense = board.loc[board["budget"] == ""].iloc[0]
    rows = board.loc[(board["budget"] != "") & board[name].notna()]
    if rows.empty:
        return ""
    best = rows.loc[rows["budget"] == rows.iloc[-1]["budget"]].iloc[0]
    unit = f" {measure.unit}" if measure.unit else ""
    parts = [f"{100 * best['kept_macs']:.1f} % of the MACs"]
    if not math.isnan(best["latency_share"]):
        parts.append(f"{100 * best['latency_share']:.0f} % of the time")
    worth = f"{name} {measure.name} of {measure.text(best[name])}{unit}"
    if not math.isnan(dense[name]):
        worth += f" (dense {measure.text(dense[name])}{unit})"
    return f"With {' and '.join(parts)}, {best['searcher']} has a {worth}."


def run_summary(ranking: Ranking | None, left_out: Sequence[str]) -> tuple[str, ...]:
    """Sentences on all tasks and budgets together: who is first, if three searchers were ranked, and who was not.

    Args:
        ranking: of the searchers that have every block.
        left_out: those that have not.
    """
    nobody = "" if ranking is not None else "No two searchers are ranked over all tasks and budgets. "
    out = f"{nobody}Not ranked, for want of a number in every block: {', '.join(left_out)}."
    if ranking is None or math.isnan(ranking.p):
        return (out,) if left_out else ()
    first = next(iter(ranking.ranks))
    said = f"Over {ranking.blocks} tasks x budgets, Friedman's {p_words(ranking.p)}"
    if not ranking.can_tell:
        words = too_few_words(ranking)
    elif ranking.p > LEVEL:
        words = not_told_words(ranking)
    else:
        alike = [name for name in ranking.not_worse if name != first]
        told = f"not told from it: {', '.join(alike)}" if alike else "it is told from all others"
        words = (
            f"{said}. First by mean rank: {first} ({ranking.ranks[first]:.2f}); Nemenyi's critical difference at 5 % "
            f"is {ranking.critical_difference:.2f}; {told}."
        )
    return (words, out) if left_out else (words,)


def _lead(rows: pd.DataFrame, name: str, measure: Measure) -> str:
    best = rows.iloc[0]
    value = f"{measure.text(best[name])}{f' {measure.unit}' if measure.unit else ''}"
    near = (rows[name] - best[name]).abs() <= SAME * max(1.0, abs(best[name]))
    leaders = list(map(str, rows.loc[near, "searcher"]))
    seeds = sorted(set(rows.loc[near, "seeds_done"]))
    over = f"{'-'.join(map(str, dict.fromkeys([seeds[0], seeds[-1]])))} seed{'s' * (seeds[-1] > 1)}"
    what = f"{name} {measure.name} of {value} after fine-tuning, the mean of {over}"
    if len(rows) == 1:
        return f"{leaders[0]}, alone, has a {what}."
    if len(leaders) > 1:
        return f"{', '.join(leaders[:-1])} and {leaders[-1]} share the lead with a {what}."
    return f"{leaders[0]} leads with a {what}."


def _kept(best: pd.Series[Any], dense: pd.Series[Any], name: str, measure: Measure) -> str:
    parts = [f"{100 * best['kept_macs']:.1f} % of the MACs"]
    if not math.isnan(best["latency_share"]):
        parts.append(f"{100 * best['latency_share']:.0f} % of the measured time")
    worth = ""
    if not math.isnan(dense[name]):
        whole = f"{measure.text(dense[name])}{f' {measure.unit}' if measure.unit else ''}"
        if measure.in_percent and dense[name] > 0:
            parts.append(
                f"{100 * best[name] / dense[name]:.1f} % of the dense network's {name} {measure.name} ({whole})"
            )
        else:
            worth = f"; the dense network has {whole}"
    listed = parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"
    return f"{best['searcher']} keeps {listed}{worth}."


def _told(rows: pd.DataFrame, pairs: Sequence[Pair], family: int, measure: Measure) -> Iterator[str]:
    """Of the pairs of the first with all others, the next one first."""
    best = str(rows.iloc[0]["searcher"])
    of_best = [pair for pair in pairs if pair.first == best]
    if not of_best:
        return
    tested = [pair for pair in of_best if not math.isnan(pair.t_p)]
    if all(pair.found.n < 2 for pair in of_best):
        yield f"No two searchers share two seeds with {best}: whether its lead is more than chance is not known."
        return
    yield _second(of_best[0], measure)
    told = [pair.second for pair in tested if pair.told]
    alike = [pair.second for pair in of_best if not pair.told]
    how = f"paired t tests over seeds, Holm over the {family} pairs of the task, 5 %"
    if not alike:
        yield f"{best} differs from all others ({how})."
    elif not told:
        yield f"{best} is not shown to differ from any other ({how}): the order is not to be read as a difference."
    else:
        yield f"Not shown to differ from {best}: {', '.join(alike)}; shown to: {', '.join(told)} ({how})."


def _second(pair: Pair, measure: Measure) -> str:
    found = pair.found
    unit = "points" if measure.in_percent else measure.unit or measure.name
    if found.n < 2:
        return f"{pair.first} and {pair.second}, the next, share {found.n or 'no'} seed: no interval can be given."
    if found.ties == found.n:
        return f"{pair.second}, the next, is as good in each of the {found.n} common seeds."
    low, high = found.mean - found.half_width, found.mean + found.half_width
    return (
        f"{pair.first} less {pair.second}, the next: {signed(found.mean, measure)} {unit} over {found.n} common seeds, "
        f"95 % interval {signed(low, measure)} to {signed(high, measure)}; wins/ties/losses "
        f"{found.wins}/{found.ties}/{found.losses}; {p_words(pair.t_p)} after Holm."
    )
