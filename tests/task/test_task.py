"""The task's oracles: budget and limits come before any work, every count is exact, the test set is not there."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
import torch
from tiny_task import (
    MACS,
    PARAMS,
    SHORT,
    TRAIN,
    VALIDATION,
    TinyNet,
    all_plans,
    energy,
    squared_error,
    tiny_data,
    tiny_net,
    tiny_task,
)
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.errors import DataError, InfeasibleBudgetError, InvalidInputError, LimitReached, OverBudgetError
from rank_search.space import DENSE, Budget, Choice, RankPlan, RankSpace
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.tables.options import LayerOptions
from rank_search.task import Limits, Task
from rank_search.task.evaluation import validate
from rank_search.task.objectives.classification import Classification
from rank_search.task.repair.recalibration import recalibrate

pytestmark = pytest.mark.usefixtures("single_thread")

SMALL = RankPlan({"first": Choice("tucker2", (1, 1)), "second": Choice("tucker2", (2, 2)), "head": DENSE})
OTHER = RankPlan({"first": Choice("tucker2", (1, 1)), "second": Choice("tucker2", (1, 1)), "head": Choice("svd", (1,))})
DENSE_PLAN = RankPlan({})

ORACLES: dict[str, Callable[[Task, RankPlan], object]] = {
    "admit": Task.admit,
    "weight_error": Task.weight_error,
    "compress": Task.compress,
    "evaluate": Task.evaluate,
    "finetune": Task.finetune,
}


def counts(task: Task) -> tuple[float, float, float, float]:
    """Evaluations, samples forward, samples trained, decompositions."""
    reading = task.meter.reading()
    return tuple(reading[name] for name in ("evaluations", "samples_forward", "samples_trained", "decompositions"))  # type: ignore[return-value]


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    """From here on any decomposition, any building and any run of a network fails the test."""

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("work was done")

    monkeypatch.setattr(RankSpace, "compress", refuse)
    monkeypatch.setattr(LayerOptions, "relative_error", refuse)
    monkeypatch.setattr(LayerOptions, "factors", refuse)
    monkeypatch.setattr(TinyNet, "forward", refuse)


class Runs:
    """How many images really go through networks from the call of :meth:`count` on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self._monkeypatch = monkeypatch
        self.forward = self.trained = 0

    def count(self) -> None:
        forward = TinyNet.forward

        def counting(net: TinyNet, images: Tensor) -> Tensor:
            if net.training:
                self.trained += len(images)
            else:
                self.forward += len(images)
            return forward(net, images)

        self._monkeypatch.setattr(TinyNet, "forward", counting)


@pytest.fixture
def runs(monkeypatch: pytest.MonkeyPatch) -> Runs:
    return Runs(monkeypatch)


# -- the budget --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("oracle", ORACLES)
def test_every_oracle_refuses_a_plan_over_the_budget_before_any_work(
    oracle: str, request: pytest.FixtureRequest
) -> None:
    task = tiny_task(Budget(macs=0.5))
    request.getfixturevalue("no_work")
    with pytest.raises(OverBudgetError, match=rf"costs {MACS} macs .* the budget macs=0.5 allows {MACS // 2}"):
        ORACLES[oracle](task, DENSE_PLAN)
    assert counts(task) == (0, 0, 0, 0)


def test_exactly_the_plans_within_the_budget_are_admitted() -> None:
    task = tiny_task(Budget(macs=0.7, params=0.6))
    admitted = 0
    for plan, cost in all_plans():
        if cost["macs"] <= 0.7 * MACS and cost["params"] <= 0.6 * PARAMS:
            assert task.admit(plan) == cost
            admitted += 1
        else:
            with pytest.raises(OverBudgetError):
                task.admit(plan)
    assert 0 < admitted < task.space.size


