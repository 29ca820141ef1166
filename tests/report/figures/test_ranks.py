from __future__ import annotations

import math

import numpy as np

from rank_search.report.figures.ranks import largest_ranks, ranks
from rank_search.space.plan import Choice

PLANS = {
    "tpe": {"conv": Choice("tucker2", (16, 12)), "fc": Choice("dense")},
    "cp only": {"conv": Choice("cp", (24,)), "extra": Choice("svd", (3,))},
}


def test_texts_are_the_choices_and_a_dash_where_a_plan_has_no_such_layer() -> None:
    figure = ranks("digits", "macs=0.5", PLANS, largest_ranks(PLANS.values()))
    assert figure.layers == ("conv", "fc", "extra")
    assert figure.columns == ("tpe", "cp only")
    assert figure.texts == (("tucker2 16,12", "cp 24"), ("dense", "–"), ("–", "svd 3"))
    assert figure.dense.tolist() == [[False, False], [True, False], [False, False]]
    assert figure.title == "digits at macs=0.5: form and ranks of every layer"


def test_a_share_is_the_mean_over_modes_of_rank_over_largest_rank() -> None:
    largest = {("conv", "tucker2"): (32, 16), ("conv", "cp"): (24,), ("extra", "svd"): (4,)}
    shares = ranks("digits", "macs=0.5", PLANS, largest).shares
    np.testing.assert_array_equal(shares, [[(0.5 + 0.75) / 2, 1.0], [math.nan, math.nan], [math.nan, 0.75]])


def test_the_largest_rank_is_of_layer_and_form_over_all_plans() -> None:
    plans = [
        {"a": Choice("tucker2", (4, 9))},
        {"a": Choice("tucker2", (8, 3))},
        {"a": Choice("cp", (5,))},
    ]
    assert largest_ranks(plans) == {("a", "tucker2"): (8, 9), ("a", "cp"): (5,)}


def test_plans_without_layers_give_an_empty_grid() -> None:
    figure = ranks("t", "macs=0.5", {"tpe": {}}, {})
    assert (figure.layers, figure.texts, figure.shares.shape) == ((), (), (0, 1))
