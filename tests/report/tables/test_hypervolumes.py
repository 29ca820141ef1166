from __future__ import annotations

import math

import pytest
from run_folder import Write, done, done_regression
from seeded_runs import rows_of

from rank_search.report import read_results
from rank_search.report.tables.hypervolumes import hypervolumes_table
from rank_search.report.tables.table import Table


def table_of(rows: list, write_run: Write) -> Table | None:
    return hypervolumes_table("digits", read_results(write_run(rows)))


def test_it_is_the_mean_over_seeds_of_the_area_to_the_worst_error(write_run: Write) -> None:
    rows = rows_of({"a": [0.9, 0.8], "b": [0.7, 0.7]})
    rows.append(done("digits", "macs=0.5", "partly", 0, 0.99))
    table = table_of(rows, write_run)
    assert table is not None
    assert table.title.endswith("2 budgets of kept_macs and test accuracy; reference: 1 and the worst, 60.0 %")
    # Kept .49 and .24, the error 0.1 more at the smaller; the reference is (1, .4).
    areas = [(0.51 * (0.9 - 0.6) + 0.25 * (0.8 - 0.6)), (0.51 * (0.8 - 0.6) + 0.25 * (0.7 - 0.6))]
    assert table.numbers is not None
    assert table.numbers["searcher"].tolist() == ["a", "b", "partly"]
    assert table.numbers["hypervolume"][0] == pytest.approx(sum(areas) / 2)
    assert math.isnan(table.numbers["hypervolume"][2])
    assert table.columns[1].cells[2] == "–"
    assert table.columns[2].cells == ("2", "2", "0")


def test_of_an_error_the_least_is_best_and_the_cost_is_what_budgets_limit(write_run: Write) -> None:
    rows = [
        done_regression("digits", f"params={kept}", "a", 0, rmse, kept_params=kept)
        for kept, rmse in ((0.5, 1.0), (0.25, 2.0))
    ]
    table = table_of(rows, write_run)
    assert table is not None
    assert "of kept_params and test rmse; reference: 1 and the worst, 2.000" in table.title
    assert table.numbers is not None
    assert table.numbers["hypervolume"].tolist() == pytest.approx([0.5 * 1.0])


def test_one_budget_has_none(write_run: Write) -> None:
    assert table_of([done("digits", "macs=0.5", "a", 0, 0.9)], write_run) is None
