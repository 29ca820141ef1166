"""BATUDE as a search: its answer, its weights, when it ends, what it refuses."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rank_search import Budget, RankPlan, RankSpace, Task, load_model
from rank_search.errors import DataError, InfeasibleBudgetError, InvalidInputError, OverBudgetError
from rank_search.searchers.batude import split_variables
from rank_search.searchers.batude.batude import Batude
from rank_search.searching import SearchResult, make_searcher, run_search
from rank_search.task import Batch
from rank_search.task.meter import Limits
from rank_search.task.networks.weights import load_weights
from rank_search.testing import small_task

pytestmark = pytest.mark.usefixtures("single_thread")
SHARED = Path(__file__).parents[3] / "shared" / "data" / "cifar10_resnet20.safetensors"
HALF = Budget(macs=0.5)


def task_at(budget: Budget = HALF, limits: Limits | None = None) -> Task:
    return small_task().under(budget, limits=limits)


def run(task: Task, seed: int = 0, **options: Any) -> tuple[Batude, SearchResult]:
    searcher = make_searcher(task, "batude", seed, **options)
    assert isinstance(searcher, Batude)
    return searcher, run_search(searcher)


def plans(result: SearchResult) -> list[RankPlan | None]:
    return [step.plan for step in result.trials]


def weights(result: SearchResult) -> dict[str, Tensor]:
    assert result.trained is not None
    return result.trained.state_dict()


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return all(torch.equal(one[key], other[key]) for key in one)


def excess(model: nn.Module, macs: float, **options: Any) -> float:
    """How far the plan without any training is above the knapsack's lower bound, both as sums of relative errors."""
    space = RankSpace.from_model(model, torch.zeros(1, 3, 32, 32), ["tucker2"], **options)
    task = Task(model, space, Budget(macs=macs), small_task().data)
    errors = space.relative_errors()
    bound = space.minimise(errors, task.budget).lower_bound
    _, result = run(task, epochs=0)
    rows = space.indices(result.plan)
    return sum(float(error[row]) for error, row in zip(errors, rows, strict=True)) / bound - 1


@pytest.mark.parametrize("prune", [False, True], ids=["all options", "pruned"])
@pytest.mark.skipif(not SHARED.exists(), reason="needs the pretrained network")
def test_without_training_its_plan_is_close_to_the_data_free_optimum(prune: bool) -> None:
    model = load_model("cifar_resnet20")
    load_weights(model, SHARED)
    for macs, allowed in ((0.7, 0.06), (0.5, 0.06), (0.3, 0.04)):
        assert -1e-9 < excess(model, macs, prune=prune) < allowed


def test_without_training_its_plan_is_close_to_the_data_free_optimum_of_flat_spectra() -> None:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = load_model("cifar_resnet20")
    for macs in (0.7, 0.5, 0.3):
        assert -1e-9 < excess(model, macs) < 0.06


def test_the_first_step_trains_nothing_and_leaves_the_weights_as_they_were() -> None:
    task = task_at()
    _, result = run(task, epochs=0)
    assert len(result.trials) == 1
    assert result.meter["samples_trained"] == 0
    assert same(weights(result), task.model.state_dict())


def test_every_period_trains_its_share_of_the_epochs_and_then_proposes() -> None:
    task = task_at()
    _, result = run(task, epochs=2, period=0.5, batch_size=12)
    epochs = [step.info["epoch"] for step in result.trials]
    assert epochs == [0.0, 0.5, 1.0, 1.5, 2.0]
    assert [step.meter["samples_trained"] for step in result.trials] == [0, 24, 48, 72, 96]
    assert not same(weights(result), task.model.state_dict())


def test_by_default_it_trains_for_half_of_the_fine_tune() -> None:
    task = task_at()
    task.recipe = type(task.recipe)(epochs=6, batch_size=16)
    _, result = run(task)
    assert result.meter["samples_trained"] == 3 * 48


