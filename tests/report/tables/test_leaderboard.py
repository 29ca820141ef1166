from __future__ import annotations

import math

import pytest
from run_folder import RMSE, Write, done, done_regression, failed
from two_tasks import run_of_two_tasks

from rank_search.errors import InvalidInputError
from rank_search.report import leaderboard, read_results
from rank_search.report.tables.comparison import comparison
from rank_search.report.tables.leaderboard import board_columns


def test_order_is_task_then_dense_then_budget_then_accuracy(write_run: Write) -> None:
    board = leaderboard(read_results(write_run(run_of_two_tasks())))
    assert list(zip(board["task"], board["budget"], board["searcher"], strict=True)) == [
        ("bare", "", "dense"),
        ("bare", "params=0.4", "late"),
        ("bare", "params=0.4", "early"),
        ("digits", "", "dense"),
        ("digits", "macs=0.5", "tpe"),
        ("digits", "macs=0.5", "random"),
        ("digits", "macs=0.3", "random"),
        ("digits", "macs=0.3", "cp"),
    ]


def test_numbers_of_a_row_are_means_over_the_seeds_done(write_run: Write) -> None:
    board = leaderboard(read_results(write_run(run_of_two_tasks()))).set_index(["task", "budget", "searcher"])
    random = board.loc[("digits", "macs=0.5", "random")]
    assert random["test"] == pytest.approx(0.91)
    assert random["validation"] == pytest.approx(0.92)
    assert random["before"] == pytest.approx(0.81)
    # 0.90, 0.91, 0.92 have standard deviation 0.01.
    for name in ("before", "validation", "test"):
        half_width = random[f"{name}_half_width"]
        assert half_width == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
        low, high = random[f"{name}_bootstrap_low"], random[f"{name}_bootstrap_high"]
        assert random[name] - half_width < low < random[name] < high < random[name] + half_width
    assert (random["kept_macs"], random["kept_params"]) == (pytest.approx(0.48), pytest.approx(0.4))
    assert (random["samples_forward"], random["samples_trained"], random["search_seconds"]) == (4000, 500, 12.5)
    tpe = board.loc[("digits", "macs=0.5", "tpe")]
    assert (tpe["seeds_done"], tpe["seeds_failed"], tpe["evaluations"]) == (2, 1, 10.5)
    assert tpe["failures"] == ("digits-macs=0.5-tpe-2: the loss is not finite",)


def test_dense_row_costs_everything_and_has_its_own_accuracies(write_run: Write) -> None:
    board = leaderboard(read_results(write_run(run_of_two_tasks())))
    bare, digits = (row for _, row in board.loc[board["searcher"] == "dense"].iterrows())
    assert (digits["kept_macs"], digits["kept_params"]) == (1.0, 1.0)
    assert digits["validation"] == pytest.approx(0.97, abs=1e-12)
    assert digits["test"] == pytest.approx(0.96, abs=1e-12)
    assert math.isnan(digits["test_half_width"])
    assert math.isnan(digits["before"])
    assert bare["validation"] == pytest.approx(0.97, abs=1e-12)
    assert math.isnan(bare["test"])


def test_a_dense_net_per_seed_has_an_interval(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "tpe", seed, 0.9, dense_test_accuracy=0.95 + 0.01 * seed) for seed in range(3)]
    dense = leaderboard(read_results(write_run(rows))).iloc[0]
    assert dense["test"] == pytest.approx(0.96)
    assert dense["test_half_width"] == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
    assert math.isnan(dense["validation_half_width"])


def test_one_seed_has_a_mean_and_no_half_width(write_run: Write) -> None:
    row = leaderboard(read_results(write_run([done("t", "macs=0.5", "tpe", 7, 0.9)]))).iloc[1]
    assert (row["seeds_done"], row["test"]) == (1, 0.9)
    assert math.isnan(row["test_half_width"])


def test_a_searcher_without_a_finished_seed_has_a_row_of_nan(write_run: Write) -> None:
    row = leaderboard(read_results(write_run([failed("t", "macs=0.5", "tpe", 0, "out of memory")]))).iloc[1]
    assert (row["seeds_done"], row["seeds_failed"]) == (0, 1)
    assert math.isnan(row["validation"])
    assert math.isnan(row["kept_macs"])


def test_a_test_accuracy_that_only_some_seeds_have_is_an_error_that_names_the_row(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "tpe", 0, 0.9), done("t", "macs=0.5", "tpe", 1, 0.9, test_accuracy="")]
    results = read_results(write_run(rows))
    with pytest.raises(InvalidInputError, match=r"test_accuracy of tpe on t at macs=0\.5: .* number 2 is nan"):
        leaderboard(results)


def test_missing_columns_are_named(write_run: Write) -> None:
    results = read_results(write_run([done("t", "macs=0.5", "tpe", 0, 0.9)]))
    with pytest.raises(InvalidInputError, match="lack the columns kept_macs, status;"):
        leaderboard(results.drop(columns=["status", "kept_macs"]))
    with pytest.raises(InvalidInputError, match="lack the columns accuracy_before, dense_test_accuracy;"):
        leaderboard(results.drop(columns=["dense_test_accuracy", "accuracy_before"]))
    with pytest.raises(InvalidInputError, match="lack the columns better, measure;"):
        leaderboard(results.drop(columns=["better", "measure"]))