@pytest.mark.parametrize("metric", ["macs", "params"])
def test_an_infeasible_budget_is_refused_with_the_smallest_fraction_that_is_reachable(metric: str) -> None:
    least = min(cost[metric] for _, cost in all_plans())
    fraction = math.ceil(least / {"macs": MACS, "params": PARAMS}[metric] * 10_000) / 10_000
    message = rf"the smallest reachable is {least} {metric}, {fraction} of the dense network"
    with pytest.raises(InfeasibleBudgetError, match=message):
        tiny_task(Budget(**{metric: 0.1}))
    with pytest.raises(InfeasibleBudgetError, match=message):
        tiny_task().under(Budget(**{metric: least - 1}))
    tiny_task(Budget(**{metric: fraction}))
    tiny_task(Budget(**{metric: least}))


def test_a_compressed_network_over_the_budget_is_not_validated(request: pytest.FixtureRequest) -> None:
    wide = tiny_task(Budget(macs=0.7))
    net, task = wide.compress(SMALL), wide.under(Budget(macs=0.3))
    request.getfixturevalue("no_work")
    with pytest.raises(OverBudgetError):
        task.validate(net)
    assert counts(task) == (0, 0, 0, 0)


# -- the limits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("oracle", "limits"),
    [
        ("weight_error", Limits(decompositions=1)),
        ("compress", Limits(decompositions=1)),
        ("compress", Limits(samples_forward=19)),
        ("evaluate", Limits(decompositions=1)),
        ("evaluate", Limits(samples_forward=40 + VALIDATION - 1)),
        ("finetune", Limits(samples_forward=19)),
    ],
)
def test_a_limit_that_would_be_passed_stops_an_oracle_before_any_work_and_charges_nothing(
    oracle: str, limits: Limits, request: pytest.FixtureRequest
) -> None:
    task = tiny_task().under(Budget(macs=0.7), limits=limits)
    request.getfixturevalue("no_work")
    with pytest.raises(LimitReached):
        ORACLES[oracle](task, SMALL)
    assert counts(task) == (0, 0, 0, 0)
    assert task.used() == []


def test_evaluations_stop_at_their_limit() -> None:
    task = tiny_task().under(Budget(macs=0.7), limits=Limits(evaluations=2))
    task.evaluate(SMALL)
    task.evaluate(OTHER)
    before = counts(task)
    with pytest.raises(LimitReached, match="evaluations would pass the limit of 2"):
        task.evaluate(SMALL)
    assert counts(task) == before


def test_a_fine_tune_stops_before_the_batch_that_would_pass_the_limit(runs: Runs) -> None:
    task = tiny_task().under(Budget(macs=0.7), limits=Limits(samples_trained=50))
    runs.count()
    with pytest.raises(LimitReached):
        task.finetune(SMALL)
    assert task.meter.samples_trained == runs.trained == 41


# -- the meter ---------------------------------------------------------------------------------------------------------


def test_an_evaluation_counts_the_images_that_really_run(runs: Runs) -> None:
    task = tiny_task()
    runs.count()
    task.evaluate(SMALL)
    assert counts(task) == (1, 40 + VALIDATION, 0, 2)
    assert runs.forward == 40 + VALIDATION
    task.evaluate(SMALL)
    assert counts(task) == (2, 2 * (40 + VALIDATION), 0, 2)
    assert runs.trained == 0


def test_the_dense_plan_is_not_recalibrated_and_not_charged_for_it(runs: Runs) -> None:
    task = tiny_task(Budget(macs=1.0))
    runs.count()
    found = task.evaluate(DENSE_PLAN)
    assert counts(task) == (1, VALIDATION, 0, 0)
    assert (runs.forward, runs.trained) == (VALIDATION, 0)
    assert found == validate(tiny_net(), tiny_data(), tiny_data().validation, Classification())
    spelled_out = RankPlan({"first": DENSE, "second": DENSE, "head": DENSE})
    assert task.evaluate(spelled_out) == found
    dense = task.compress(DENSE_PLAN)
    assert all(
        torch.equal(a, b) for a, b in zip(dense.state_dict().values(), tiny_net().state_dict().values(), strict=True)
    )


