"""The relaxation as a search in its default mode: scores, plans, what it says of itself, what it refuses."""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from mixed_net import columns_of, mixed_net, mixed_space
from tiny_task import energy, squared_error, tiny_task

from rank_search import Budget, RankPlan, RankSpace, Task, load_model
from rank_search.arrays import FloatArray, IntArray
from rank_search.errors import DataError, InvalidInputError
from rank_search.searchers.ortos import Ortos
from rank_search.searchers.relaxation import Relaxation
from rank_search.searchers.relaxation.budget_relaxation import BudgetRelaxation
from rank_search.searchers.relaxation.nested_mixture import LayerMixture
from rank_search.searching import SearchResult, make_searcher, run_search
from rank_search.space.forms import cp
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.task.networks.weights import load_weights
from rank_search.testing import small_task

pytestmark = pytest.mark.usefixtures("single_thread")
SHARED = Path(__file__).parents[3] / "shared" / "data" / "cifar10_resnet20.safetensors"
HALF = Budget(macs=0.5)
BOTH = Budget(params=0.5, macs=0.6)


def run(task: Task, **options: Any) -> SearchResult:
    return run_search(make_searcher(task, "relaxation", 0, **options))


def mixed_task(budget: Budget = HALF, forms: Any = ("tucker2", "svd"), seed: int = 0) -> Task:
    net = mixed_net(seed)
    return Task(net, mixed_space(net, forms), budget)


def plans(result: SearchResult) -> list[RankPlan | None]:
    return [step.plan for step in result.trials]


# -- the plan and its score --------------------------------------------------------------------------------------------


def test_it_is_done_after_its_rounds_and_logs_its_multipliers() -> None:
    result = run(mixed_task(), rounds=5)
    assert len(result.trials) == 5
    assert result.ended == "done"
    assert "multiplier_macs" in result.trials[0].info


