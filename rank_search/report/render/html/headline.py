"""What a page says first: a headline and a few sentences; more stand with their tasks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rank_search.report.sections import Report

MOST = 10
"""Sentences below the headline."""


@dataclass(frozen=True)
class Headline:
    """Words above all.

    Attributes:
        first: the headline.
        others: sentences below it.
        shortened: whether tasks have sentences that are not among these.
    """

    first: str
    others: tuple[str, ...]
    shortened: bool


def headline(report: Report) -> Headline:
    """Of one task what its tightest budget leaves, then all that was said.

    Of several what holds of all together and of every task: all, or who leads each budget, as there is room. What
    leads the summary leads here. That a run is not finished stands before all.

    Args:
        report: whose summary may be empty: then cells are counted.
    """
    said = report.summary[len(report.unfinished) :]
    found = _of_finished(report, said or (_counted(report),))
    if not report.unfinished:
        return found
    return Headline(report.unfinished[0], (*report.unfinished[1:], found.first, *found.others), found.shortened)


def _of_finished(report: Report, said: Sequence[str]) -> Headline:
    of_tasks = [sentence for section in report.sections for sentence in section.summary]
    own = [sentence for sentence in said if sentence not in of_tasks]
    gists = [section.gist for section in report.sections if section.gist]
    first, *others = (*gists, *said) if len(report.sections) == 1 else said
    if len(others) <= MOST:
        return Headline(first, tuple(others), shortened=False)
    leads = [line for section in report.sections for line in section.summary if line.startswith(f"{section.task} at ")]
    before, after = own, leads or of_tasks
    if own and said[0] != own[0]:
        before, after = after[: max(1, MOST + 1 - len(own))], own
    first, *others = [*before, *after]
    return Headline(first, tuple(others[:MOST]), shortened=True)


def _counted(report: Report) -> str:
    def many(count: int, noun: str) -> str:
        return f"{count} {noun}{'s' * (count != 1)}"

    said = f"{many(len(report.searchers), 'searcher')} on {many(len(report.sections), 'task')}"
    return said + (f"; {many(len(report.failures), 'cell')} failed." if report.failures else "; no cell failed.")
