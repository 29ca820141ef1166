"""Calibrated: the interpolation by hand, distances against networks with one changed layer, the plan against milp."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from scipy.optimize import Bounds, LinearConstraint, milp
from tiny_task import MACS, PARAMS, all_plans, tiny_task
from torch import Tensor, nn

from rank_search.arrays import FloatArray
from rank_search.baselines.calibrated import Calibrated, interpolated
from rank_search.errors import DataError, InvalidInputError
from rank_search.searching import search
from rank_search.space import DENSE, Budget, RankPlan
from rank_search.task import Task
from rank_search.task.oracles import Oracles

pytestmark = pytest.mark.usefixtures("single_thread")

COSTS = dict(all_plans())
MIXED = ("tucker2", "svd_channel", "svd")
PROBED = np.array([0.01, 0.1, 0.4])
MEASURED = np.array([0.002, 0.05, 0.6])


def test_it_passes_through_the_probes() -> None:
    assert interpolated(PROBED, PROBED, MEASURED) == pytest.approx(MEASURED, rel=1e-9)


def test_between_probes_logarithms_are_linear() -> None:
    for share in (0.25, 0.5, 0.9):
        error = PROBED[0] ** (1 - share) * PROBED[1] ** share
        expected = MEASURED[0] ** (1 - share) * MEASURED[1] ** share
        assert interpolated(np.array([error]), PROBED, MEASURED)[0] == pytest.approx(expected, rel=1e-9)


def test_below_the_first_probe_it_is_proportional_and_nothing_at_no_error() -> None:
    found = interpolated(np.array([0.0, 0.001, 0.005]), PROBED, MEASURED)
    assert found[1:] == pytest.approx([0.0002, 0.001], rel=1e-9)
    assert found[0] == pytest.approx(0, abs=1e-10)


def test_beyond_the_last_probe_it_goes_on_at_its_slope() -> None:
    slope = math.log(0.6 / 0.05) / math.log(4)
    assert slope > 1
    found = interpolated(np.array([0.8, 1.0]), PROBED, MEASURED)
    assert found == pytest.approx([0.6 * 2**slope, 0.6 * 2.5**slope], rel=1e-9)


def test_beyond_the_last_probe_it_grows_at_least_in_proportion() -> None:
    found = interpolated(np.array([0.8, 1.0]), PROBED, np.array([0.3, 0.31, 0.32]))
    assert found == pytest.approx([0.64, 0.8], rel=1e-9)


def test_one_probe_is_plain_proportion() -> None:
    errors = np.array([0.02, 0.2, 0.9])
    found = interpolated(errors, np.array([0.2]), np.array([0.5]))
    assert found == pytest.approx(errors * 2.5, rel=1e-9)


def test_distances_that_are_not_finite_count_as_the_largest_finite_one() -> None:
    found = interpolated(PROBED, PROBED, np.array([0.01, 0.3, math.nan]))
    assert found == pytest.approx([0.01, 0.3, 0.3], rel=1e-9)
    assert interpolated(PROBED, PROBED, np.array([0.01, 0.3, math.inf])) == pytest.approx(found)
    assert np.isfinite(interpolated(PROBED, PROBED, np.full(3, math.nan))).all()


@pytest.mark.parametrize("seed", range(10))
def test_it_never_falls_and_is_finite(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probed = np.sort(rng.uniform(0, 1, rng.integers(1, 6)))
    measured = np.abs(rng.normal(size=len(probed))) * rng.choice([0, 1e-9, 1], len(probed))
    errors = np.sort(np.concatenate([[0, 1e-15, 1, 2], rng.uniform(0, 1, 200), probed]))
    found = interpolated(errors, probed, measured)
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (np.diff(found) >= -1e-12 * np.maximum(found[1:], 1e-300)).all()


def test_it_never_falls_where_measurements_do_and_keeps_the_rest() -> None:
    measured = np.array([0.1, 0.05, 0.4])
    found = interpolated(np.array([0.01, 0.05, 0.1, 0.4]), PROBED, measured)
    assert (np.diff(found) >= -1e-12).all()
    assert found[-1] == pytest.approx(0.4, rel=1e-9)
    assert 0.05 - 1e-9 <= found[0] <= found[2] <= 0.1 + 1e-9


def divergence(task: Task, layer: int, row: int, samples: int) -> float:
    """KL of the dense network's classes from those with one weight replaced, in float64; norms on the batch."""
    inputs = task.fixed_inputs(samples)
    assert isinstance(inputs, Tensor)
    logits = []
    for option in (0, row):
        model = copy.deepcopy(task.model).double().eval()
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.train()
        weight = model.get_submodule(task.space.layers[layer].layer.name).weight
        weight.data = task.space.layers[layer].approximation(option).reshape(weight.shape)
        with torch.no_grad():
            logits.append(model(inputs.double()).log_softmax(1))
    dense, changed = logits
    return float((dense.exp() * (dense - changed)).sum(1).mean())


def test_distances_of_probed_options_are_the_divergences_measured() -> None:
    task = tiny_task(Budget(macs=0.6))
    seen = Oracles(task)
    found = Calibrated(seen, seed=0, probes=100, samples=30).distances(seen.relative_errors())
    assert found[2][1] == pytest.approx(divergence(task, 2, 1, 30), rel=1e-3)  # the head has one option
    assert [len(one) for one in found] == [len(options) for options in task.space.layers]
    for place, options in enumerate(task.space.layers):
        assert found[place][0] == 0
        rows = np.argsort(options.errors, kind="stable")[1:]
        measured = [divergence(task, place, int(row), 30) for row in rows]
        assert found[place][rows[-1]] >= 0.999 * max(0.0, min(measured))
        assert found[place][rows].max() <= 1.001 * max(measured)
        assert (np.diff(found[place][rows]) >= -1e-9).all()


