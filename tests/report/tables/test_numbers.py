from __future__ import annotations

import math

import numpy as np
from probability_traces import TWO_ROUNDS
from rank_traces import TWO_LAYERS

from rank_search.report.figures.critical_difference import CriticalDifference
from rank_search.report.figures.incumbents import Answer, Curve, Incumbents
from rank_search.report.figures.measure_against_cost import CostLine, MeasureAgainstCost
from rank_search.report.figures.probabilities import layer_probabilities, probabilities
from rank_search.report.figures.rank_paths import layer_paths, rank_paths
from rank_search.report.figures.ranks import ranks
from rank_search.report.tables.numbers import numbers, spoken
from rank_search.space.plan import Choice


def rows(figure: object) -> list[tuple[str, ...]]:
    table = numbers(figure)
    assert table is not None
    return list(zip(*(column.cells for column in table.columns), strict=True))


def test_points_have_cost_mean_and_interval_and_the_dense_net_is_there() -> None:
    line = CostLine("a", "a (macs)", 0, np.array([29.0, 49.0]), np.array([91.25, 93.0]), np.array([math.nan, 2.5]))
    figure = MeasureAgainstCost("", "cost", "worth", (line,), 96.0, "dense net", ())
    assert rows(figure) == [
        ("a (macs)", "29", "91.25"),
        ("a (macs)", "49", "93 ± 2.5"),
        ("dense net", "100", "96"),
    ]


def test_curves_are_told_where_they_change_and_where_they_end() -> None:
    scores = np.array([3.0, 2.0, 2.0, 2.0, 2.0])
    curve = Curve(np.arange(1.0, 6.0), scores, scores - 1, scores, 2)
    figure = Incumbents("", "spent", "score", {"a": curve}, {"a": "A"}, False, "", ())
    assert rows(figure) == [("A", "1", "3", "2", "3"), ("A", "2", "2", "1", "2"), ("A", "5", "2", "1", "2")]
    assert rows(Incumbents("", "", "", {}, {}, False, "nothing", ())) == []
    answered = Incumbents("", "spent", "loss", {}, {"b": "B"}, False, "", (), {"b": Answer(0.0, 2.5, 2.0, 3.0)})
    assert rows(answered) == [("b, answer", "0", "2.5", "2", "3")]


def test_ranks_are_a_row_per_layer() -> None:
    plan = {"conv": Choice("cp", (24,)), "fc": Choice("dense")}
    assert rows(ranks("t", "b", {"a\nseed 0": plan}, {("conv", "cp"): (24,)})) == [("conv", "cp 24"), ("fc", "dense")]


def test_learned_ranks_are_told_where_they_change() -> None:
    found = rows(rank_paths("t", "b", "s", 0, layer_paths(TWO_LAYERS)))
    assert [row[1:] for row in found if row[0] == "a" and row[1] == "out"] == [
        ("out", "0", "16"),
        ("out", "1.5", "12"),
        ("out", "3", "dense"),
        ("out", "4.5", "10"),
    ]
    probable = rows(probabilities("t", "b", "s", 0, layer_probabilities(TWO_ROUNDS)))
    assert probable == [
        ("a", "out", "1", "5", "0.400"),
        ("a", "out", "2", "2", "0.700"),
        ("a", "in", "1", "1", "0.500"),
        ("a", "in", "2", "2", "0.950"),
    ]


def test_ranks_over_blocks_say_who_is_not_told_apart() -> None:
    ranks_of = {"a": 1.0, "b": 2.25, "c": 2.75}
    figure = CriticalDifference("", "rank", ranks_of, 1.0, "", (("b", "c"),), ())
    assert rows(figure) == [("a", "–", "1"), ("b", "c", "2.25"), ("c", "b", "2.75")]


def test_of_an_unknown_kind_the_places_are_told() -> None:
    assert numbers(object()) is None
    assert spoken(["x", "y"]).columns[0].cells == ("x", "y")