def test_a_decomposition_is_charged_once_per_layer_and_form() -> None:
    task = tiny_task(Budget(macs=0.9), forms=("tucker2", "cp", "svd"))
    task.weight_error(SMALL)
    assert task.meter.decompositions == 2
    task.compress(SMALL)
    task.weight_error(RankPlan({"first": Choice("tucker2", (2, 1))}))
    assert task.meter.decompositions == 2
    task.weight_error(RankPlan({"second": Choice("cp", (1,))}))
    assert task.meter.decompositions == 3
    task.weight_error(OTHER)
    assert task.meter.decompositions == 4
    assert task.used() == [["first", "tucker2"], ["head", "svd"], ["second", "cp"], ["second", "tucker2"]]
    task.relative_errors()
    assert task.meter.decompositions == 5


def test_what_was_used_before_a_resume_is_not_charged_again() -> None:
    first, second = tiny_task(), tiny_task()
    first.weight_error(SMALL)
    second.restore_used(json.loads(json.dumps(first.used())))
    second.weight_error(OTHER)
    assert second.meter.decompositions == 1


def test_a_fine_tune_counts_its_epochs_and_its_recalibration(runs: Runs) -> None:
    task = tiny_task()
    runs.count()
    task.finetune(SMALL)
    assert counts(task) == (0, 40, 2 * TRAIN, 2)
    assert runs.trained == 2 * TRAIN
    # recalibration, with the dense network beside, the teacher on every trained image, and one sample for each of the
    # two times that the network's cost is counted: as it was made, and when it is trained
    layout = 2 * 2 * 2  # before each epoch two samples run through copies in two layouts
    assert runs.forward == 40 + 2 * TRAIN + 2 + layout
    task.finetune(SMALL, epochs=5)
    assert counts(task) == (0, 80, 7 * TRAIN, 2)


def test_compressing_and_validating_are_counted_as_images_forward(runs: Runs) -> None:
    task = tiny_task()
    runs.count()
    net = task.compress(SMALL)
    assert counts(task) == (0, 40, 0, 2)
    task.validate(net)
    assert counts(task) == (0, 40 + VALIDATION, 0, 2)
    assert runs.forward == 40 + VALIDATION + 1  # one sample by which its cost is counted


def test_training_batches_are_charged_one_by_one() -> None:
    task = tiny_task()
    batches = task.train_batches(torch.Generator().manual_seed(0))
    sizes, charged = [], []
    for inputs, labels in batches:
        assert inputs.shape == (len(labels), 1, 6, 6)
        sizes.append(len(labels))
        charged.append(task.meter.samples_trained)
    assert sizes == [16, 16, 9]
    assert charged == [16, 32, 41]
    limited = task.under(Budget(macs=0.7), limits=Limits(samples_trained=40))
    assert [len(labels) for _, labels in _until_limit(limited)] == [16, 16]
    assert limited.meter.samples_trained == 32


def _until_limit(task: Task) -> Iterator[tuple[Tensor, Tensor]]:
    try:
        yield from task.train_batches(torch.Generator().manual_seed(0))
    except LimitReached:
        return
    raise AssertionError("the limit was passed")


# -- the test set ------------------------------------------------------------------------------------------------------


def tensors_within(root: object) -> list[Tensor]:
    """Every tensor that attributes, items and closures lead to."""
    found, seen, waiting = [], set(), [root]
    while waiting:
        thing = waiting.pop()
        if id(thing) in seen or isinstance(thing, str | bytes | int | float | type | None.__class__):
            continue
        seen.add(id(thing))
        if isinstance(thing, Tensor):
            found.append(thing)
        if isinstance(thing, Mapping):
            waiting += [*thing.keys(), *thing.values()]
        elif isinstance(thing, list | tuple | set | frozenset):
            waiting += thing
        waiting += list(getattr(thing, "__dict__", {}).values())
        waiting += [getattr(thing, slot) for slot in getattr(type(thing), "__slots__", ()) if hasattr(thing, slot)]
        waiting += [cell.cell_contents for cell in getattr(thing, "__closure__", None) or ()]
        waiting += [thing.__self__] if hasattr(thing, "__self__") else []
    return found


