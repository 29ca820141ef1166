"""What the knapsack answers where tables interpolate: measured, as good as with all ranks fitted, with a true bound."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from rank_search.arrays import FloatArray
from rank_search.space import Budget, RankSpace

CP_TOO = ("tucker2", "svd_spatial", "cp")
BUDGETS = [{"macs": 0.2}, {"macs": 0.35}, {"macs": 0.5}, {"params": 0.3}, {"macs": 0.4, "params": 0.3}]


def network(seed: int) -> nn.Module:
    """Three layers too large for all their ranks to be fitted, whose spectra fall, unlike random ones."""
    rng = torch.Generator().manual_seed(seed)
    layers = [nn.Conv2d(3, 16, 3), nn.Conv2d(16, 16, 3), nn.Conv2d(16, 24, 3, stride=2), nn.Conv2d(24, 16, (3, 5))]
    for layer in layers[1:]:
        out, into, *kernel = layer.weight.shape
        parts = [torch.randn(size, 60, generator=rng) for size in (out, into, kernel[0] * kernel[1])]
        weight = torch.einsum("or,ir,kr,r->oik", *parts, 0.9 ** torch.arange(60))
        layer.weight = nn.Parameter(weight.reshape(layer.weight.shape) / weight.norm())
    return nn.Sequential(*layers)


def space_of(model: nn.Module, forms: Any = CP_TOO, **options: Any) -> RankSpace:
    return RankSpace.from_model(model, torch.randn(1, 3, 24, 24), forms, ["1", "2", "3"], **options)


def all_measured(space: RankSpace) -> list[FloatArray]:
    return [
        np.array([options.relative_error(row) for row in range(len(options))], dtype=np.float64)
        for options in space.layers
    ]


@pytest.fixture(scope="module")
def spaces() -> list[tuple[RankSpace, list[FloatArray]]]:
    """Spaces, and every error measured, by other objects than those under test."""
    return [(space_of(network(seed)), all_measured(space_of(network(seed)))) for seed in range(3)]


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("budget", BUDGETS, ids=str)
def test_the_answer_is_as_good_as_with_every_rank_fitted_and_the_bound_is_true(
    budget: dict[str, float], seed: int, spaces: list[tuple[RankSpace, list[FloatArray]]]
) -> None:
    space, truth = spaces[seed]
    found = space.minimise_measured(Budget(**budget))
    real = sum(errors[row] for errors, row in zip(truth, found.solution.indices, strict=True))
    best = space.minimise(truth, Budget(**budget))
    assert found.solution.value == pytest.approx(real, rel=1e-12)
    unproven = best.value - best.lower_bound  # of the knapsack itself, under two metrics
    assert found.solution.value <= 1.005 * best.value + unproven + 1e-9
    assert found.solution.lower_bound <= best.lower_bound + 1e-9
    assert found.interpolation is not None
    assert 0 <= found.interpolation <= found.solution.value
    space.admit(space.plan(found.solution.indices), Budget(**budget))


def test_no_error_is_below_its_floor(spaces: list[tuple[RankSpace, list[FloatArray]]]) -> None:
    interpolated = 0
    for space, truth in spaces:
        for options, errors in zip(space.layers, truth, strict=True):
            table = options.estimated
            interpolated += int((~table.measured).sum())
            assert (table.floors <= errors * options.energy * (1 + 1e-9)).all()
            np.testing.assert_array_equal(table.errors[table.measured] / options.energy, errors[table.measured])
            assert np.sqrt(np.square(table.errors / options.energy - errors).mean()) < 0.01
    assert interpolated > 50


def test_the_tables_stay_as_they_are_and_the_answer_the_same_whatever_was_asked_before() -> None:
    first, second = space_of(network(0)), space_of(network(0))
    before = [errors.tobytes() for errors in first.relative_errors()]
    answers = {bound: first.minimise_measured(Budget(macs=bound)) for bound in (0.5, 0.2, 0.35)}
    assert [errors.tobytes() for errors in first.relative_errors()] == before
    all_measured(second)
    for bound in (0.35, 0.2, 0.5):
        again = second.minimise_measured(Budget(macs=bound))
        assert again.solution.indices.tolist() == answers[bound].solution.indices.tolist()
        assert (again.solution.value, again.solution.lower_bound, again.interpolation, again.fitted) == (
            answers[bound].solution.value,
            answers[bound].solution.lower_bound,
            answers[bound].interpolation,
            answers[bound].fitted,
        )


def test_where_nothing_is_interpolated_it_is_the_knapsack_itself() -> None:
    space = space_of(network(1), ("tucker2", "svd_spatial"))
    found, plain = (
        space.minimise_measured(Budget(macs=0.3)),
        space.minimise(space.relative_errors(), Budget(macs=0.3)),
    )
    assert found.solution.indices.tolist() == plain.indices.tolist()
    assert (found.solution.value, found.solution.lower_bound) == (plain.value, plain.lower_bound)
    assert (found.interpolation, found.fitted) == (None, 0)


def test_the_values_that_are_summed_may_be_others_than_relative_errors() -> None:
    space = space_of(network(2))
    energies = [1.0, 100.0, 0.01]

    def weighted(errors: Sequence[FloatArray]) -> list[FloatArray]:
        return [error * energy for error, energy in zip(errors, energies, strict=True)]

    found = space.minimise_measured(Budget(macs=0.3), weighted)
    best = space.minimise(weighted(all_measured(space_of(network(2)))), Budget(macs=0.3))
    assert best.lower_bound >= found.solution.lower_bound
    assert found.solution.value <= 1.005 * best.value


@pytest.mark.parametrize("options", [{"prune": True}, {"max_options": 12}, {"multiple_of": 4}], ids=str)
def test_thinned_tables_know_what_they_measured(options: dict[str, Any]) -> None:
    space = space_of(network(0), ["cp"], **options)
    found = space.minimise_measured(Budget(macs=0.4))
    for layer in space.layers:
        assert len(layer.estimated.measured) == len(layer)
        assert (layer.errors[1:] > 0).all()
    total = sum(o.relative_error(int(row)) for o, row in zip(space.layers, found.solution.indices, strict=True))
    assert found.solution.value == pytest.approx(total, rel=1e-12)