def test_columns_are_those_of_any_measure_and_of_the_metrics_of_the_run(write_run: Write) -> None:
    board = leaderboard(read_results(write_run([done("t", "bytes=0.3", "tpe", 0, 0.9, kept_bytes=0.29)])))
    assert list(board.columns) == list(board_columns(["macs", "params", "bytes"]))
    assert ",".join(board.columns) == (
        "task,budget,searcher,seeds_done,seeds_failed,seeds_missing,measure,better,unit,kept_macs,kept_params,kept_bytes,"
        "latency_share,timed,before,before_half_width,before_bootstrap_low,before_bootstrap_high,"
        "validation,validation_half_width,validation_bootstrap_low,validation_bootstrap_high,"
        "test,test_half_width,test_bootstrap_low,test_bootstrap_high,"
        "evaluations,samples_forward,samples_trained,search_seconds,failures,remarks"
    )
    assert board["kept_bytes"].tolist() == [1.0, 0.29]
    assert board["latency_share"].tolist() == [1.0, 0.75]


def test_where_lower_is_better_the_least_comes_first_and_equal_ones_by_name(write_run: Write) -> None:
    rows = [
        failed("prices", "macs=0.5", "broken", 0, "out of memory", RMSE),
        *(done_regression("prices", "macs=0.5", name, 0, rmse) for name, rmse in (("b", 3.0), ("c", 2.0), ("a", 3.0))),
    ]
    board = leaderboard(read_results(write_run(rows)))
    assert board["searcher"].tolist() == ["dense", "c", "a", "b", "broken"]
    assert board["test"].iloc[:4].tolist() == [1.5, 2.0, 3.0, 3.0]
    assert board["validation"].iloc[:4].tolist() == [1.25, 2.5, 3.5, 3.5]
    assert board["before"].iloc[1:4].tolist() == [4.0, 6.0, 6.0]
    assert set(zip(board["measure"], board["better"], board["unit"], strict=True)) == {("rmse", "lower", "")}


def test_without_a_test_set_lower_validation_comes_first(write_run: Write) -> None:
    without = {"test_rmse": "", "dense_test_rmse": ""}
    # The order of the names and of the errors differ.
    rows = [done_regression("prices", "macs=0.5", name, 0, rmse, **without) for name, rmse in (("a", 3.0), ("b", 2.0))]
    assert leaderboard(read_results(write_run(rows)))["searcher"].tolist() == ["dense", "b", "a"]


def test_tasks_of_two_measures_and_of_other_metrics_stand_in_one_table(write_run: Write) -> None:
    rows = [
        done("digits", "macs=0.5", "a", 0, 0.8),
        done("digits", "macs=0.5", "b", 0, 0.9),
        done_regression("prices", "bytes=0.3", "a", 0, 3.0, kept_bytes=0.3),
        done_regression("prices", "bytes=0.3", "b", 0, 4.0, kept_bytes=0.3),
    ]
    board = leaderboard(read_results(write_run(rows)))
    assert list(zip(board["task"], board["searcher"], board["measure"], strict=True)) == [
        ("digits", "dense", "accuracy"),
        ("digits", "b", "accuracy"),
        ("digits", "a", "accuracy"),
        ("prices", "dense", "rmse"),
        ("prices", "a", "rmse"),
        ("prices", "b", "rmse"),
    ]
    assert board["test"].tolist() == [0.96, 0.9, 0.8, 1.5, 3.0, 4.0]
    assert board["kept_bytes"].isna().tolist() == [True] * 3 + [False] * 3


def test_a_dense_net_whose_measure_is_large_has_no_spread_from_rounding_alone(write_run: Write) -> None:
    rows = [done_regression("t", "macs=0.5", "a", seed, 3.0, dense_test_rmse=1e6 + 1e-5 * seed) for seed in range(3)]
    assert math.isnan(leaderboard(read_results(write_run(rows))).iloc[0]["test_half_width"])


def test_a_direction_that_is_none_is_named(write_run: Write) -> None:
    results = read_results(write_run([done("t", "macs=0.5", "tpe", 0, 0.9, better="up")]))
    with pytest.raises(InvalidInputError, match="better of the measure accuracy is 'up'; expected 'higher' or 'lower'"):
        leaderboard(results)


def test_a_task_that_reports_two_measures_is_named(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "tpe", 0, 0.9), done_regression("u", "macs=0.5", "tpe", 0, 3.0)]
    results = read_results(write_run(rows)).assign(task="t")
    with pytest.raises(InvalidInputError, match="task t report the measures accuracy, rmse in 2 ways"):
        leaderboard(results)


def test_cells_that_say_the_same_share_a_remark(write_run: Write) -> None:
    said = {"remarks": "not counted: fft_r2c"}
    rows = [done("t", "macs=0.5", "tpe", seed, 0.9, **said) for seed in (0, 1, 2)]
    rows.append(done("t", "macs=0.5", "own", 0, 0.9, remarks="9 CPU s outside of metered work"))
    found = comparison(leaderboard(read_results(write_run(rows)))).remarks
    assert set(found) == {
        "t-macs=0.5-tpe-0 and 2 more: not counted: fft_r2c",
        "t-macs=0.5-own-0: 9 CPU s outside of metered work",
    }