def test_the_test_set_cannot_be_reached_from_a_task() -> None:
    def test_images(root: object) -> list[Tensor]:
        return [t for t in tensors_within(root) if t.dtype == torch.uint8 and bool((t == 201).all())]

    assert len(test_images(tiny_data())) == 1
    task = tiny_task()
    task.evaluate(SMALL)
    task.finetune(SMALL)
    assert task.data is not None
    assert task.data.test is None
    assert len(tensors_within(task)) > 20
    for reachable in (task, task.under(Budget(macs=0.7)), copy.deepcopy(task), task.evaluate, task.train_batches):
        assert test_images(reachable) == []
    assert len(test_images([task, tiny_data()])) == 1


# -- under -------------------------------------------------------------------------------------------------------------


def test_under_gives_a_fresh_meter_and_leaves_the_first_task_alone() -> None:
    task = tiny_task(Budget(macs=0.7), seed=3)
    task.evaluate(SMALL)
    before, reading = counts(task), task.used()
    other = task.under(Budget(params=0.9), seed=8, limits=Limits(evaluations=1))
    assert counts(other) == (0, 0, 0, 0)
    assert other.used() == []
    other.evaluate(OTHER)
    with pytest.raises(LimitReached):
        other.evaluate(OTHER)
    assert counts(other) == (1, 40 + VALIDATION, 0, 3)
    assert (counts(task), task.used()) == (before, reading)
    assert (task.budget, task.seed, task.meter.limits) == (Budget(macs=0.7), 3, Limits())
    assert (other.budget, other.seed) == (Budget(params=0.9), 8)
    assert task.under(Budget(macs=0.8)).seed == 3


def test_each_task_keeps_its_own_budget() -> None:
    task = tiny_task(Budget(macs=0.5))
    wide, narrow = task.under(Budget(macs=1.0)), task.under(Budget(macs=0.3))
    assert wide.admit(DENSE_PLAN) == {"params": PARAMS, "macs": MACS}
    with pytest.raises(OverBudgetError):
        task.admit(DENSE_PLAN)
    assert task.admit(SMALL)["macs"] > 0.3 * MACS
    with pytest.raises(OverBudgetError):
        narrow.admit(SMALL)


# -- weight errors -----------------------------------------------------------------------------------------------------


def reconstructed(low_rank: LowRank) -> Tensor:
    """The dense weight that a factorised layer stands for, in float64."""
    factors = [module.weight.detach().double() for module in low_rank]  # type: ignore[operator]
    if low_rank.choice.form == "svd":
        first, last = factors
        return last @ first
    first, middle, last = factors
    if low_rank.choice.form == "cp":
        return torch.einsum("or,rhw,ri->oihw", last[:, :, 0, 0], middle[:, 0], first[:, :, 0, 0])
    return torch.einsum("oa,abhw,bi->oihw", last[:, :, 0, 0], middle, first[:, :, 0, 0])


@pytest.mark.parametrize(
    "plan",
    [
        SMALL,
        OTHER,
        RankPlan({"first": Choice("cp", (2,)), "second": Choice("tucker2", (3, 2))}),
        RankPlan({"second": Choice("cp", (4,)), "head": Choice("svd", (1,))}),
    ],
    ids=["tucker2", "all", "cp and tucker2", "cp and svd"],
)
def test_the_weight_error_is_the_distance_between_the_dense_and_the_rebuilt_weights(plan: RankPlan) -> None:
    net = tiny_net()
    task = tiny_task(Budget(macs=1.0), forms=("tucker2", "cp", "svd"), net=net)
    compressed, expected = task.compress(plan), 0.0
    for name, choice in plan.items():
        module = compressed.get_submodule(name)
        if choice != DENSE:
            assert isinstance(module, LowRank)
            weight = net.get_submodule(name).weight
            assert isinstance(weight, Tensor)
            dense = weight.detach().double()
            expected += float((dense - reconstructed(module)).square().sum() / dense.square().sum())
    assert expected > 0.01
    assert task.weight_error(plan) == pytest.approx(expected, rel=1e-5)


