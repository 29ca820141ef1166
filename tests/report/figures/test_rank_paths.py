from __future__ import annotations

import numpy as np
import pytest
from rank_traces import TWO_LAYERS, Line, dense, layer, trace

from rank_search.report.figures.rank_paths import layer_paths, rank_paths


def test_the_path_of_a_layer_has_the_ranks_of_every_mode_at_every_step() -> None:
    paths = layer_paths(TWO_LAYERS)
    assert list(paths) == ["a", "b"]
    assert paths["a"].epochs.tolist() == [0.0, 1.5, 3.0, 4.5]
    assert {mode: ranks.tolist() for mode, ranks in paths["a"].ranks.items()} == {
        "out": [16, 12, 16, 10],
        "in": [8, 7, 8, 5],
    }
    assert paths["a"].dense.tolist() == [False, False, True, False]
    assert (paths["a"].full, paths["b"].full) == (16, 32)


def test_the_figure_names_task_budget_searcher_and_seed_and_every_mode_once() -> None:
    matrix = layer(3, full=(10,), form="svd", modes=("rank",))
    lines = trace({"a": layer(9, 8), "b": layer(9, 8), "fc": matrix}, epochs=(0.0,))
    figure = rank_paths("cifar10", "macs=0.3", "batude", 7, layer_paths(lines))
    assert figure.title == "cifar10 at macs=0.3: ranks while training, batude (seed 7)"
    assert figure.modes == ("out", "in", "rank")
    assert (figure.x_label, figure.y_label) == ("Epoch", "Rank")


def test_the_note_is_there_only_if_a_layer_was_left_dense() -> None:
    for entry, notes in ((layer(9, 8), ()), (dense(16, 8), ("Grey: the layer was left dense.",))):
        paths = layer_paths(trace({"a": entry}, epochs=(0.0,)))
        assert rank_paths("t", "macs=0.3", "batude", 0, paths).notes == notes


def test_a_layer_that_joins_late_is_drawn_from_there() -> None:
    lines = trace({"a": layer(9, 8)}, {"a": layer(8, 8), "b": layer(4, 3)}, epochs=(0.0, 2.0))
    assert layer_paths(lines)["b"].epochs.tolist() == [2.0]


def test_a_mode_that_a_step_lacks_leaves_a_gap() -> None:
    lines = trace({"a": layer(9, 8)}, {"a": layer(5, full=(16,), form="svd", modes=("rank",))}, epochs=(0.0, 1.0))
    ranks = layer_paths(lines)["a"].ranks
    np.testing.assert_array_equal(ranks["out"], [9, np.nan])
    np.testing.assert_array_equal(ranks["rank"], [np.nan, 5])


@pytest.mark.parametrize(
    "line",
    [
        {"step": 1, "round": 2, "probabilities": {"a": [0.5, 0.5]}},
        {"step": 1, "epoch": 1.0},
        {"step": 1, "ranks": {"a": layer(9, 8)}},
        {"step": 1, "epoch": None, "ranks": {"a": layer(9, 8)}},
        {"step": 1, "epoch": float("nan"), "ranks": {"a": layer(9, 8)}},
        {"step": 1, "epoch": 1.0, "ranks": [9, 8]},
        {"step": 1, "epoch": 1.0, "ranks": {}},
        {"step": 1, "epoch": 1.0, "ranks": {"a": [9, 8]}},
        {"step": 1, "epoch": 1.0, "ranks": {"a": {"form": "tucker2", "ranks": [9, 8]}}},
        {"step": 1, "epoch": 1.0, "ranks": {"a": layer(9, 8) | {"form": None}}},
        {"step": 1, "epoch": 1.0, "ranks": {"a": layer(9, 8) | {"modes": [0, 1]}}},
        {"step": 1, "epoch": 1.0, "ranks": {"a": layer(9, 8) | {"modes": ["out"]}}},
        {"step": 1, "epoch": 1.0, "ranks": {"a": layer(9, 8) | {"ranks": [9.5, 8]}}},
        {"step": 1, "epoch": 1.0, "ranks": {"a": {"form": "dense", "modes": [], "ranks": [], "full": []}}},
    ],
)
def test_lines_that_tell_no_ranks_are_ignored(line: Line) -> None:
    assert layer_paths([line]) == {}
    before, after = trace({"a": layer(12, 8)}, {"a": layer(10, 6)}, epochs=(0.0, 2.0))
    assert layer_paths([before, line, after])["a"].epochs.tolist() == [0.0, 2.0]