def test_with_one_option_a_layer_values_are_the_divergence_mixed_with_the_plain_error() -> None:
    """prior 0: the divergences themselves up to one common factor; prior 1: the plain errors likewise."""
    task = tiny_task(Budget(macs=0.6), forms=MIXED)
    seen = Oracles(task)
    errors = seen.relative_errors()
    measured = Calibrated(seen, seed=0, samples=30).distances(errors)
    for prior, plain in ((0.0, measured), (1.0, errors)):
        values = Calibrated(seen, seed=0, samples=30, prior=prior).values()
        ratios = np.concatenate([value[1:] / one[1:] for value, one in zip(values, plain, strict=True)])
        assert ratios == pytest.approx(np.full(len(ratios), ratios[0]), rel=1e-5)
        assert all(value[0] == 0 for value in values)


def optimum(task: Task, values: list[FloatArray], budget: dict[str, float]) -> float:
    """The multiple-choice knapsack by HiGHS."""
    space = task.space
    sizes = [len(value) for value in values]
    dense = {"macs": MACS, "params": PARAMS}
    pick = np.zeros((len(sizes), sum(sizes)))
    for place, (start, size) in enumerate(zip(np.cumsum([0, *sizes[:-1]]), sizes, strict=True)):
        pick[place, start : start + size] = 1
    constraints = [LinearConstraint(pick, 1, 1)]
    for metric, bound in budget.items():
        column = space.metric_names.index(metric)
        row = np.concatenate([options.costs[:, column] for options in space.layers]).astype(float)
        limit = math.floor(bound * dense[metric]) - space.fixed_cost[metric]
        constraints.append(LinearConstraint(row[None], -np.inf, limit))
    answer = milp(
        np.concatenate(values),
        constraints=constraints,
        integrality=np.ones(sum(sizes)),
        bounds=Bounds(0, 1),
        options={"mip_rel_gap": 0},
    )
    assert answer.success
    return float(answer.fun)


@pytest.mark.parametrize("prior", [0.0, 0.5])
@pytest.mark.parametrize(
    "budget", [{"macs": 0.4}, {"macs": 0.6}, {"macs": 0.85}, {"params": 0.5}, {"macs": 0.6, "params": 0.6}], ids=str
)
def test_the_plan_has_the_least_total_value(budget: dict[str, float], prior: float) -> None:
    task = tiny_task(Budget(**budget), forms=MIXED)
    values = Calibrated(Oracles(task), seed=0, samples=20, prior=prior).values()
    plan = search(task, "calibrated", samples=20, prior=prior).plan
    total = sum(float(value[row]) for value, row in zip(values, task.space.indices(plan), strict=True))
    assert total == pytest.approx(optimum(task, values, budget), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("macs", [0.4, 0.5, 0.6, 0.75, 0.9])
def test_with_the_prior_alone_it_is_the_knapsack(macs: float) -> None:
    task = tiny_task(Budget(macs=macs))
    assert search(task, "calibrated", prior=1, samples=8).plan == search(task, "knapsack").plan


def test_probes_are_charged_as_forward_samples() -> None:
    meter = search(tiny_task(Budget(macs=0.6)), "calibrated", probes=2, samples=20).meter
    # 2 and 2 probes of the convolutions, 1 of the head's only option, and the dense network
    assert meter["samples_forward"] == 20 * (2 + 2 + 1 + 1)
    assert [meter[name] for name in ("evaluations", "samples_trained", "decompositions")] == [0, 0, 3]


def test_options_without_a_fit_are_not_taken() -> None:
    plain = tiny_task(Budget(macs=0.6))
    taken = search(plain, "calibrated", samples=16).plan
    tables = []
    for options in plain.space.layers:
        errors = options.errors / options.energy
        if taken[options.layer.name] != DENSE:
            errors[options.index(taken[options.layer.name])] = math.inf
        tables.append(options.with_relative_errors(errors))
    task = Task(plain.model, plain.space.with_tables(tables), plain.budget, plain.data, recalibration_samples=20)
    values = Calibrated(Oracles(task), seed=0, samples=16).values()
    for value, options in zip(values, task.space.layers, strict=True):
        assert np.isinf(value).tolist() == np.isinf(options.errors).tolist()
    plan = search(task, "calibrated", samples=16).plan
    assert all(choice == DENSE or choice != taken[name] for name, choice in plan.items())


def test_with_room_for_everything_nothing_is_cut() -> None:
    assert search(tiny_task(Budget(macs=1.0)), "calibrated", samples=8).plan == RankPlan({})


def test_it_says_that_it_needs_data() -> None:
    with pytest.raises(DataError):
        search(tiny_task(data=False), "calibrated")


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("probes", 0),
        ("probes", 1.5),
        ("samples", 0),
        ("samples", None),
        ("prior", -0.1),
        ("prior", 1.1),
        ("prior", math.nan),
        ("prior", "half"),
    ],
)
def test_values_that_are_not_allowed_are_refused_in_one_line(option: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=f"{option}=") as caught:
        search(tiny_task(), "calibrated", **{option: value})
    assert "\n" not in str(caught.value)
