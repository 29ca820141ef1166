from __future__ import annotations

import numpy as np
import pytest
from run_folder import Row, Write, done, done_regression, failed

from rank_search.report import leaderboard, read_results
from rank_search.report.figures.measure_against_cost import (
    MeasureAgainstCost,
    costs_of,
    measure_against_cost,
)


def figure_of(rows: list[Row], write_run: Write, task: str = "t") -> MeasureAgainstCost:
    board = leaderboard(read_results(write_run(rows)))
    return measure_against_cost(task, board.loc[board["task"] == task])


def test_points_are_means_with_intervals_by_rising_cost(write_run: Write) -> None:
    rows = [failed("t", "macs=0.5", "tpe", 0, "out of memory"), failed("lost", "macs=0.5", "tpe", 0, "no data")]
    for budget, kept in (("macs=0.5", 0.49), ("macs=0.3", 0.29)):
        rows += [done("t", budget, "tpe", seed, 0.90 + 0.01 * seed, kept_macs=kept) for seed in (1, 2, 3)]
        rows += [done("t", budget, "uniform", seed, 0.85, kept_macs=kept) for seed in (0, 1)]
    figure = figure_of(rows, write_run)
    assert [line.label for line in figure.lines] == ["tpe", "uniform"]
    tpe, uniform = figure.lines
    assert tpe.cost == pytest.approx([29.0, 49.0])
    assert tpe.mean == pytest.approx([92.0, 92.0])
    assert tpe.half_width == pytest.approx([4.302653 * 1.0 / 3**0.5] * 2, rel=1e-6)
    assert uniform.half_width.tolist() == [0.0, 0.0]
    assert figure.dense == pytest.approx(96.0)
    assert figure.dense_label == "dense net, 96.0 %"
    assert figure.title == "t: accuracy against cost"
    assert figure.x_label == "Kept MACs (% of the dense net)"
    assert figure.y_label == "Test accuracy after fine-tuning (%)"
    assert "2-3 seeds" in figure.notes[0]
    assert not any("better" in note for note in figure.notes)


def test_without_a_test_set_it_is_of_validation_and_one_seed_has_no_interval(write_run: Write) -> None:
    figure = figure_of([done("t", "macs=0.5", "tpe", 0, 0.9, test_accuracy="", dense_test_accuracy="")], write_run)
    assert figure.y_label == "Validation accuracy after fine-tuning (%)"
    assert figure.dense_label == "dense net, 97.0 %"
    assert figure.lines[0].mean == pytest.approx([91.0])
    assert np.isnan(figure.lines[0].half_width).all()
    assert figure.notes == ("One seed per point: no interval can be given.",)


def test_an_unknown_dense_net_has_no_line(write_run: Write) -> None:
    assert figure_of([done("t", "macs=0.5", "tpe", 0, 0.9, dense_test_accuracy="")], write_run).dense is None


def test_budgets_of_other_metrics_are_lines_of_their_own(write_run: Write) -> None:
    rows = [done("t", budget, "tpe", 0, 0.9) for budget in ("macs=0.5", "macs=0.3", "macs=0.5,params=0.4")]
    lines = figure_of(rows, write_run).lines
    assert [(line.searcher, line.label, line.kind) for line in lines] == [
        ("tpe", "tpe (macs)", 0),
        ("tpe", "tpe (macs, params)", 1),
    ]


def test_another_measure_is_named_and_drawn_as_it_is(write_run: Write) -> None:
    figure = figure_of([done_regression("t", "macs=0.5", "tpe", seed, 3.0 + seed) for seed in range(3)], write_run)
    assert figure.title == "t: rmse against cost"
    assert figure.y_label == "Test rmse after fine-tuning"
    assert figure.dense_label == "dense net, 1.500"
    assert figure.dense == 1.5
    assert figure.lines[0].mean.tolist() == [4.0]
    assert figure.lines[0].half_width == pytest.approx([4.302653 / 3**0.5], rel=1e-6)
    assert figure.lines[0].cost == pytest.approx([49.0])
    assert "Lower rmse is better." in figure.notes


def test_costs_are_macs_what_budgets_limit_all_others_and_the_measured_time(write_run: Write) -> None:
    rows = [done("t", budget, "tpe", 0, 0.9, kept_bytes=0.3) for budget in ("macs=0.5", "bytes=0.3,macs=0.4")]
    board = leaderboard(read_results(write_run(rows)))
    assert costs_of(board) == ("kept_macs", "kept_bytes", "kept_params", "latency_share")
    of_params = measure_against_cost("t", board, "kept_params")
    assert of_params.x_label == "Kept params (% of the dense net)"
    assert of_params.title == "t: accuracy against params"
    assert [line.cost.tolist() for line in of_params.lines] == [[40.0], [40.0]]
    figure = measure_against_cost("t", board, "kept_bytes")
    assert figure.x_label == "Kept bytes (% of the dense net)"
    assert figure.lines[0].cost == pytest.approx([30.0])


def test_time_is_the_measured_share_and_says_of_what(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "tpe", seed, 0.9, latency_ms=1.0 + seed) for seed in (0, 1)]
    board = leaderboard(read_results(write_run(rows)))
    figure = measure_against_cost("t", board, "latency_share")
    assert figure.lines[0].cost == pytest.approx([75.0])
    assert figure.title == "t: accuracy against time"
    assert figure.x_label == "Kept time, measured (% of the dense net)"
    assert any("Time: of a run of 1 in eager" in note for note in figure.notes)


def test_unknown_times_have_no_figure(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "tpe", 0, 0.9, latency_ms=0.0, dense_latency_ms=0.0)]
    assert costs_of(leaderboard(read_results(write_run(rows)))) == ("kept_macs", "kept_params")


def test_axes_are_bounded_by_what_shares_and_percents_can_be(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "tpe", 0, 0.9), done_regression("p", "macs=0.5", "tpe", 0, 3.0, latency_ms=3.0)]
    assert figure_of(rows, write_run).y_bounds == figure_of(rows, write_run).x_bounds == (0.0, 100.0)
    board = leaderboard(read_results(write_run(rows)))
    slower = measure_against_cost("p", board.loc[board["task"] == "p"], "latency_share")
    assert slower.x_bounds == (0.0, np.inf)
    assert slower.y_bounds == (-np.inf, np.inf)


def test_bars_that_leave_percents_are_said_to_be_cut(write_run: Write) -> None:
    cut = "Bars are cut where a percentage ends."
    near = [done("t", "macs=0.5", "tpe", seed, 0.99 + 0.005 * seed) for seed in (0, 1)]  # half width 3.2 points
    assert cut in figure_of(near, write_run).notes
    far = [done("t", "macs=0.5", "tpe", seed, 0.50 + 0.005 * seed) for seed in (0, 1)]
    assert cut not in figure_of(far, write_run).notes
    errors = [done_regression("t", "macs=0.5", "tpe", seed, 1.0 + seed) for seed in (0, 1)]
    assert cut not in figure_of(errors, write_run).notes
