"""Effective rank: exp-entropies by hand, and the closed form of D-Rank where it holds."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from tiny_task import MACS, all_plans, tiny_data, tiny_net, tiny_task
from torch import Tensor, nn

from rank_search.arrays import FloatArray
from rank_search.baselines.effective_rank import costs_of_a_rank, effective_ranks
from rank_search.errors import InvalidInputError
from rank_search.searching import search
from rank_search.space import DENSE, Budget, RankSpace
from rank_search.space.tables.options import LayerOptions
from rank_search.task import Task

pytestmark = pytest.mark.usefixtures("single_thread")

COSTS = dict(all_plans())


def exp_entropy(energies: FloatArray) -> float:
    """``prod p^-p``."""
    share = energies[energies > 0] / energies.sum()
    return float(np.prod(share**-share))


class Linears(nn.Module):
    """Three linear layers of given spectra and no bias."""

    def __init__(self, spectra: list[FloatArray], shapes: list[tuple[int, int]]) -> None:
        super().__init__()
        layers = []
        for place, (values, (out, into)) in enumerate(zip(spectra, shapes, strict=True)):
            rng = np.random.default_rng(place)
            left, right = (np.linalg.qr(rng.normal(size=(n, len(values))))[0] for n in (out, into))
            layer = nn.Linear(into, out, bias=False)
            layer.weight.data = torch.from_numpy((left * values) @ right.T).float()
            layers.append(layer)
        self.layers = nn.Sequential(*layers)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.layers(images.flatten(1))
        return logits


def svd_options(values: FloatArray, out: int = 36, into: int = 36) -> LayerOptions:
    net = Linears([values], [(out, into)]).eval()
    return RankSpace.from_model(net, torch.zeros(1, 1, 6, 6), forms=["svd"]).layers[0]


def found(options: LayerOptions, position: int = 0) -> FloatArray:
    return effective_ranks(options, position, options.errors / options.energy)


def test_equal_singular_values_have_the_full_rank_as_effective_rank() -> None:
    assert found(svd_options(np.ones(36))) == pytest.approx([36.0], rel=1e-5)


@pytest.mark.parametrize("count", [1, 2, 5, 17])
def test_some_equal_singular_values_and_nothing_else_count_themselves(count: int) -> None:
    assert found(svd_options(np.full(count, 3.0))) == pytest.approx([count], rel=1e-5)


def test_two_values_of_one_and_two_have_energies_of_a_fifth_and_four() -> None:
    expected = 5 * 4**-0.8  # (1/5)^(-1/5) (4/5)^(-4/5)
    assert found(svd_options(np.array([2.0, 1.0]))) == pytest.approx([expected], rel=1e-5)


def test_the_entropy_is_that_of_the_energies_of_all_offered_ranks() -> None:
    values = 0.7 ** np.arange(17.0)
    assert found(svd_options(values)) == pytest.approx([exp_entropy(values**2)], rel=1e-5)


def test_singular_values_beyond_the_largest_offered_rank_count_too() -> None:
    """R is that of the weight; ranks above break-even have their own energies, or share what they add together."""
    values = 0.95 ** np.arange(36.0)
    options = svd_options(values)
    offered = int(options.ranks.max())
    assert offered == 17  # 72 r < 1296
    shared = np.concatenate([values[:17] ** 2, np.full(19, (values[17:] ** 2).sum() / 19)])
    exact = exp_entropy(values**2)
    assert exact * (1 - 1e-5) <= found(options)[0] <= exp_entropy(shared) * (1 + 1e-5)


def test_it_is_free_of_the_weights_scale() -> None:
    values = 0.8 ** np.arange(12.0)
    assert found(svd_options(1e4 * values)) == pytest.approx(found(svd_options(values)), rel=1e-5)


def test_both_modes_of_a_tucker2_have_the_entropies_of_their_unfoldings() -> None:
    net = tiny_net()
    weight = net.second.weight.detach().double().numpy()
    unfoldings = (weight.reshape(4, -1), weight.transpose(1, 0, 2, 3).reshape(4, -1))
    expected = [exp_entropy(np.linalg.svd(matrix, compute_uv=False) ** 2) for matrix in unfoldings]
    assert found(tiny_task(net=net).space.layers[1]) == pytest.approx(expected, rel=1e-6)


def test_the_cost_of_a_rank_is_the_closed_forms() -> None:
    options = svd_options(np.ones(10), out=20)
    assert costs_of_a_rank(options, 0, 0) == pytest.approx([56])
    assert costs_of_a_rank(options, 0, 1) == pytest.approx([56])
    space = tiny_task().space
    assert list(space.metric_names) == ["params", "macs"]
    # the second convolution: params 4 r2 + 9 r1 r2 + 4 r1; 4 is offered in either mode while the other is below
    params = costs_of_a_rank(space.layers[1], 0, 0)
    assert params == pytest.approx([4 + 9 * 4, 4 + 9 * 4])


SHAPES = [(40, 36), (50, 40), (60, 50)]
COST = np.array([m + n for m, n in SHAPES], dtype=np.float64)


def ranks_and_closed_form(macs: float, spectra: list[FloatArray]) -> tuple[FloatArray, FloatArray, int]:
    """The ranks found, ``sqrt(R_l / c_l) B / sum sqrt(R_l c_l)`` by hand, and B."""
    net = Linears(spectra, SHAPES).eval()
    space = RankSpace.from_model(net, torch.zeros(1, 1, 6, 6), forms=["svd"])
    plan = search(Task(net, space, Budget(macs=macs), tiny_data()), "effective_rank").plan
    total = sum(m * n for m, n in SHAPES)
    assert space.dense_cost["macs"] == total
    limit = math.floor(macs * total)
    effective = np.array([exp_entropy(values**2) for values in spectra])
    closed = np.sqrt(effective / COST) * limit / np.sqrt(effective * COST).sum()
    assert (closed < [(m * n - 1) // (m + n) for m, n in SHAPES]).all()  # nowhere is dense cheaper
    return np.array([choice.ranks[0] for choice in plan.values()], dtype=np.float64), closed, limit


@pytest.mark.parametrize("macs", [0.25, 0.3, 0.4])
@pytest.mark.parametrize("decays", [(0.9, 0.8, 0.7), (0.8, 0.85, 0.9), (0.95, 0.75, 0.85)])
def test_ranks_are_those_of_the_closed_form_up_to_rounding(macs: float, decays: tuple[float, ...]) -> None:
    spectra = [decay ** np.arange(18.0) for decay in decays]  # all of them are offered
    ranks, closed, limit = ranks_and_closed_form(macs, spectra)
    assert np.abs(ranks - closed).max() <= 1
    assert limit - COST.sum() < (ranks * COST).sum() <= limit
    scales = np.linspace(0.8, 1.2, 8001)
    candidates = np.rint(closed * scales[:, None])
    largest = scales[(candidates * COST).sum(1) <= limit][-1]
    near = (scales <= largest) & (scales > largest / 1.005)  # the factor is looked for in steps of half a percent
    assert ranks.tolist() in candidates[near].tolist()


@pytest.mark.parametrize("macs", [0.25, 0.3])
@pytest.mark.parametrize("decays", [(0.9, 0.8, 0.7), (0.8, 0.85, 0.9), (0.95, 0.75, 0.85), (1.0, 0.7, 0.7)])
def test_the_closed_form_holds_where_ranks_that_are_not_offered_carry_energy(
    macs: float, decays: tuple[float, ...]
) -> None:
    spectra = [decay ** np.arange(min(shape)) for decay, shape in zip(decays, SHAPES, strict=True)]
    ranks, closed, limit = ranks_and_closed_form(macs, spectra)
    assert np.abs(ranks - closed).max() <= 1
    assert limit - COST.sum() < (ranks * COST).sum() <= limit


@pytest.mark.parametrize("macs", [0.33, 0.36, 0.45, 0.6, 0.8, 1.0])
def test_every_plan_is_within_the_budget(macs: float) -> None:
    result = search(tiny_task(Budget(macs=macs)), "effective_rank")
    assert COSTS[result.plan]["macs"] <= math.floor(macs * MACS)


def test_of_several_forms_the_best_measured_is_kept() -> None:
    task = tiny_task(Budget(macs=0.6), forms=("tucker2", "cp", "svd"))
    result = search(task, "effective_rank")
    scores = [task.evaluate(trial.plan).score for trial in result.trials if trial.plan is not None]
    assert len(scores) >= 2
    assert result.score == min(scores)


def test_with_one_form_a_layer_nothing_is_evaluated() -> None:
    result = search(tiny_task(), "effective_rank")
    assert (result.score, len(result.trials), result.meter["evaluations"]) == (None, 1, 0)
    assert search(tiny_task(data=False), "effective_rank", seed=3).plan == result.plan


def test_options_without_a_fit_do_not_end_it() -> None:
    plain = tiny_task(Budget(macs=0.6))
    tables = []
    for options in plain.space.layers:
        errors = options.errors / options.energy
        if len(errors) > 3:
            errors[2] = math.inf
        tables.append(options.with_relative_errors(errors))
    space = plain.space.with_tables(tables)
    plan = search(Task(plain.model, space, plain.budget, plain.data, recalibration_samples=20), "effective_rank").plan
    rows = space.indices(plan)
    assert all(math.isfinite(options.errors[row]) for options, row in zip(space.layers, rows, strict=True))
    assert any(choice != DENSE for choice in plan.values())
    assert COSTS[plan]["macs"] <= math.floor(0.6 * MACS)


def test_an_option_known_to_have_no_fit_is_not_the_answer() -> None:
    plain = tiny_task(Budget(macs=0.6))
    taken = search(plain, "effective_rank").plan
    tables = []
    for options in plain.space.layers:
        errors = options.errors / options.energy
        if taken[options.layer.name] != DENSE:
            errors[options.index(taken[options.layer.name])] = math.inf
        tables.append(options.with_relative_errors(errors))
    space = plain.space.with_tables(tables)
    plan = search(Task(plain.model, space, plain.budget, plain.data, recalibration_samples=20), "effective_rank").plan
    rows = space.indices(plan)
    assert all(math.isfinite(options.errors[row]) for options, row in zip(space.layers, rows, strict=True))


def test_an_unknown_option_is_refused_in_one_line() -> None:
    with pytest.raises(InvalidInputError, match="power") as caught:
        search(tiny_task(), "effective_rank", power=0.5)
    assert "\n" not in str(caught.value)
