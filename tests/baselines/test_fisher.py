"""Fisher: 1/2 d^T F d against per-sample gradients by autograd in float64, and the knapsack over it by brute force."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from tiny_task import MACS, PARAMS, TRAIN, all_plans, tiny_net, tiny_task
from torch import Tensor
from torch.nn import functional as F

from rank_search.arrays import FloatArray
from rank_search.baselines.fisher import Fisher
from rank_search.errors import DataError, InvalidInputError
from rank_search.searching import search
from rank_search.space import DENSE, Budget
from rank_search.task import Limits, Task
from rank_search.task.oracles import Oracles

pytestmark = pytest.mark.usefixtures("single_thread")

COSTS = dict(all_plans())
MIXED = ("tucker2", "svd_channel", "svd")


def gradients(task: Task, samples: int, seed: int) -> list[Tensor]:
    """Per layer the gradients of the losses of the first training samples that the seed draws, each on its own."""
    generator = torch.Generator().manual_seed(seed)
    batch = next(iter(task.under(task.budget).train_batches(generator, batch_size=max(2, samples))))
    assert isinstance(batch.inputs, Tensor)
    assert isinstance(batch.targets, Tensor)
    model = copy.deepcopy(task.model).double().eval()
    weights = [model.get_submodule(options.layer.name).weight for options in task.space.layers]
    found: list[list[Tensor]] = [[] for _ in weights]
    for image, label in list(zip(batch.inputs, batch.targets, strict=True))[:samples]:
        loss = F.cross_entropy(model(image[None].double()), label[None])
        for place, gradient in enumerate(torch.autograd.grad(loss, weights)):
            found[place].append(gradient.flatten())
    return [torch.stack(one) for one in found]


def by_hand(task: Task, samples: int, seed: int, kind: str) -> list[FloatArray]:
    found = []
    for options, gradient in zip(task.space.layers, gradients(task, samples, seed), strict=True):
        weight = options.approximation(0)
        offs = [(weight - options.approximation(row)).flatten() for row in range(len(options))]
        products = gradient.T @ gradient / len(gradient)
        fisher = products.diag().diag() if kind == "diagonal" else products
        found.append(np.array([0.5 * float(off @ fisher @ off) for off in offs]))
    return found


@pytest.mark.parametrize("kind", ["diagonal", "full"])
@pytest.mark.parametrize(("samples", "seed"), [(1, 0), (2, 1), (12, 0), (12, 5), (41, 3)])
def test_changes_are_the_quadratic_forms_of_the_empirical_fisher(samples: int, seed: int, kind: str) -> None:
    task = tiny_task(Budget(macs=0.6), forms=MIXED)
    found = Fisher(Oracles(task), seed=seed, samples=samples, fisher=kind).changes()
    for mine, his in zip(by_hand(task, samples, seed, kind), found, strict=True):
        assert his == pytest.approx(mine, rel=1e-3, abs=1e-6 * float(mine.max()))


def test_more_samples_than_an_epoch_has_are_an_epoch() -> None:
    task = tiny_task()
    found = Fisher(Oracles(task), seed=3, samples=1000).changes()
    for mine, his in zip(by_hand(task, TRAIN, 3, "full"), found, strict=True):
        assert his == pytest.approx(mine, rel=1e-3, abs=1e-9)


def test_the_full_fisher_predicts_the_mean_squared_change_of_the_losses() -> None:
    """``d^T F d = mean (g d)^2``: the mean square of the losses' finite differences along d, for small steps."""
    task, step = tiny_task(Budget(macs=0.6)), 1e-4
    found = Fisher(Oracles(task), seed=0, samples=12, fisher="full").changes()
    batch = next(iter(task.under(task.budget).train_batches(torch.Generator().manual_seed(0), batch_size=12)))
    assert isinstance(batch.inputs, Tensor)
    for place, options in enumerate(task.space.layers):
        for row in range(1, len(options)):
            losses = []
            for sign in (1, -1):
                model = copy.deepcopy(task.model).double().eval()
                weight = model.get_submodule(options.layer.name).weight
                off = (options.approximation(row) - options.approximation(0)).reshape(weight.shape)
                weight.data += sign * step * off
                losses.append(F.cross_entropy(model(batch.inputs.double()), batch.targets, reduction="none"))
            slopes = (losses[0] - losses[1]) / (2 * step)
            assert found[place][row] == pytest.approx(0.5 * float(slopes.detach().square().mean()), rel=1e-2)