def test_the_weight_error_of_every_plan_is_the_sum_of_projection_errors_and_of_the_table() -> None:
    net = tiny_net()
    task = tiny_task(Budget(macs=1.0, params=1.0), net=net)
    table = task.relative_errors()
    for plan, cost in all_plans():
        if cost["macs"] > MACS or cost["params"] > PARAMS:
            continue
        expected = sum(squared_error(net, name, choice) / energy(net, name) for name, choice in plan.items())
        assert task.weight_error(plan) == pytest.approx(expected, rel=1e-9, abs=1e-12)
        rows = task.space.indices(plan)
        assert sum(errors[row] for errors, row in zip(table, rows, strict=True)) == pytest.approx(expected, abs=1e-12)


def test_the_weight_error_of_the_dense_plan_is_zero_and_costs_nothing() -> None:
    task = tiny_task(Budget(macs=1.0), data=False)
    assert task.weight_error(DENSE_PLAN) == 0
    assert counts(task) == (0, 0, 0, 0)


def test_a_layer_of_zeros_has_no_error() -> None:
    net = tiny_net()
    nn.init.zeros_(net.second.weight)
    task = tiny_task(net=net)
    plan = RankPlan({"first": Choice("tucker2", (1, 1)), "second": Choice("tucker2", (1, 1))})
    alone = RankPlan({"first": Choice("tucker2", (1, 1))})
    assert task.weight_error(plan) == task.under(Budget(macs=1.0)).weight_error(alone)


# -- what an evaluation is ---------------------------------------------------------------------------------------------


def test_an_evaluation_is_the_compressed_network_recalibrated_on_training_images_and_validated() -> None:
    data, net = tiny_data(), tiny_net()
    task = tiny_task(net=net)
    expected = task.space.compress(net, SMALL)
    recalibrate(expected, net, [data.normalise(data.train.subset(20, seed=0).images)])
    found = task.evaluate(SMALL)
    assert found == validate(expected, data, data.validation, Classification())
    assert found.samples == VALIDATION
    compressed = task.compress(SMALL)
    assert not any(module.training for module in compressed.modules())
    assert all(
        torch.equal(a, b) for a, b in zip(compressed.state_dict().values(), expected.state_dict().values(), strict=True)
    )
    assert not torch.equal(compressed.norm2.running_mean, net.norm2.running_mean)  # type: ignore[arg-type, union-attr]


def test_an_evaluation_is_the_same_every_time_in_every_task_and_for_every_seed() -> None:
    task = tiny_task(evaluation_samples=11)
    first = task.evaluate(SMALL)
    task.evaluate(OTHER)
    task.finetune(OTHER)
    torch.manual_seed(77)
    assert task.evaluate(SMALL) == first
    assert task.under(Budget(macs=0.9), seed=9).evaluate(SMALL) == first
    assert tiny_task(evaluation_samples=11, seed=5).evaluate(SMALL) == first


def test_a_smaller_evaluation_uses_a_fixed_subset_and_validation_uses_all() -> None:
    data = tiny_data()
    task = tiny_task(evaluation_samples=7, recalibration_samples=0)
    found = task.evaluate(SMALL)
    assert counts(task)[:2] == (1, 7)
    net = task.space.compress(tiny_net(), SMALL).eval()
    assert found == validate(net, data, data.validation.subset(7, seed=0), Classification())
    assert found.samples == 7
    assert task.validate(net) == validate(net, data, data.validation, Classification())
    assert counts(task)[:2] == (1, 7 + VALIDATION)


def test_more_images_than_there_are_means_all() -> None:
    task = tiny_task(evaluation_samples=10_000, recalibration_samples=10_000)
    assert task.evaluate(SMALL).samples == VALIDATION
    assert counts(task)[:2] == (1, 2 * TRAIN + VALIDATION)


def test_without_recalibration_batch_norm_keeps_the_dense_statistics() -> None:
    net = tiny_net()
    task = tiny_task(net=net, recalibration_samples=0)
    compressed = task.compress(SMALL)
    assert counts(task) == (0, 0, 0, 2)
    assert torch.equal(compressed.norm1.running_mean, net.norm1.running_mean)  # type: ignore[arg-type, union-attr]