@pytest.mark.parametrize("budget", [HALF, BOTH], ids=str)
@pytest.mark.parametrize("polish", [True, False], ids=["polished", "projected"])
def test_the_score_is_the_sum_of_relative_weight_errors(budget: Budget, polish: bool) -> None:
    task = tiny_task(Budget(macs=0.7) if budget == HALF else Budget(params=0.7, macs=0.7))
    for step in run(task, rounds=6, polish=polish).trials:
        choices = step.plan.items()
        expected = sum(squared_error(task.model, name, c) / energy(task.model, name) for name, c in choices)
        assert step.score == pytest.approx(expected, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("budget", [HALF, BOTH], ids=str)
def test_without_polish_the_most_probable_options_are_only_projected(budget: Budget) -> None:
    task = mixed_task(budget)
    mixtures = [LayerMixture(options, columns_of(budget)) for options in task.space.layers]
    relaxation = BudgetRelaxation(task.space, budget, mixtures, 8, 12)
    polished = run(mixed_task(budget), rounds=8)
    projected = run(task, rounds=8, polish=False)
    for plan in plans(projected):
        relaxation.run_round()
        assert plan == task.space.project(task.space.plan(relaxation.rows), budget)
    assert plans(projected) != plans(polished)
    assert projected.score is not None
    assert polished.score is not None
    assert polished.score <= projected.score


@pytest.mark.parametrize("polish", [True, False], ids=["polished", "projected"])
def test_a_cp_without_a_finite_fit_is_never_in_a_plan(polish: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    measured = cp.CP.errors

    def broken(self: cp.CP, weight: LayerWeight, ranks: IntArray) -> FloatArray:
        return np.where(~np.isin(ranks[:, 0], (1, 5)), np.inf, measured(self, weight, ranks))

    monkeypatch.setattr(cp.CP, "errors", broken)
    net = mixed_net(0)
    space = mixed_space(net, {"cp": {"ranks": 8}, "svd": {}})
    errors = space.relative_errors()
    assert sum(int((~np.isfinite(error)).sum()) for error in errors) > 5
    for budget in (Budget(macs=0.75), Budget(params=0.7), Budget(params=0.8, macs=0.6)):
        for plan in plans(run(Task(net, space, budget), rounds=8, polish=polish)):
            assert plan is not None
            rows = space.indices(plan)
            assert all(math.isfinite(error[row]) for error, row in zip(errors, rows, strict=True))


@cache
def resnet20(forms: tuple[str, ...]) -> tuple[torch.nn.Module, RankSpace]:
    model = load_model("cifar_resnet20")
    load_weights(model, SHARED)
    return model, RankSpace.from_model(model, torch.zeros(1, 3, 32, 32), forms)


@pytest.mark.skipif(not SHARED.exists(), reason="needs the pretrained network")
@pytest.mark.parametrize("macs", [0.7, 0.5, 0.3])
@pytest.mark.parametrize("forms", [("tucker2",), ("tucker2", "svd_spatial", "svd_grouped")], ids="+".join)
def test_in_a_trained_network_it_is_within_a_hundredth_of_the_data_free_optimum(
    forms: tuple[str, ...], macs: float
) -> None:
    model, space = resnet20(forms)
    task = Task(model, space, Budget(macs=macs))
    bound = space.minimise(space.relative_errors(), task.budget).lower_bound
    result = run(task)
    assert result.score is not None
    assert -1e-9 < result.score / bound - 1 < 0.01
    assert (result.trials[-1].score or math.inf) / bound - 1 < 0.01
    assert result.trials[-1].info["converged"]
    assert not result.trials[0].info["converged"]


# -- what it says of itself --------------------------------------------------------------------------------------------


def test_converged_says_that_p_is_decided_and_its_expected_cost_within_the_budget() -> None:
    said = []
    for seed in range(3):
        for step in run(mixed_task(seed=seed)).trials:
            info = step.info
            layers = [layer["entropy"] for layer in info["probabilities"].values()]
            assert info["entropy"] == pytest.approx(np.mean(layers))
            assert info["largest_entropy"] == max(layers)
            assert info["converged"] == (np.mean(layers) <= 0.05 and info["violation"] <= 0.01)
            said.append(info["converged"])
    assert {True, False} == set(said)


def test_the_info_compares_the_mixture_with_what_single_options_would_err() -> None:
    steps = run(mixed_task()).trials
    for step in steps:
        assert 0 <= step.info["mixture_error"] <= step.info["expected_error"] + 1e-12
    first, last = steps[0].info, steps[-1].info
    assert first["mixture_error"] < 0.8 * first["expected_error"]
    assert last["mixture_error"] > 0.95 * last["expected_error"]
    assert [step.info["round"] for step in steps] == list(range(1, len(steps) + 1))


def test_the_logged_marginals_are_probabilities_of_ranks() -> None:
    task = mixed_task(forms=("tucker2", "svd", "svd_grouped"))
    for step in run(task, rounds=4).trials:
        logged = step.info["probabilities"]
        assert list(logged) == [options.layer.name for options in task.space.layers]
        for options in task.space.layers:
            layer = logged[options.layer.name]
            assert set(layer["forms"]) == {form.name for form in options.forms}
            mass = layer["dense"]
            for form in options.forms:
                found = layer["forms"][form.name]
                assert found["modes"] == list(form.modes)
                for ranks, p, full in zip(found["ranks"], found["p"], form.largest_ranks(options.layer), strict=True):
                    assert len(ranks) == len(p)
                    assert ranks == sorted(set(ranks))
                    assert all(1 <= rank <= full for rank in ranks)
                mass += sum(found["p"][0])
            assert mass == pytest.approx(1, abs=0.11)  # what is below a tenth of uniform is left out


def test_it_charges_every_decomposition_once_and_no_data() -> None:
    task = mixed_task(forms=("tucker2", "svd"))
    meter = run(task).meter
    assert meter["decompositions"] == sum(len(options.forms) for options in task.space.layers)
    assert (meter["evaluations"], meter["samples_forward"], meter["samples_trained"]) == (0, 0, 0)


@pytest.mark.parametrize("stop", [1, 3, 6])
@pytest.mark.parametrize("polish", [True, False], ids=["polished", "projected"])
def test_a_killed_search_goes_on_with_the_same_plans(stop: int, polish: bool, tmp_path: Path) -> None:
    options: dict[str, Any] = {"rounds": 6, "polish": polish}
    whole = run(mixed_task(BOTH), **options)

    def kill(step: Any) -> None:
        if step.number == stop:
            raise KeyboardInterrupt

    checkpoint = tmp_path / "state.safetensors"
    with pytest.raises(KeyboardInterrupt):
        run_search(make_searcher(mixed_task(BOTH), "relaxation", 0, **options), checkpoint, kill)
    resumed = run_search(make_searcher(mixed_task(BOTH), "relaxation", 0, **options), checkpoint)
    assert plans(resumed) == plans(whole)
    assert [step.info for step in resumed.trials] == [step.info for step in whole.trials]
    assert [step.score for step in resumed.trials] == [step.score for step in whole.trials]


def test_the_seed_changes_nothing() -> None:
    one, other = (run_search(make_searcher(mixed_task(), "relaxation", seed, rounds=4)) for seed in (0, 1))
    assert plans(one) == plans(other)


# -- what it refuses ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("searcher", "options", "said"),
    [
        (
            "relaxation",
            {"mode": "faithful"},
            "no option 'mode' any more: the published relaxation is",
        ),
        (
            "relaxation",
            {"objective": "outputs"},
            "no option 'objective' any more: the error of the network's outputs",
        ),
        ("relaxation_outputs", {"objective": "outputs"}, "no option 'objective' any more"),
        ("relaxation", {"lr": 0.1}, "Relaxation has no option 'lr'; it has: rounds, iterations, polish"),
        ("relaxation", {"batch_size": 8}, "Relaxation has no option 'batch_size'; it has: rounds, iterations, polish"),
        ("ortos", {"rounds": 3}, "Ortos has no option 'rounds'"),
        (
            "relaxation",
            {"polsh": True},
            "no option 'polsh' (did you mean 'polish'?); it has: rounds, iterations",
        ),
        ("ortos", {"warmup": 3}, "no option 'warmup' (did you mean 'warm_up'?)"),
        ("relaxation", {"rounds": 1}, "rounds=1 is not allowed: it is a whole number, at least 2"),
        ("relaxation", {"rounds": 2.5}, "rounds=2.5 is not allowed"),
        ("relaxation", {"rounds": True}, "rounds=True is not allowed"),
        ("relaxation", {"iterations": 0}, "iterations=0 is not allowed: it is a whole number, at least 1"),
        ("relaxation", {"polish": "no"}, "polish='no' is not allowed"),
        ("relaxation_outputs", {"batch_size": 1}, "batch_size=1 is not allowed: it is a whole number, at least 2"),
        ("ortos", {"lowest": 9, "highest": 3}, "lowest=9 and highest=3 leave no candidate rank"),
        ("ortos", {"lowest": 0}, "lowest=0 is not allowed: it is a whole number, at least 1"),
        ("ortos", {"lowest": 1, "step": 0}, "step=0 is not allowed: it is a whole number, at least 1"),
        ("ortos", {"lowest": 1, "shrink": 1}, "shrink=1 is not allowed: it is a number above 1"),
        ("ortos", {"lowest": 1, "tied": "yes"}, "tied='yes' is not allowed"),
        ("ortos", {"lowest": 9}, "lowest=9 leaves no rank of tucker2 for layer 'conv1', whose largest is 8"),
        ("ortos", {"lowest": 1, "iterations": 0}, "iterations=0 is not allowed"),
        ("ortos", {"lowest": 1, "lr": 0}, "lr=0 is not allowed: it is a number above 0"),
        ("ortos", {"lowest": 1, "lr": math.inf}, "lr=inf is not allowed"),
        ("ortos", {"lowest": 1, "momentum": 1}, "momentum=1 is not allowed"),
        ("ortos", {"lowest": 1, "precision": "half"}, "precision='half' is not allowed"),
        ("ortos", {"lowest": 1, "clip": -1}, "clip=-1 is not allowed"),
        ("ortos", {"lowest": 1, "alpha_loss": "train"}, "alpha_loss='train' is not allowed; it is one of"),
        (
            "ortos",
            {"lowest": 1, "alpha_loss": "validation", "batch_size": 1},
            "batch_size=1 is not allowed: it is a whole number, at least 2",
        ),
    ],
    ids=str,
)
def test_a_bad_option_is_one_clear_line(searcher: str, options: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        make_searcher(small_task().under(HALF), searcher, 0, **options)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_validation_loss_without_data_is_refused_before_anything_runs() -> None:
    task = small_task()
    with pytest.raises(DataError) as caught:
        make_searcher(Task(task.model, task.space, HALF), "ortos", 0, lowest=1, alpha_loss="validation")
    assert "alpha_loss='validation' needs data, and this task has none" in str(caught.value)
    assert "alpha_loss='reconstruction'" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_forms_whose_modes_are_no_ranks_are_refused_by_the_published_method() -> None:
    with pytest.raises(InvalidInputError, match=r"modes that are no ranks \(groups\): take it out of forms"):
        make_searcher(mixed_task(forms=("svd_grouped",)), "ortos", 0, lowest=1)


def test_without_data_both_are_built_and_the_one_by_outputs_is_refused() -> None:
    assert isinstance(make_searcher(mixed_task(), "relaxation", 0), Relaxation)
    assert isinstance(make_searcher(mixed_task(), "ortos", 0, lowest=1), Ortos)
    with pytest.raises(DataError, match="'relaxation_outputs' needs data, and this task has none"):
        make_searcher(mixed_task(), "relaxation_outputs", 0)
