from __future__ import annotations

from dataclasses import replace

import numpy as np
from drawn_texts import all_texts, assert_apart, labels

from rank_search.report.figures.incumbents import Answer, Curve, Incumbents
from rank_search.report.render.png.hover import marks_of
from rank_search.report.render.png.incumbents import draw_incumbents
from rank_search.report.render.png.palette import looks

ONE = Curve(np.array([1.0, 2.0, 3.0]), np.array([3.0, 2.0, 1.0]), *[np.array([3.0, 2.0, 1.0])] * 2, seeds=1)
TWO = Curve(np.array([1.0, 2.0]), np.array([2.5, 1.0]), np.array([2.0, 1.0]), np.array([3.0, 1.0]), seeds=2)
STYLES = looks(["random", "tpe"])


def value(curves: dict[str, Curve], logarithmic: bool = False, message: str = "") -> Incumbents:
    return Incumbents(
        "Title", "Spent", "Score", curves, {name: f"{name}!" for name in curves}, logarithmic, message, ()
    )


def test_a_curve_is_a_step_line_that_ends_with_a_marker_and_several_seeds_have_a_band() -> None:
    figure = draw_incumbents(value({"random": ONE, "tpe": TWO}), STYLES)
    (axes,) = figure.axes
    assert labels(figure) == ["random!", "tpe!"]
    assert [line.get_xdata()[-1] for line in axes.lines] == [3, 2]
    assert [line.get_ydata().tolist() for line in axes.lines] == [[3.0, 2.0, 1.0], [2.5, 1.0]]
    assert {line.get_drawstyle() for line in axes.lines} == {"steps-post"}
    assert [line.get_markevery() for line in axes.lines] == [[-1], [-1]]
    assert len(axes.collections) == 1  # one band: a single seed has none
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("Spent", "Score")
    assert axes.get_xlim()[0] == 0.0
    assert axes.get_yscale() == "linear"


def test_answers_are_hollow_markers_and_dotted_lines_where_there_is_no_curve() -> None:
    answers = {"random": Answer(0.0, 1.5, 1.0, 2.0), "tpe": Answer(2.0, 0.9, 0.9, 0.9)}
    figure = draw_incumbents(
        replace(value({"tpe": TWO}), answers=answers, labels={"tpe": "tpe", "random": "random (answer)"}), STYLES
    )
    (axes,) = figure.axes
    assert labels(figure) == ["tpe", "random (answer)"]
    hollow = [line for line in axes.lines if line.get_markerfacecolor() == "white"]
    assert [(line.get_xdata()[0], line.get_ydata()[0]) for line in hollow] == [(0.0, 1.5), (2.0, 0.9)]
    across = [line for line in axes.lines if line.get_linestyle() == ":" and len(line.get_xdata()) == 2]
    assert [list(line.get_ydata()) for line in across] == [[1.5, 1.5]]
    assert [mark.text for mark in marks_of(figure)][-2:] == ["random, answer: 1.5 (1 to 2)", "tpe, answer: 0.9"]


def test_scores_of_many_sizes_get_a_logarithmic_axis() -> None:
    assert draw_incumbents(value({"tpe": TWO}, logarithmic=True), STYLES).axes[0].get_yscale() == "log"


def test_without_curves_the_message_stands_in_the_middle() -> None:
    figure = draw_incumbents(value({}, message="Nothing to see."), STYLES)
    assert "Nothing to see." in all_texts(figure)
    assert labels(figure) == []


def test_a_legend_of_forty_searchers_is_inside_the_picture() -> None:
    names = [f"searcher_{n}" for n in range(40)]
    figure = draw_incumbents(value(dict.fromkeys(names, TWO)), looks(names))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    assert len(labels(figure)) == 40
    assert_apart(figure, legend.get_texts())
    assert draw_incumbents(value({"tpe": TWO}), STYLES).get_figheight() == 5.0
