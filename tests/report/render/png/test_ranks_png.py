from __future__ import annotations

import numpy as np
from drawn_texts import assert_apart
from matplotlib.colors import to_rgba

from rank_search.report.figures.ranks import largest_ranks, ranks
from rank_search.report.render.png.palette import DENSE_FILL
from rank_search.report.render.png.ranks import SHADES, draw_ranks
from rank_search.space.plan import Choice

PLANS = {
    "tpe": {"conv": Choice("tucker2", (16, 12)), "fc": Choice("dense")},
    "cp only": {"conv": Choice("cp", (24,)), "extra": Choice("svd", (3,))},
}


def test_ranks_are_written_in_their_cells() -> None:
    axes = draw_ranks(ranks("digits", "macs=0.5", PLANS, largest_ranks(PLANS.values()))).axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {
        (0, 0): "tucker2 16,12",
        (0, 1): "dense",
        (0, 2): "–",
        (1, 0): "cp 24",
        (1, 1): "–",
        (1, 2): "svd 3",
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv", "fc", "extra"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["tpe", "cp only"]


def test_colours_are_the_shares_grey_where_dense_and_white_where_absent() -> None:
    largest = {("conv", "tucker2"): (32, 24), ("conv", "cp"): (24,), ("extra", "svd"): (12,)}
    (image,) = draw_ranks(ranks("digits", "macs=0.5", PLANS, largest)).axes[0].images
    expected = [
        [SHADES(0.5), SHADES(1.0)],
        [to_rgba(DENSE_FILL), (1.0, 1.0, 1.0, 1.0)],
        [(1.0, 1.0, 1.0, 1.0), SHADES(0.25)],
    ]
    np.testing.assert_allclose(np.asarray(image.get_array()), expected)


def test_a_plan_without_layers_is_drawn() -> None:
    assert not draw_ranks(ranks("t", "macs=0.5", {"tpe": {}}, {})).axes[0].images


def test_texts_of_twenty_layers_neither_overlap_nor_leave_the_picture() -> None:
    plan = {f"layer{n}.0.conv1": Choice("tucker2", (128, 128)) for n in range(20)}
    plans = {f"searcher_{n}\nseed 0": plan for n in range(6)}
    figure = draw_ranks(ranks("cifar10_resnet20", "macs=0.5,params=0.4", plans, largest_ranks([plan])))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    assert_apart(figure, [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels(), *figure.texts])
