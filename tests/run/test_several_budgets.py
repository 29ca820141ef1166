"""Several budgets in one search: how they are read, and that the folder is a run with a cell for each."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from rank_search.errors import BudgetError, InvalidInputError
from rank_search.records.results import read_results
from rank_search.report import leaderboard, report_of, write_plots
from rank_search.run.config import load_config
from rank_search.run.single import parse_budgets, run_several, run_single
from rank_search.space import Budget, load
from rank_search.task import load_model


@pytest.mark.parametrize(
    ("texts", "found"),
    [
        (["macs=0.2:0.8:0.2"], [Budget(macs=value) for value in (0.2, 0.4, 0.6, 0.8)]),
        (["macs=.1:.35:.1"], [Budget(macs=value) for value in (0.1, 0.2, 0.3)]),  # the last is not stepped over
        (
            ["macs=0.5", "params=1000,macs=0.2:0.3:0.1"],
            [Budget(macs=0.5)] + [Budget(params=1000, macs=v) for v in (0.2, 0.3)],
        ),
        (["params=1000:2000:500"], [Budget(params=value) for value in (1000, 1500, 2000)]),
        (["macs=0.3:0.3:0.1"], [Budget(macs=0.3)]),
    ],
)
def test_ranges_are_spelled_out(texts: list[str], found: list[Budget]) -> None:
    assert parse_budgets(texts) == found


@pytest.mark.parametrize(
    "text",
    [
        *("macs=0.8:0.2:0.1", "macs=0.2:0.8:0", "macs=0.2:0.8:-0.1", "macs=a:b:c", "macs=0:1:0.001", "macs=nan:1:1"),
        "macs=.1:.2:.1,params=.1:.2:.1",
    ],
)
def test_other_ranges_are_refused(text: str) -> None:
    with pytest.raises(BudgetError, match=r"a range is first:last:step, such as macs=0\.2:0\.8:0\.1"):
        parse_budgets([text])


def test_the_folder_is_a_run_and_each_network_that_of_its_own_search(
    small_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = load_config(small_config())
    budgets = parse_budgets(["macs=0.3:0.5:0.1"])
    rows = run_several(config, None, "knapsack", budgets, 0, tmp_path / "curve")
    assert [row["budget"] for row in rows] == ["macs=0.3", "macs=0.4", "macs=0.5"]
    assert [row["kept_macs"] <= bound for row, bound in zip(rows, (0.3, 0.4, 0.5), strict=True)] == [True] * 3
    results = read_results(tmp_path / "curve")
    assert len(leaderboard(results)) == 4  # the dense network among them
    assert write_plots(tmp_path / "curve")
    again = dict(report_of(tmp_path / "curve").about)["How to reproduce"].split("\n")[1]
    words = ["--budget", "macs=0.3", "--budget", "macs=0.4", "--budget", "macs=0.5", "--seed", "0"]
    assert again.startswith(
        f"rank-search search config.yaml --task digits --searcher knapsack {' '.join(words)} --output"
    )
    single = run_single(config, None, "knapsack", "macs=0.4", 0, tmp_path / "one")
    cell = tmp_path / "curve" / "cells" / rows[1]["cell"]
    assert (cell / "plan.json").read_text() == (tmp_path / "one" / "plan.json").read_text()
    assert single["val_accuracy"] == rows[1]["val_accuracy"]
    load(cell, lambda: load_model("digits_net", width=6))


def test_a_budget_that_stands_twice_or_cannot_be_met_leaves_nothing(
    small_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = load_config(small_config())
    with pytest.raises(BudgetError, match=r"the budget macs=0\.3 stands twice"):
        run_several(config, None, "knapsack", parse_budgets(["macs=0.3", "macs=0.3"]), 0, tmp_path / "a")
    with pytest.raises(InvalidInputError, match=r"no plan of this space meets the budget macs=0\.0001"):
        run_several(config, None, "knapsack", parse_budgets(["macs=0.3", "macs=0.0001"]), 0, tmp_path / "a")
    assert not (tmp_path / "a").exists()