def test_gates_are_open_as_far_as_the_ranks_say() -> None:
    searcher, result = run(task_at(), epochs=1, gating="hard")
    layers = result.trials[-1].info["ranks"]
    assert set(searcher.gates) == set(layers) == {"conv1", "conv2", "conv3", "linear"}
    for name, modes in searcher.gates.items():
        for mode, rank, full in zip(layers[name]["modes"], layers[name]["ranks"], layers[name]["full"], strict=True):
            expected = np.arange(full) < rank
            assert np.array_equal(modes[mode], expected[None].astype(float))
    counted = sum(int((gate > 0).sum()) for modes in searcher.gates.values() for gate in modes.values())
    assert result.trials[-1].info["open_gates"] == counted


def test_soft_gates_fall_from_the_largest_singular_value_on_and_close_at_the_threshold() -> None:
    searcher, result = run(task_at(), epochs=0, gating="soft")
    layers = result.trials[-1].info["ranks"]
    inside = 0
    for name, modes in searcher.gates.items():
        for mode, rank in zip(layers[name]["modes"], layers[name]["ranks"], strict=True):
            gate = modes[mode][0]
            assert (np.diff(gate) <= 1e-12).all()
            assert (gate[rank:] == 0).all()
            inside += int(((gate > 0) & (gate < 1)).sum())
    assert inside > 0


def test_ranks_may_rise_again() -> None:
    _, result = run(task_at(), epochs=6, lr=0.05, rho=0.3, gating="hard", score="gradient", freeze=0, batch_size=16)
    ranks = [step.info["ranks"] for step in result.trials]
    rises = [
        name
        for before, after in itertools.pairwise(ranks)
        for name in before
        if sum(after[name]["ranks"]) > sum(before[name]["ranks"])
    ]
    assert rises


def test_ranks_are_frozen_in_the_last_part() -> None:
    free, frozen = (run(task_at(), epochs=6, lr=0.2, gating="hard", freeze=f)[1] for f in (0.0, 0.5))
    assert plans(free)[:4] == plans(frozen)[:4]
    assert len(set(plans(frozen)[3:])) == 1
    assert len(set(plans(free)[3:])) > 1


def test_it_ends_when_ranks_were_stable_for_so_many_periods() -> None:
    _, result = run(task_at(), epochs=20, lr=1e-9, patience=3)
    assert [step.info["layers_changed"] for step in result.trials] == [0, 0, 0, 0]
    assert result.meter["samples_trained"] == 3 * 48


def test_a_pull_brings_the_weights_to_what_the_gates_let_through() -> None:
    residuals = []
    for rho in (1e-3, 2.0):
        _, result = run(task_at(), epochs=8, lr=0.05, rho=rho, gating="hard", freeze=1.0, schedule="constant")
        residuals.append(result.trials[-1].info["primal_residual"])
    assert residuals[1] < 0.5 * residuals[0]


def test_gradient_score_of_weight_0_is_the_energy_score_bit_for_bit() -> None:
    options = {"epochs": 3, "lr": 0.1, "gating": "hard"}
    _, energy = run(task_at(), **options)
    _, zero = run(task_at(), score="gradient", gradient_weight=0.0, **options)
    _, one = run(task_at(), score="gradient", gradient_weight=1.0, **options)
    assert plans(energy) == plans(zero)
    assert same(weights(energy), weights(zero))
    assert plans(one)[0] == plans(energy)[0]  # no gradient was seen yet
    assert plans(one) != plans(energy)


@pytest.mark.parametrize("score", ["energy", "gradient"])
def test_a_restored_search_goes_on_with_the_same_bits(score: str, tmp_path: Path) -> None:
    options = {"epochs": 3, "period": 0.5, "lr": 0.1, "batch_size": 8, "accumulate": 2, "score": score}
    _, whole = run(task_at(), **options)

    class Stop(Exception):
        pass

    def stop(step: Any) -> None:
        if step.number == 4:
            raise Stop

    with pytest.raises(Stop):
        run_search(make_searcher(task_at(), "batude", 0, **options), tmp_path / "state.safetensors", stop)
    second = make_searcher(task_at(), "batude", 0, **options)
    resumed = run_search(second, tmp_path / "state.safetensors")
    assert plans(resumed) == plans(whole)
    assert same(weights(resumed), weights(whole))
    assert [step.info for step in resumed.trials] == [step.info for step in whole.trials]


