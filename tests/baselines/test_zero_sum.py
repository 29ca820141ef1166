"""Zero-sum: first-order changes against finite differences, and the order in which components go."""

from __future__ import annotations

import copy
import itertools
import math

import numpy as np
import pytest
import torch
from tiny_task import MACS, PARAMS, all_plans, tiny_data, tiny_task
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.arrays import FloatArray
from rank_search.baselines.zero_sum import ZeroSum, two_heaps
from rank_search.errors import DataError, InvalidInputError
from rank_search.searching import search
from rank_search.space import DENSE, Budget, RankPlan, RankSpace
from rank_search.task import Task
from rank_search.task.oracles import Oracles

pytestmark = pytest.mark.usefixtures("single_thread")

COSTS = dict(all_plans())


class TwoLinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.one, self.two, self.head = nn.Linear(36, 16), nn.Linear(16, 12), nn.Linear(12, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(torch.tanh(self.two(torch.tanh(self.one(images.flatten(1))))))
        return logits


def linear_task(macs: float = 0.6) -> Task:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = TwoLinear().eval()
    net.head.weight.data.mul_(4)
    space = RankSpace.from_model(net, torch.zeros(1, 1, 6, 6), forms=["svd"], include=["one", "two"])
    return Task(net, space, Budget(macs=macs), tiny_data())


def loss_with(task: Task, name: str, shift: Tensor, samples: int, seed: int) -> float:
    """The mean loss on the samples of the seed with a shift of one layer's weight, in float64."""
    generator = torch.Generator().manual_seed(seed)
    batch = next(iter(task.under(task.budget).train_batches(generator, batch_size=samples)))
    assert isinstance(batch.inputs, Tensor)
    model = copy.deepcopy(task.model).double().eval()
    weight = model.get_submodule(name).weight
    with torch.no_grad():
        weight.add_(shift.reshape(weight.shape))
        return float(F.cross_entropy(model(batch.inputs.double()), batch.targets))


def slope(task: Task, name: str, direction: Tensor, samples: int, seed: int) -> float:
    step = 1e-3
    up, down = (loss_with(task, name, sign * step * direction, samples, seed) for sign in (1, -1))
    return (up - down) / (2 * step)


def changes(task: Task, samples: int, seed: int) -> list[FloatArray]:
    seen = Oracles(task)
    return ZeroSum(seen, seed=seed, samples=samples).changes(seen.relative_errors())


@pytest.mark.parametrize(("samples", "seed"), [(2, 0), (16, 1), (41, 2)])
def test_changes_are_the_slopes_of_the_mean_loss_towards_every_option(samples: int, seed: int) -> None:
    task = tiny_task(Budget(macs=0.6), forms=("tucker2", "svd_channel", "svd"))
    found = changes(task, samples, seed)
    for options, change in zip(task.space.layers, found, strict=True):
        weight = options.approximation(0)
        expected = [
            slope(task, options.layer.name, options.approximation(row) - weight, samples, seed)
            for row in range(len(options))
        ]
        assert change[0] == 0
        assert change == pytest.approx(expected, rel=1e-2, abs=1e-4 * max(map(abs, expected)))


def test_a_step_of_an_svd_changes_the_loss_by_minus_sigma_times_the_derivative_in_sigma() -> None:
    task = linear_task()
    found = changes(task, 24, 0)
    for options, change in zip(task.space.layers, found, strict=True):
        weight = options.approximation(0)[0, :, :, 0].numpy()
        left, values, right = np.linalg.svd(weight, full_matrices=False)
        ranks = options.ranks[1:, 0]
        by_rank = dict(zip(ranks.tolist(), change[1:].tolist(), strict=True))
        assert len(by_rank) > 3
        for rank in range(2, max(by_rank) + 1):
            component = torch.from_numpy(np.outer(left[:, rank - 1], right[rank - 1]))
            derivative = slope(task, options.layer.name, component, 24, 0)
            gone = by_rank[rank - 1] - by_rank[rank]
            assert gone == pytest.approx(-values[rank - 1] * derivative, rel=2e-3, abs=1e-6)


def after(steps: list[FloatArray], count: int) -> list[int]:
    return two_heaps(steps, lambda taken: sum(taken) >= count)


def order(steps: list[FloatArray]) -> list[int]:
    """The layers in the order of their steps."""
    total = sum(map(len, steps))
    states = [after(steps, count) for count in range(total + 1)]
    assert states[0] == [0] * len(steps)
    layers = []
    for before, behind in itertools.pairwise(states):
        moved = [place for place, (x, y) in enumerate(zip(before, behind, strict=True)) if x != y]
        assert len(moved) == 1
        assert behind[moved[0]] == before[moved[0]] + 1
        layers.append(moved[0])
    return layers


def test_signs_alternate_and_the_smallest_change_goes_first() -> None:
    steps = [np.array([1.0]), np.array([3.0]), np.array([-2.0]), np.array([-1.5])]
    # 1 is the smallest of all, also of the positive ones; then -1.5 of the negative ones; -0.5 calls for 3, 2.5 for -2
    assert order(steps) == [0, 3, 1, 2]


def test_steps_of_a_layer_go_in_order_however_small_the_later_ones_are() -> None:
    steps = [np.array([5.0, 0.001]), np.array([-1.0, -1.0, -1.0])]
    assert order(steps) in ([1, 0, 1, 1, 0], [0, 1, 1, 1, 0])  # at a sum of 0 either sign may go


def test_where_no_step_has_the_opposite_sign_the_smallest_goes() -> None:
    assert order([np.array([2.0]), np.array([1.0]), np.array([3.0])]) == [1, 0, 2]
    assert order([np.array([-2.0]), np.array([-1.0]), np.array([-3.0])]) == [1, 0, 2]


def test_it_ends_when_it_is_enough_and_takes_nothing_where_nothing_is_needed() -> None:
    steps = [np.array([1.0, 1.0, 1.0]), np.array([-1.0, -1.0, -1.0])]
    assert two_heaps(steps, lambda taken: True) == [0, 0]
    assert sum(two_heaps(steps, lambda taken: taken[0] >= 2)) in (3, 4)
    assert two_heaps(steps, lambda taken: taken[0] >= 2)[0] == 2
    assert two_heaps(steps, lambda taken: False) == [3, 3]
    assert two_heaps([np.array([]), np.array([2.0])], lambda taken: False) == [0, 1]
    assert two_heaps([np.array([])], lambda taken: False) == [0]


@pytest.mark.parametrize("seed", range(8))
def test_every_step_follows_the_rule_and_the_sum_stays_within_the_largest_step(seed: int) -> None:
    rng = np.random.default_rng(seed)
    steps = [rng.normal(size=rng.integers(3, 12)) * rng.choice([0.1, 1, 3]) for _ in range(5)]
    largest = max(float(np.abs(step).max()) for step in steps)
    taken, running = [0] * len(steps), 0.0
    for layer in order(steps):
        heads = {place: float(step[taken[place]]) for place, step in enumerate(steps) if taken[place] < len(step)}
        opposite = {place: head for place, head in heads.items() if head * running < 0}
        if running != 0 and opposite:
            assert layer in opposite
            assert abs(heads[layer]) == min(map(abs, opposite.values()))
            assert abs(running + heads[layer]) <= max(largest, abs(running))
        else:  # at a sum of 0 either sign may go, the smallest of it first
            alike = [abs(head) for head in heads.values() if running != 0 or head * heads[layer] > 0]
            assert abs(heads[layer]) == min(alike)
        running += heads[layer]
        taken[layer] += 1
    total = sum(float(step.sum()) for step in steps)
    assert running == pytest.approx(total)


def test_the_sum_stays_near_zero_while_both_signs_are_there() -> None:
    rng = np.random.default_rng(0)
    steps = [np.abs(rng.normal(size=40)) * (1 if place % 2 else -1) for place in range(6)]
    largest, running, taken = max(float(np.abs(step).max()) for step in steps), 0.0, [0] * 6
    for layer in order(steps)[:100]:
        both = {np.sign(step[done]) for step, done in zip(steps, taken, strict=True) if done < len(step)}
        running += float(steps[layer][taken[layer]])
        taken[layer] += 1
        if len(both) == 2:
            assert abs(running) <= largest


@pytest.mark.parametrize("macs", [0.35, 0.5, 0.65, 0.8, 0.95])
def test_on_linear_layers_components_go_by_the_two_heaps_until_the_budget_is_met(macs: float) -> None:
    """The rule by hand: a step is to the next smaller rank, the first from dense to the largest offered rank."""
    task = linear_task(macs)
    found = changes(task, 24, 0)
    rows = [[0, *np.argsort(-options.costs[:, 0])[1:].tolist()] for options in task.space.layers]
    steps = [np.diff(change[path]) for change, path in zip(found, rows, strict=True)]
    columns = [options.costs[:, task.space.metric_names.index("macs")] for options in task.space.layers]
    limit = math.floor(macs * task.space.dense_cost["macs"]) - task.space.fixed_cost["macs"]

    def plan_rows(taken: list[int]) -> list[int]:
        return [path[count] for path, count in zip(rows, taken, strict=True)]

    def by_hand(first_sign: int) -> RankPlan:
        """The sign says what goes while the sum is 0."""
        taken, running = [0, 0], 0.0
        while sum(int(column[row]) for column, row in zip(columns, plan_rows(taken), strict=True)) > limit:
            heads = {place: float(step[taken[place]]) for place, step in enumerate(steps) if taken[place] < len(step)}
            wanted = -np.sign(running) or first_sign
            opposite = {place: head for place, head in heads.items() if head * wanted > 0} or heads
            layer = min(opposite, key=lambda place: abs(opposite[place]))
            running += heads[layer]
            taken[layer] += 1
        return task.space.plan(np.array(plan_rows(taken)))

    assert search(task, "zero_sum", samples=24).plan in (by_hand(1), by_hand(-1))


@pytest.mark.parametrize(
    "budget", [{"macs": 0.36}, {"macs": 0.6}, {"params": 0.5}, {"macs": 0.6, "params": 0.6}], ids=str
)
def test_every_plan_is_within_the_budget(budget: dict[str, float]) -> None:
    plan = search(tiny_task(Budget(**budget)), "zero_sum").plan
    dense = {"macs": MACS, "params": PARAMS}
    assert all(COSTS[plan][metric] <= math.floor(bound * dense[metric]) for metric, bound in budget.items())


def test_with_room_for_everything_nothing_goes() -> None:
    assert search(tiny_task(Budget(macs=1.0)), "zero_sum").plan == RankPlan({})


def test_of_several_forms_the_best_measured_is_kept() -> None:
    task = tiny_task(Budget(macs=0.6), forms=("tucker2", "svd_channel", "svd"))
    result = search(task, "zero_sum", samples=16)
    scores = [task.evaluate(trial.plan).score for trial in result.trials if trial.plan is not None]
    assert len(scores) >= 2
    assert result.score == min(scores)
    assert result.meter["samples_trained"] == 16


def test_options_without_a_fit_are_not_taken() -> None:
    plain = tiny_task(Budget(macs=0.6))
    taken = search(plain, "zero_sum", samples=8).plan
    tables = []
    for options in plain.space.layers:
        errors = options.errors / options.energy
        if taken[options.layer.name] != DENSE:
            errors[options.index(taken[options.layer.name])] = math.inf
        tables.append(options.with_relative_errors(errors))
    task = Task(plain.model, plain.space.with_tables(tables), plain.budget, plain.data, recalibration_samples=20)
    for change, options in zip(changes(task, 8, 0), task.space.layers, strict=True):
        assert np.isinf(change).tolist() == np.isinf(options.errors).tolist()
    plan = search(task, "zero_sum", samples=8).plan
    assert all(choice == DENSE or choice != taken[name] for name, choice in plan.items())


def test_it_says_that_it_needs_data() -> None:
    with pytest.raises(DataError):
        search(tiny_task(data=False), "zero_sum")


@pytest.mark.parametrize("value", [0, -3, 2.5, True, None, "8"])
def test_values_that_are_not_allowed_are_refused_in_one_line(value: object) -> None:
    with pytest.raises(InvalidInputError, match="samples=") as caught:
        search(tiny_task(), "zero_sum", samples=value)
    assert "\n" not in str(caught.value)