@pytest.mark.parametrize("kind", ["diagonal", "full"])
@pytest.mark.parametrize("budget", [{"macs": 0.4}, {"macs": 0.6}, {"macs": 0.85}, {"params": 0.5}], ids=str)
def test_the_plan_has_the_least_sum_of_changes_of_all_within_the_budget(budget: dict[str, float], kind: str) -> None:
    task = tiny_task(Budget(**budget))
    changes = by_hand(task, 24, 0, kind)
    bounds = {m: math.floor(bound * {"macs": MACS, "params": PARAMS}[m]) for m, bound in budget.items()}
    sums = {
        plan: sum(float(change[row]) for change, row in zip(changes, task.space.indices(plan), strict=True))
        for plan, cost in COSTS.items()
        if all(cost[m] <= bound for m, bound in bounds.items())
    }
    plan = search(task, "fisher", samples=24, fisher=kind).plan
    assert sums[plan] == pytest.approx(min(sums.values()), rel=1e-4)


def test_the_plan_is_the_knapsacks_over_its_changes() -> None:
    for macs, seed in itertools.product((0.45, 0.7), (0, 1)):
        task = tiny_task(Budget(macs=macs), forms=MIXED)
        changes = Fisher(Oracles(task), seed=seed, samples=16).changes()
        expected = task.space.plan(task.space.minimise(changes, task.budget).indices)
        assert search(task, "fisher", seed=seed, samples=16).plan == expected


def test_a_layer_that_the_loss_does_not_see_costs_nothing() -> None:
    net = tiny_net()
    net.head.weight.data.zero_()  # no gradient reaches the convolutions
    changes = Fisher(Oracles(tiny_task(net=net)), seed=0, samples=8).changes()
    assert changes[0].tolist() == [0.0] * len(changes[0])
    assert changes[1].tolist() == [0.0] * len(changes[1])


def test_dense_changes_nothing_and_no_change_is_negative() -> None:
    for kind in ("diagonal", "full"):
        for change in Fisher(Oracles(tiny_task()), seed=0, fisher=kind).changes():
            assert change[0] == 0
            assert (change >= 0).all()


def test_samples_and_decompositions_are_charged_once() -> None:
    meter = search(tiny_task(), "fisher", samples=12).meter
    assert [meter[name] for name in ("samples_trained", "samples_forward", "evaluations")] == [12, 0, 0]
    assert meter["decompositions"] == 3


def test_nothing_is_run_beyond_the_limit() -> None:
    result_or_error: object
    try:
        result_or_error = search(tiny_task(), "fisher", Limits(samples_trained=11), samples=12).ended
    except RuntimeError as error:
        result_or_error = str(error)
    assert "samples_trained" in str(result_or_error) or "trained samples" in str(result_or_error)


def test_options_without_a_fit_are_not_taken() -> None:
    plain = tiny_task(Budget(macs=0.6))
    taken = search(plain, "fisher", samples=8).plan
    tables = []
    for options in plain.space.layers:
        errors = options.errors / options.energy
        if taken[options.layer.name] != DENSE:
            errors[options.index(taken[options.layer.name])] = math.inf
        tables.append(options.with_relative_errors(errors))
    task = Task(plain.model, plain.space.with_tables(tables), plain.budget, plain.data, recalibration_samples=20)
    for change, options in zip(Fisher(Oracles(task), seed=0, samples=8).changes(), task.space.layers, strict=True):
        assert np.isinf(change).tolist() == np.isinf(options.errors).tolist()
    plan = search(task, "fisher", samples=8).plan
    assert all(choice == DENSE or choice != taken[name] for name, choice in plan.items())


def test_it_says_that_it_needs_data() -> None:
    with pytest.raises(DataError):
        search(tiny_task(data=False), "fisher")


@pytest.mark.parametrize(
    ("option", "value"),
    [("samples", 0), ("samples", -3), ("samples", 2.5), ("samples", True), ("fisher", "block"), ("fisher", None)],
)
def test_values_that_are_not_allowed_are_refused_in_one_line(option: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"{option}=") as caught:
        search(tiny_task(), "fisher", **{option: value})
    assert "\n" not in str(caught.value)
