"""Energy: the smallest common threshold of relative error whose plan fits, against every threshold of a tiny space."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tiny_task import MACS, PARAMS, TinyNet, all_plans, energy, squared_error, tiny_net, tiny_task

from rank_search.errors import InvalidInputError
from rank_search.searching import search
from rank_search.space import DENSE, Budget, Choice, RankPlan
from rank_search.task import Task

pytestmark = pytest.mark.usefixtures("single_thread")

DENSE_COST = {"macs": MACS, "params": PARAMS}
COSTS = dict(all_plans())
NAMES = ("first", "second", "head")
OPTIONS = {name: list(dict.fromkeys(plan[name] for plan in COSTS)) for name in NAMES}
ONE_METRIC = [
    *({"macs": bound} for bound in (0.36, 0.45, 0.5, 0.58, 0.7, 0.85, 0.97, 1.0)),
    *({"params": bound} for bound in (0.35, 0.5, 0.62, 0.75, 0.9)),
]
TWO_METRICS = [{"macs": 0.6, "params": 0.6}, {"macs": 0.5, "params": 0.8}, {"macs": 0.9, "params": 0.45}]


def limits(budget: dict[str, float]) -> dict[str, int]:
    return {metric: math.floor(bound * DENSE_COST[metric]) for metric, bound in budget.items()}


def alone(name: str, choice: Choice) -> dict[str, int]:
    """What the layer costs: all other layers dense, less what the network costs with this one free."""
    cost = COSTS[RankPlan({name: choice, **{other: DENSE for other in NAMES if other != name}})]
    return {metric: cost[metric] - COSTS[RankPlan(dict.fromkeys(NAMES, DENSE))][metric] for metric in cost}


def relative(net: TinyNet) -> dict[str, dict[Choice, float]]:
    return {
        name: {choice: squared_error(net, name, choice) / energy(net, name) for choice in OPTIONS[name]}
        for name in NAMES
    }


def cheapest(errors: dict[str, dict[Choice, float]], threshold: float, metric: str) -> RankPlan:
    """Every layer at its cheapest option with error <= threshold; of equally cheap ones the better."""
    return RankPlan(
        {
            name: min(
                (choice for choice, error in found.items() if error <= threshold),
                key=lambda choice: (alone(name, choice)[metric], found[choice]),
            )
            for name, found in errors.items()
        }
    )


def uneven_net(seed: int) -> TinyNet:
    """Layers of decaying spectra, so that thresholds differ between the layers."""
    net = tiny_net(seed)
    for module, decay in ((net.first, 0.6), (net.second, 0.3), (net.head, 0.5)):
        weight = module.weight.data
        left, values, right = np.linalg.svd(weight.flatten(1).numpy().astype(np.float64), full_matrices=False)
        values = values[0] * decay ** np.arange(len(values))
        weight.copy_(weight.new_tensor((left * values) @ right).reshape(weight.shape))
    return net


@pytest.mark.parametrize("seed", [None, 1, 2])
@pytest.mark.parametrize("budget", ONE_METRIC, ids=str)
def test_the_plan_is_that_of_the_smallest_threshold_that_fits(budget: dict[str, float], seed: int | None) -> None:
    net = tiny_net() if seed is None else uneven_net(seed)
    ((metric, limit),) = limits(budget).items()
    errors = relative(net)
    thresholds = sorted({error for found in errors.values() for error in found.values()})
    fitting = [t for t in thresholds if COSTS[cheapest(errors, t, metric)][metric] <= limit]
    assert fitting
    assert search(tiny_task(Budget(**budget), net=net), "energy").plan == cheapest(errors, fitting[0], metric)


@pytest.mark.parametrize("budget", TWO_METRICS, ids=str)
def test_under_two_metrics_the_plan_fits_and_every_layer_is_below_a_common_threshold_that_no_smaller_replaces(
    budget: dict[str, float],
) -> None:
    net = uneven_net(1)
    errors, bounds = relative(net), limits(budget)
    left = {metric: bound - (PARAMS - 192 if metric == "params" else 0) for metric, bound in bounds.items()}

    def plan_of(threshold: float) -> RankPlan:
        def price(name: str, choice: Choice) -> float:
            return sum(alone(name, choice)[metric] / left[metric] for metric in budget)

        return RankPlan(
            {
                name: min(
                    (choice for choice, error in found.items() if error <= threshold),
                    key=lambda choice: (round(price(name, choice), 12), found[choice]),
                )
                for name, found in errors.items()
            }
        )

    thresholds = sorted({error for found in errors.values() for error in found.values()})
    fitting = [t for t in thresholds if all(COSTS[plan_of(t)][m] <= bound for m, bound in bounds.items())]
    assert fitting
    assert search(tiny_task(Budget(**budget), net=net), "energy").plan == plan_of(fitting[0])


def test_the_answer_does_not_change_when_a_layer_is_scaled() -> None:
    net, scaled = uneven_net(1), uneven_net(1)
    scaled.second.weight.data.mul_(32)
    for bound in (0.45, 0.6, 0.8):
        plans = [search(tiny_task(Budget(macs=bound), net=one), "energy").plan for one in (net, scaled)]
        assert plans[0] == plans[1]


def test_with_room_for_everything_nothing_is_lost() -> None:
    assert search(tiny_task(Budget(macs=1.0)), "energy").plan == RankPlan({})


def test_several_forms_compete_layer_by_layer() -> None:
    task = tiny_task(Budget(macs=0.6), forms=("tucker2", "svd_channel", "svd_spatial", "svd"))
    space, limit = task.space, math.floor(0.6 * MACS)
    errors = [options.errors / options.energy for options in space.layers]
    costs = [options.costs[:, space.metric_names.index("macs")] for options in space.layers]

    def rows(threshold: float) -> list[int]:
        return [
            min(np.flatnonzero(e <= threshold).tolist(), key=lambda row: (c[row], e[row]))
            for e, c in zip(errors, costs, strict=True)
        ]

    for threshold in np.unique(np.concatenate(errors)):
        if sum(int(cost[row]) for cost, row in zip(costs, rows(threshold), strict=True)) <= limit:
            break
    plan = search(task, "energy").plan
    expected = space.plan(np.array(rows(threshold)))
    assert plan == expected
    assert len({choice.form for choice in plan.values()}) > 1


def test_options_without_a_fit_are_never_taken() -> None:
    plain = tiny_task(Budget(macs=0.7))
    taken = search(plain, "energy").plan
    tables = []
    for options in plain.space.layers:
        errors = options.errors / options.energy
        if taken[options.layer.name] != DENSE:
            errors[options.index(taken[options.layer.name])] = math.inf
        tables.append(options.with_relative_errors(errors))
    task = Task(plain.model, plain.space.with_tables(tables), plain.budget, plain.data, recalibration_samples=20)
    plan = search(task, "energy").plan
    assert all(choice == DENSE or choice != taken[name] for name, choice in plan.items())
    assert COSTS[plan]["macs"] <= math.floor(0.7 * MACS)


def test_it_needs_neither_data_nor_evaluations() -> None:
    with_data, without = search(tiny_task(), "energy", seed=1), search(tiny_task(data=False), "energy", seed=2)
    assert with_data.plan == without.plan
    assert (len(with_data.trials), with_data.ended) == (1, "done")
    assert [with_data.meter[name] for name in ("evaluations", "samples_forward", "samples_trained")] == [0, 0, 0]
    assert with_data.meter["decompositions"] == 3


def test_an_unknown_option_is_refused_in_one_line() -> None:
    with pytest.raises(InvalidInputError, match="treshold") as caught:
        search(tiny_task(), "energy", treshold=0.1)
    assert "\n" not in str(caught.value)