def test_a_loss_that_becomes_nan_ends_it_with_the_last_good_state(caplog: pytest.LogCaptureFixture) -> None:
    task = task_at()
    data = task.data
    assert data is not None
    good, served = task.train_batches, 0

    def poisoned(*arguments: Any, **options: Any) -> Iterator[Batch]:
        nonlocal served
        for inputs, labels in good(*arguments, **options):
            served += 1
            yield Batch(inputs * math.nan if served == 8 else inputs, labels)

    task.train_batches = poisoned  # type: ignore[method-assign]
    _, result = run(task, epochs=4, batch_size=16, lr=0.1)
    _, whole = run(task_at(), epochs=4, batch_size=16, lr=0.1)
    assert len(result.trials) == 4  # the first Z-step, two periods of three batches, the failure
    assert result.gave_up is not None
    assert "the training loss became nan at step 8 of 12" in result.gave_up
    assert result.plan == plans(whole)[2]
    assert all(value.isfinite().all() for value in weights(result).values())
    network = task_at().compress(result.plan, result.trained)
    assert network(torch.zeros(2, 3, 8, 8)).isfinite().all()


def test_a_learning_rate_that_explodes_in_the_first_period_leaves_the_first_plan() -> None:
    task = task_at()
    _, result = run(task, epochs=2, lr=1e30, batch_size=16)
    assert result.gave_up is not None
    assert "lower lr" in result.gave_up
    assert result.plan == plans(run(task_at(), epochs=0)[1])[0]
    assert same(weights(result), task.model.state_dict())


def test_from_scratch_it_starts_from_weights_of_the_seed() -> None:
    options = {"start": "scratch", "epochs": 0}
    one, again, other = (run(task_at(), seed=seed, **options)[1] for seed in (1, 1, 2))
    assert same(weights(one), weights(again))
    pretrained = task_at().model.state_dict()
    assert not torch.equal(weights(one)["conv2.weight"], pretrained["conv2.weight"])
    assert not torch.equal(weights(one)["conv2.weight"], weights(other)["conv2.weight"])


def test_every_z_step_is_held_to_the_budget(monkeypatch: pytest.MonkeyPatch) -> None:
    searcher = make_searcher(task_at(), "batude", 0, epochs=1)
    monkeypatch.setattr(split_variables, "greedy_ranks", lambda tables, capacity: [()] * len(tables))
    with pytest.raises(OverBudgetError):
        searcher.step()


def test_in_a_space_of_several_forms_it_learns_the_ranks_of_one_per_layer() -> None:
    task = small_task()
    space = RankSpace.from_model(task.model, torch.zeros(1, 3, 8, 8), ["cp", "svd_spatial", "tucker2", "svd"])
    mixed = Task(task.model, space, HALF, task.data)
    for form, expected in ((None, "svd_spatial"), ("tucker2", "tucker2")):
        _, result = run(mixed.under(HALF), epochs=1, form=form)
        forms = {choice.form for name, choice in result.plan.items() if name != "linear"}
        assert expected in forms <= {expected, "dense"}


def test_a_limit_inside_a_period_ends_it_with_a_last_z_step_on_what_was_trained() -> None:
    _, result = run(task_at(limits=Limits(samples_trained=100)), epochs=5, period=2.0, batch_size=16, lr=0.05)
    assert result.meter["samples_trained"] == 96
    assert [step.info["epoch"] for step in result.trials] == [0, 2]
    _, cut = run(task_at(limits=Limits(samples_trained=70)), epochs=5, period=2.0, batch_size=16, lr=0.05)
    assert [step.info["epoch"] for step in cut.trials] == pytest.approx([0, 4 / 3])
    assert not same(weights(cut), task_at().model.state_dict())


