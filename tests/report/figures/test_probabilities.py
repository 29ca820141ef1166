from __future__ import annotations

import math

import numpy as np
import pytest
from probability_traces import GOOD, TWO_ROUNDS, Line, cp, layer, trace, tucker2

from rank_search.report.figures.probabilities import layer_probabilities, probabilities


def test_the_image_of_a_mode_has_the_probability_of_every_rank_in_every_round() -> None:
    found = layer_probabilities(TWO_ROUNDS)["a"]
    assert (found.form, found.forms, found.entropy) == ("tucker2", ("tucker2",), 0.31)
    expected = np.transpose([[0, 0, 0, 0, 0.2, 0.4, 0.3], [0, 0, 0.7, 0, 0, 0.3, 0]])
    np.testing.assert_array_equal(found.modes["out"], expected)


def test_the_most_probable_rank_is_nan_where_the_layer_is_dense_or_lists_none() -> None:
    lines = trace(
        {"a": layer(0.2, cp=cp({3: 0.5, 5: 0.3}))},
        {"a": layer(0.9, cp=cp({3: 0.1}))},
        {"a": layer(0.2, cp=cp({}))},
        {"a": layer(0.2, cp=cp({3: 0.3, 5: 0.5}))},
    )
    best = layer_probabilities(lines)["a"].most_probable("rank")
    np.testing.assert_array_equal(best, [3, math.nan, math.nan, 5])


def test_the_figure_names_task_budget_searcher_and_seed_and_explains_grey_where_it_is() -> None:
    for entry, grey in ((GOOD, False), (layer(0.9, cp=cp({7: 0.1})), True)):
        layers = layer_probabilities(trace({"a": entry}))
        figure = probabilities("cifar10", "macs=0.3", "relaxation", 7, layers)
        assert figure.title == "cifar10 at macs=0.3: probabilities of ranks, relaxation (seed 7)"
        assert (figure.x_label, figure.y_label, figure.share_label) == ("Round", "Rank", "Probability")
        assert ("Grey: leaving the layer dense has the most probability." in figure.notes) == grey


def test_mass_counts_in_the_mode_that_lists_most_of_it() -> None:
    lines = trace({"a": layer(tucker2=tucker2({}, {2: 0.6}), cp=cp({7: 0.4}))})
    assert layer_probabilities(lines)["a"].form == "tucker2"


@pytest.mark.parametrize(
    ("entry", "is_dense"),
    [
        (layer(0.4, cp=cp({7: 0.3}), tucker2=tucker2({1: 0.3}, {2: 0.3})), True),  # more than either form
        (layer(0.3, cp=cp({7: 0.3}), tucker2=tucker2({1: 0.4}, {2: 0.4})), False),
        (layer(0.4, cp=cp({7: 0.1})), False),  # 0.5 was not listed, which can only be of cp
        (layer(0.5, cp=cp({7: 0.5})), False),
        (layer(0.51, cp=cp({})), True),
    ],
)
def test_dense_has_most_mass_only_if_no_form_can_have_more(entry: Line, is_dense: bool) -> None:
    assert layer_probabilities(trace({"a": entry}))["a"].dense.tolist() == [is_dense]


@pytest.mark.parametrize(
    "line",
    [
        {"step": 1, "epoch": 1.0, "ranks": {"a": {"form": "cp", "modes": ["rank"], "ranks": [3], "full": [9]}}},
        {"step": 1, "probabilities": {"a": GOOD}},
        {"step": 1, "round": 1.5, "probabilities": {"a": GOOD}},
        {"step": 1, "round": 2},
        {"step": 1, "round": 2, "probabilities": {}},
        {"step": 1, "round": 2, "probabilities": [GOOD]},
        {"step": 1, "round": 2, "probabilities": {"a": [0.5, 0.5]}},
        *(
            {"step": 1, "round": 2, "probabilities": {"a": GOOD | change}}
            for change in (
                {"dense": None},
                {"dense": float("nan")},
                {"dense": -0.1},
                {"entropy": None},
                {"entropy": 1.1},
                {"forms": [cp({7: 0.9})]},
                {"forms": {"cp": [0.9]}},
            )
        ),
        *(
            {"step": 1, "round": 2, "probabilities": {"a": layer(0.1, cp=cp({7: 0.9}) | change)}}
            for change in (
                {"modes": []},
                {"modes": [0]},
                {"modes": ["rank", "in"]},
                {"modes": ["rank", "rank"], "ranks": [[7], [7]], "p": [[0.9], [0.9]], "full": [9, 9]},
                {"modes": [], "ranks": [], "p": [], "full": []},
                {"ranks": [7]},
                {"ranks": [[7, 8]]},
                {"ranks": [[7.5]]},
                {"ranks": [[0]]},
                {"ranks": [[10]]},
                {"p": [0.9]},
                {"p": [[float("nan")]]},
                {"p": [[1.1]]},
                {"p": [["0.9"]]},
                {"full": 9},
                {"full": [None]},
            )
        ),
    ],
)
def test_lines_that_tell_no_probabilities_are_ignored(line: Line) -> None:
    assert layer_probabilities([line]) == {}
    before, after = trace({"a": GOOD}, {"a": GOOD}, rounds=(1, 3))
    assert layer_probabilities([before, line, after])["a"].rounds.tolist() == [1, 3]
