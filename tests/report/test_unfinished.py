"""Runs that were killed: what is missing is said first, and marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from rich.console import Console
from run_folder import Row, done, failed
from seeded_runs import write_evaluated

from rank_search.commands.printed_report import print_report, print_together
from rank_search.report import report_of
from rank_search.report.render.html.headline import headline
from rank_search.report.render.markdown import markdown_of
from rank_search.report.runs import read_all
from rank_search.report.unfinished import Planned, planned_cells, unfinished_words

NAMES = ("a", "b", "c")


def config(**changes: Any) -> dict[str, Any]:
    """Of 1 x 2 x 3 x 3 = 18 cells."""
    return {
        "tasks": {"digits": {}},
        "budgets": [{"macs": 0.13}, {"macs": 0.07}],
        "searchers": [{"name": name, "label": ""} for name in NAMES],
        "seeds": [0, 1, 2],
        "limits": {"evaluations": 4},
        **changes,
    }


def half() -> list[Row]:
    """The first 8 of the 18 cells in their order."""
    rows = [done("digits", "macs=0.13", name, seed, 0.9 + 0.01 * seed) for name in NAMES for seed in range(3)]
    return rows[:8]


SAID = (
    "8 of 18 cells are done; missing: all of macs=0.07; c at macs=0.13 (seed 2); go on with --resume. What is said "
    "here is of the finished ones."
)


def test_a_killed_run_says_first_what_is_missing(tmp_path: Path) -> None:
    report = report_of(write_evaluated(tmp_path / "run", half(), config()))
    assert report.unfinished == (SAID,)
    assert report.summary[0] == SAID
    words = headline(report)
    assert words.first == SAID
    assert words.others == (report.sections[0].gist, *report.summary[1:])
    assert markdown_of(report).split("\n")[4] == f"- {SAID}"
    assert report.sections[0].tables[0].columns[0].cells == ("dense", "a", "b", "c 2/3")
    assert any("seeds done of those planned" in line for line in report.legend)


def test_the_terminal_says_it_before_the_table(tmp_path: Path) -> None:
    folder = write_evaluated(tmp_path / "run", half(), config())
    for prints in (print_report, lambda one, console: print_together([one], None, console)):
        console = Console(width=200, record=True)
        prints(folder, console)
        text = console.export_text()
        assert text.startswith(SAID)
        assert "c 2/3" in text


def test_a_run_that_ended_says_nothing_of_it_and_failures_are_not_missing(tmp_path: Path) -> None:
    ended = [failed("digits", "macs=0.07", "c", 2, "no")]
    budgets = ("macs=0.13", "macs=0.07")
    rows = [done("digits", budget, name, seed, 0.9) for budget in budgets for name in NAMES for seed in range(3)]
    report = report_of(write_evaluated(tmp_path / "run", rows[:-1] + ended, config()))
    assert report.unfinished == ()
    part = report_of(write_evaluated(tmp_path / "part", rows[1:-1] + ended, config())).unfinished
    assert part[0].startswith("16 of 18 cells are done, 1 failed; missing: a at macs=0.13 (seed 0); ")


def test_what_another_run_has_is_not_missing_in_a_table_of_both(tmp_path: Path) -> None:
    one = write_evaluated(tmp_path / "one", half(), config())
    rest = [done("digits", "macs=0.13", "c", 2, 0.7)]
    other = write_evaluated(
        tmp_path / "other", rest, config(budgets=[{"macs": 0.13}], searchers=[{"name": "c"}], seeds=[2])
    )
    found = read_all([one, other])
    assert found.missing == tuple(Planned("digits", "macs=0.07", name, seed) for name in NAMES for seed in range(3))
    assert [line.partition(":")[0] for line in found.unfinished] == ["one"]


@pytest.mark.parametrize("broken", [{}, {"tasks": None}, config(budgets=[3]), config(searchers=["a"])])
def test_a_config_that_does_not_say_its_cells_plans_none(broken: dict[str, Any]) -> None:
    assert planned_cells(broken) == []


def test_budgets_are_spelled_as_results_spell_them() -> None:
    found = planned_cells(config(budgets=[{"macs": 0.5, "params": 0.4}, {"of_a_plug_in": 0.5}], seeds=[7]))
    assert [cell.budget for cell in found] == ["params=0.4,macs=0.5"] * 3 + ["of_a_plug_in=0.5"] * 3


def test_whole_tasks_are_named_and_many_groups_are_counted() -> None:
    planned = [Planned(task, f"macs=0.{b}", name, 0) for task in "tu" for b in (3, 5) for name in "abcdefgh"]
    missing = [cell for cell in planned if cell.task == "u"] + planned[:8]
    assert "missing: all of macs=0.3; all of u; go on" in unfinished_words("", 8, 0, planned, missing)
    assert "missing: all of t at macs=0.3; go on" in unfinished_words("", 24, 0, planned, planned[:8])
    said = unfinished_words("run", 24, 0, planned, planned[:8][1:])
    assert said.startswith("run: 24 of 32 cells are done; missing: b on t at macs=0.3 (seed 0); c on t")
    assert "; and 1 more cell; go on" in said