def test_in_few_epochs_there_are_four_periods() -> None:
    _, result = run(task_at(), epochs=1, batch_size=12)
    assert [step.info["epoch"] for step in result.trials] == [0, 0.25, 0.5, 0.75, 1]


def test_a_dense_network_in_training_mode_teaches_and_stays_as_it_was() -> None:
    tasks = [task_at(), task_at()]
    tasks[1].model.train()
    before = {key: value.clone() for key, value in tasks[1].model.state_dict().items()}
    evaluating, training = (run(task, epochs=1, distill=0.7, lr=0.05)[1] for task in tasks)
    assert same(weights(evaluating), weights(training))
    assert same(before, tasks[1].model.state_dict())
    assert tasks[1].model.training


def test_a_limit_on_training_ends_it_with_the_last_plan() -> None:
    task = task_at(limits=Limits(samples_trained=100))
    _, result = run(task, epochs=5, batch_size=16)
    assert result.meter["samples_trained"] == 96
    assert result.ended == "samples_trained would pass the limit of 100"
    assert result.plan == plans(run(task_at(), epochs=5, batch_size=16)[1])[2]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"rho": 0}, "rho=0 is not allowed: it is a number above 0"),
        ({"rho": -1.0}, "rho=-1.0 is not allowed"),
        ({"rho": math.nan}, "rho=nan is not allowed"),
        ({"lr": 0}, "lr=0 is not allowed: it is a number above 0"),
        ({"lr": "fast"}, "lr='fast' is not allowed"),
        ({"period": 0}, "period=0 is not allowed"),
        ({"epochs": -1}, "epochs=-1 is not allowed: it is a whole number, at least 0"),
        ({"epochs": 1.5}, "epochs=1.5 is not allowed"),
        ({"patience": 0}, "patience=0 is not allowed"),
        ({"freeze": 1.5}, "freeze=1.5 is not allowed: it is a number from 0 to 1"),
        ({"gating": "softly"}, "gating='softly' is not allowed (did you mean 'soft'?); it is one of soft, hard"),
        ({"score": "grad"}, "score='grad' is not allowed"),
        ({"score": "gradient", "decay": 1}, "decay=1 is not allowed"),
        ({"score": "gradient", "gradient_weight": 2}, "gradient_weight=2 is not allowed"),
        ({"start": "random"}, "start='random' is not allowed"),
        ({"form": "tucker"}, "form='tucker' is not allowed (did you mean 'tucker2'?)"),
        ({"form": "cp"}, "form='cp' is not allowed"),
        ({"optimiser": {"name": "SDG"}}, "optimiser name='SDG' is not allowed (did you mean 'SGD'?)"),
        ({"optimiser": {"momentun": 0.5}}, "momentun"),
    ],
)
def test_a_bad_option_is_one_clear_line(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make_searcher(task_at(), "batude", 0, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_task_without_data_is_refused_before_anything_runs() -> None:
    task = small_task()
    with pytest.raises(DataError, match="the searcher 'batude' needs data, and this task has none"):
        make_searcher(Task(task.model, task.space, HALF), "batude", 0)


def test_a_space_without_singular_values_is_refused() -> None:
    task = small_task()
    space = RankSpace.from_model(task.model, torch.zeros(1, 3, 8, 8), ["cp"])
    with pytest.raises(InvalidInputError, match="this space has only cp: add one of them to its forms"):
        make_searcher(Task(task.model, space, HALF, task.data), "batude", 0)


def test_a_budget_that_only_other_forms_meet_is_refused() -> None:
    task = small_task()
    example = torch.zeros(1, 3, 8, 8)
    space = RankSpace.from_model(task.model, example, ["tucker2", "svd_spatial"], exclude=["linear"])
    budget = Budget(params=space.smallest_cost["params"])
    make_searcher(Task(task.model, space, budget, task.data), "batude", 0, form="tucker2")
    with pytest.raises(InfeasibleBudgetError):
        make_searcher(Task(task.model, space, budget, task.data), "batude", 0, form="svd_spatial")
