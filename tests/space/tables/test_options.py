"""The table of one layer: against a table built one option at a time, and what a choice outside it is told."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch
from drawn_layers import DrawnLayer, convolutions, every_geometry
from hypothesis import given
from measured import build_option, macs, squared_error
from torch import nn

from rank_search.errors import PlanError
from rank_search.space.forms.cp import CP
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.svd import SVD
from rank_search.space.forms.tucker2 import Tucker2
from rank_search.space.plan import DENSE, Choice
from rank_search.space.tables.options import LayerOptions

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")


def table(drawn: DrawnLayer, *forms: Decomposition) -> LayerOptions:
    return LayerOptions(forms, drawn.weight())


def strided() -> DrawnLayer:
    """A layer whose first factor runs at four times the output's pixels: cheaper in params is not cheaper in MACs."""
    return DrawnLayer.of(nn.Conv2d(6, 5, 3, stride=2, padding=1), torch.randn(1, 6, 8, 8))


def test_it_holds_the_dense_layer_and_every_pair_that_is_cheaper_on_some_metric_and_no_other() -> None:
    drawn = strided()
    options = table(drawn, Tucker2())
    dense = (5 * 6 * 9, macs(drawn.module, drawn.example))
    expected = {DENSE: dense}
    for out, into in product(range(1, 6), range(1, 7)):
        weights = 6 * into + out * into * 9 + out * 5
        work = 64 * 6 * into + 16 * (out * into * 9 + out * 5)
        if (weights < dense[0] or work < dense[1]) and out <= 9 * into and into <= 9 * out:
            expected[Choice("tucker2", (out, into))] = (weights, work)
    found = {options.choice(i): tuple(options.costs[i].tolist()) for i in range(len(options))}
    assert found == expected
    assert len(found) == len(options)
    assert options.choice(0) == DENSE
    assert any(cost[0] < dense[0] and cost[1] > dense[1] for cost in found.values())


@every_geometry
@given(convolutions(channels=6))
def test_choice_and_row_are_each_others_inverse_for_every_option_of_two_forms(drawn: DrawnLayer) -> None:
    options = table(drawn, Tucker2(), CP())
    choices = [options.choice(row) for row in range(len(options))]
    assert [options.index(choice) for choice in choices] == list(range(len(options)))
    assert len(set(choices)) == len(options)
    assert options.ranks.shape == (len(options), options.width)


@every_geometry
@given(convolutions(channels=5))
def test_the_error_of_every_option_is_the_distance_to_the_weight_rebuilt_from_its_factors(drawn: DrawnLayer) -> None:
    options = table(drawn, Tucker2(), CP())
    energy = float(drawn.module.weight.detach().square().sum())
    assert options.errors[0] == 0
    assert options.energy == pytest.approx(energy, rel=1e-12)
    for row in range(1, len(options)):
        distance = squared_error(drawn.module, build_option(options, row, drawn.module))
        assert options.errors[row] == pytest.approx(distance, rel=1e-9, abs=1e-12 * energy)


@every_geometry
@given(convolutions(channels=6))
def test_coordinates_are_the_place_of_each_rank_among_those_its_form_offers(drawn: DrawnLayer) -> None:
    options = table(drawn, CP(), Tucker2())
    choices = [options.choice(row) for row in range(len(options))]
    for choice, coordinates in zip(choices, options.coordinates.tolist(), strict=True):
        expected = [1.0] * options.width
        for mode, rank in enumerate(choice.ranks):
            offered = sorted({other.ranks[mode] for other in choices if other.form == choice.form})
            expected[mode] = (offered.index(rank) + 1) / (len(offered) + 1)
        assert coordinates == pytest.approx(expected)


def test_a_form_without_a_cheaper_option_leaves_the_table() -> None:
    drawn = DrawnLayer.of(nn.Conv2d(2, 2, (2, 1)), torch.randn(1, 2, 5, 5))
    assert len(table(drawn, CP())) == 2
    drawn = DrawnLayer.of(nn.Conv2d(1, 1, 3), torch.randn(1, 1, 5, 5))
    options = table(drawn, Tucker2(), CP())
    assert len(options) == 1
    assert options.forms == ()
    assert options.choice(0) == DENSE
    assert options.index(DENSE) == 0
    assert options.errors.tolist() == [0]


