from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from drawn_texts import all_texts, labels

from rank_search.report.figures.measure_against_cost import CostLine, MeasureAgainstCost
from rank_search.report.render.png.measure_against_cost import draw_measure_against_cost
from rank_search.report.render.png.palette import looks

STYLES = looks(["tpe", "uniform"])


def line(searcher: str, kind: int, half_width: float) -> CostLine:
    cost, mean = np.array([29.0, 49.0]), np.array([92.0, 93.0])
    return CostLine(searcher, f"{searcher} {kind}", kind, cost, mean, np.array([half_width, half_width]))


def value(*lines: CostLine, dense: float | None = 96.0) -> MeasureAgainstCost:
    return MeasureAgainstCost("The title", "Cost", "Worth", lines, dense, "the dense net", ("A note.",))


def test_lines_have_points_and_error_bars_and_the_dense_net_is_dashed() -> None:
    figure = draw_measure_against_cost(value(line("tpe", 0, 2.5), line("uniform", 0, math.nan)), STYLES)
    (axes,) = figure.axes
    assert labels(figure) == ["the dense net", "tpe 0", "uniform 0"]
    tpe = next(bar for bar in axes.containers if bar.get_label() == "tpe 0")
    points, _, (bars,) = tpe.lines
    assert points.get_xdata() == pytest.approx([29.0, 49.0])
    assert points.get_ydata() == pytest.approx([92.0, 93.0])
    lower, upper = bars.get_segments()[0][:, 1]
    assert (upper - lower) / 2 == pytest.approx(2.5)
    assert len(axes.collections) == 1  # without a half width there are no bars
    dense = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert set(dense.get_ydata()) == {96.0}
    left, right = axes.get_xlim()
    assert left < 29.0 < 49.0 < right
    assert axes.get_ylim()[0] < 92.0 - 2.5
    assert axes.get_ylim()[1] > 96.0
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Cost", "Worth")
    assert "The title" in all_texts(figure)
    assert "A note." in all_texts(figure)


def test_a_later_kind_of_budget_is_hollow_and_in_another_style() -> None:
    figure = draw_measure_against_cost(value(line("tpe", 0, 1.0), line("tpe", 1, 1.0)), STYLES)
    full, hollow = (bar.lines[0] for bar in figure.axes[0].containers)
    assert full.get_color() == hollow.get_color() == full.get_markerfacecolor()
    assert hollow.get_markerfacecolor() == "white"
    assert full.get_linestyle() != hollow.get_linestyle()


def test_without_a_dense_number_there_is_no_dashed_line() -> None:
    figure = draw_measure_against_cost(value(line("tpe", 0, 1.0), dense=None), STYLES)
    assert labels(figure) == ["tpe 0"]


def test_a_single_budget_is_not_blown_up() -> None:
    single = CostLine("tpe", "tpe", 0, np.array([30.0]), np.array([0.5]), np.array([math.nan]))
    left, right = draw_measure_against_cost(value(single, dense=None), STYLES).axes[0].get_xlim()
    assert right - left == pytest.approx(10.0)


def test_axes_end_where_numbers_can() -> None:
    wide = CostLine("tpe", "tpe", 0, np.array([2.0, 100.0]), np.array([1.0, 99.0]), np.array([5.0, 5.0]))
    figure = draw_measure_against_cost(replace(value(wide), x_bounds=(0.0, 100.0), y_bounds=(0.0, 100.0)), STYLES)
    assert figure.axes[0].get_xlim() == (0.0, 100.0)
    assert figure.axes[0].get_ylim() == (0.0, 100.0)