def test_recalibration_takes_batches_of_bounded_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rank_search.task.repair.repair.RECALIBRATION_BATCH", 16)
    task, data = tiny_task(recalibration_samples=TRAIN), tiny_data()
    expected = task.space.compress(tiny_net(), SMALL)
    inputs = data.normalise(data.train.images)
    recalibrate(expected, tiny_net(), [inputs[:16], inputs[16:32], inputs[32:]])
    compressed = task.compress(SMALL)
    for name, value in expected.state_dict().items():
        assert torch.equal(compressed.state_dict()[name], value), name


def test_the_dense_network_is_not_changed_by_any_oracle() -> None:
    net = tiny_net()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    task = tiny_task(Budget(macs=1.0), net=net)
    task.evaluate(DENSE_PLAN)
    task.evaluate(SMALL)
    task.validate(task.finetune(SMALL))
    task.validate(task.finetune(DENSE_PLAN))
    task.relative_errors()
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())
    assert not any(module.training for module in net.modules())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in net.parameters())


# -- fine-tune ---------------------------------------------------------------------------------------------------------


def test_a_fine_tune_keeps_the_plan_trains_from_the_tasks_seed_and_lowers_the_training_loss() -> None:
    task = tiny_task(seed=1)
    tuned, again = task.finetune(SMALL, epochs=6), task.finetune(SMALL, epochs=6)
    other = task.under(Budget(macs=0.7), seed=2).finetune(SMALL, epochs=6)
    states = [list(net.state_dict().values()) for net in (tuned, again, other)]
    assert all(torch.equal(a, b) for a, b in zip(states[0], states[1], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(states[0], states[2], strict=True))
    assert {name: m.choice for name, m in tuned.named_modules() if isinstance(m, LowRank)} == {
        "first": SMALL["first"],
        "second": SMALL["second"],
    }
    data = tiny_data()
    images, labels = data.normalise(data.train.images), data.train.labels

    def objective(net: nn.Module) -> float:
        """The distilled loss over the training set, as the recipe defines it."""
        with torch.no_grad():
            logits, wanted = net(images), tiny_net()(images)
        t, share = SHORT.temperature, SHORT.distill_weight
        soft = F.softmax(wanted / t, 1) * (F.log_softmax(wanted / t, 1) - F.log_softmax(logits / t, 1))
        return (1 - share) * float(F.cross_entropy(logits, labels)) + share * t * t * float(soft.sum(1).mean())

    assert objective(tuned) < objective(task.compress(SMALL))


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "call",
    [
        lambda task: task.evaluate(SMALL),
        lambda task: task.finetune(SMALL),
        lambda task: task.validate(tiny_net()),
        lambda task: next(task.train_batches(torch.Generator())),
    ],
    ids=["evaluate", "finetune", "validate", "train_batches"],
)
def test_without_data_the_oracles_that_need_it_say_so(call: Callable[[Task], Any]) -> None:
    task = tiny_task(data=False)
    with pytest.raises(DataError, match="this task has no data: give Task"):
        call(task)
    assert counts(task) == (0, 0, 0, 0)


def test_without_data_a_network_is_built_with_the_dense_statistics() -> None:
    net = tiny_net()
    task = tiny_task(data=False, net=net)
    compressed = task.compress(SMALL)
    assert counts(task) == (0, 0, 0, 2)
    assert torch.equal(compressed.norm2.running_var, net.norm2.running_var)  # type: ignore[arg-type, union-attr]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"evaluation_samples": 0}, "evaluation_samples=0 is not allowed: it must be at least 1"),
        ({"repair_inputs": -1}, "repair_inputs=-1 is not allowed: it must be at least 0"),
        (
            {"recalibration_samples": -1, "repair_inputs": 20},
            "recalibration_samples=-1 is not allowed: it must be at least 0",
        ),
    ],
)
def test_impossible_numbers_of_images_are_refused(options: dict[str, int], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        tiny_task(**options)


def test_a_network_without_batch_norm_is_not_charged_for_recalibration() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(64, 3)).eval()
    task = tiny_task(Budget(macs=0.9), net=net)
    task.evaluate(RankPlan({"3": Choice("svd", (1,))}))
    assert counts(task)[:2] == (1, VALIDATION)