def test_training_the_layer_later_changes_nothing() -> None:
    drawn = strided()
    options, same = table(drawn, Tucker2()), table(strided_like(drawn), Tucker2())
    with torch.no_grad():
        drawn.module.weight.zero_()
    assert options.energy == same.energy
    np.testing.assert_array_equal(options.errors, same.errors)


def strided_like(drawn: DrawnLayer) -> DrawnLayer:
    twin = nn.Conv2d(6, 5, 3, stride=2, padding=1)
    twin.load_state_dict(drawn.module.state_dict())
    return DrawnLayer.of(twin, drawn.example)


@pytest.mark.parametrize(
    ("choice", "words"),
    [
        (Choice("svd", (1,)), ["has no form 'svd'", "it has: dense, tucker2, cp"]),
        (Choice("tucker", (1, 1)), ["has no form 'tucker'", "did you mean 'tucker2'"]),
        (Choice("tucker2", (1,)), ["takes 2 rank(s) (out, in)", "[1] were given"]),
        (Choice("tucker2", (1, 1, 1)), ["takes 2 rank(s)", "[1, 1, 1] were given"]),
        (Choice("cp", (1, 1)), ["takes 1 rank(s) (rank)", "[1, 1] were given"]),
        (Choice("tucker2", (6, 1)), ["rank 6 of mode 'out' is above the largest, 5"]),
        (Choice("tucker2", (1, 7)), ["rank 7 of mode 'in' is above the largest, 6"]),
        (Choice("tucker2", (1, 10**30)), ["of mode 'in' is above the largest, 6"]),
        (Choice("tucker2", (10**18, 10**18)), ["above the largest, 5"]),
        (Choice("cp", (31,)), ["rank 31 of mode 'rank' is above the largest, 30"]),
        (Choice("cp", (30,)), ["cp", "[30]"]),
        (Choice("tucker2", (5, 6)), ["[5, 6] cost at least as much as the dense layer", "leave it dense"]),
    ],
)
def test_a_choice_outside_the_table_is_refused_with_the_layer_and_what_is_allowed(
    choice: Choice, words: list[str]
) -> None:
    with pytest.raises(PlanError) as caught:
        table(strided(), Tucker2(), CP()).index(choice)
    for word in ["layer '0'", *words]:
        assert word in str(caught.value)


def test_a_pair_that_no_weight_of_this_shape_can_have_is_refused() -> None:
    drawn = DrawnLayer.of(nn.Conv2d(6, 6, (1, 2)), torch.randn(1, 6, 4, 4))
    with pytest.raises(PlanError, match=r"layer '0': no tucker2 of this weight has the ranks \[5, 1\]"):
        table(drawn, Tucker2()).index(Choice("tucker2", (5, 1)))


def test_a_rank_between_the_grid_of_cp_is_refused() -> None:
    drawn = DrawnLayer.of(nn.Conv2d(12, 12, 3), torch.randn(1, 12, 6, 6))
    options = table(drawn, CP())
    between = next(r for r in range(1, int(options.ranks.max())) if r not in options.ranks[1:, 0])
    with pytest.raises(PlanError, match="not on the grid of this space"):
        options.index(Choice("cp", (between,)))


def test_ranks_at_break_even_are_refused_and_just_below_offered() -> None:
    drawn = DrawnLayer.of(nn.Linear(6, 3), torch.randn(1, 6))  # 18 weights; rank 2 has 2 (6 + 3)
    options = table(drawn, SVD())
    assert [options.choice(row).ranks for row in range(len(options))] == [(), (1,)]
    with pytest.raises(PlanError, match=r"svd ranks \[2\] cost at least as much as the dense layer"):
        options.index(Choice("svd", (2,)))
    drawn = DrawnLayer.of(nn.Linear(7, 3), torch.randn(1, 7))  # 21 weights; rank 2 has 20
    assert table(drawn, SVD()).index(Choice("svd", (2,))) == 2
