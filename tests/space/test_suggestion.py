"""Plans for the trials of a study of one's own: within the budget, none twice, all of them in the end."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import optuna
import pytest
from tiny_task import all_plans, tiny_task

from rank_search.errors import InfeasibleBudgetError, OverBudgetError, PlanError
from rank_search.space import DENSE, Budget, RankPlan, RankSpace
from rank_search.space.parameters import parameters_of
from rank_search.space.unseen import nearest_unseen

optuna.logging.set_verbosity(optuna.logging.WARNING)
BUDGET = Budget(macs=0.7)
LIMIT = int(0.7 * (36 * 36 + 9 * 144 + 12))
HAND = {plan: cost["macs"] for plan, cost in all_plans()}
FEASIBLE = {plan for plan, macs in HAND.items() if macs <= LIMIT}
SECONDS = 300


@pytest.fixture(scope="module")
def space() -> RankSpace:
    return tiny_task().space


def study_of(space: RankSpace, trials: int, jobs: int = 1, seed: int = 0, budget: Budget = BUDGET) -> optuna.Study:
    """A study whose objective is a sum of ranks: cheap, and the same for the same plan."""
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    study.optimize(lambda trial: worth(space.suggest(trial, budget)), n_trials=trials, n_jobs=jobs, timeout=SECONDS)
    return study


def worth(plan: RankPlan) -> float:
    return float(sum(sum(choice.ranks) for choice in plan.values()))


def plans_of(space: RankSpace, study: optuna.Study) -> list[RankPlan]:
    states = optuna.trial.TrialState
    return [space.plan_of_trial(trial) for trial in study.trials if trial.state == states.COMPLETE]


@pytest.mark.parametrize("jobs", [1, 2])
def test_every_plan_within_the_budget_is_suggested_once_and_then_the_study_ends(space: RankSpace, jobs: int) -> None:
    assert 40 < len(FEASIBLE) < len(HAND)
    study = study_of(space, len(FEASIBLE) + 50, jobs)
    plans = plans_of(space, study)
    assert len(plans) == len(FEASIBLE)
    assert set(plans) == FEASIBLE
    pruned = [trial for trial in study.trials if trial.state == optuna.trial.TrialState.PRUNED]
    assert 1 <= len(pruned) <= jobs


def test_outside_of_optimize_the_end_is_one_clear_error(space: RankSpace) -> None:
    budget = Budget(macs=min(HAND.values()) + 1)
    few = sum(macs <= min(HAND.values()) + 1 for macs in HAND.values())
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = set()
    for _ in range(few):
        trial = study.ask()
        seen.add(space.suggest(trial, budget))
        study.tell(trial, 0.0)
    assert len(seen) == few
    with pytest.raises(
        InfeasibleBudgetError, match=r"every plan within the budget macs=\d+ was suggested in this study"
    ):
        space.suggest(study.ask(), budget)


def test_two_hundred_plans_of_two_threads_are_within_the_budget_and_none_is_suggested_twice() -> None:
    space = tiny_task(forms=["tucker2", "svd", "cp"], budget=Budget(params=0.95)).space
    budget = Budget(params=0.95)
    plans = plans_of(space, study_of(space, 200, jobs=2, budget=budget))
    assert len(plans) == len(set(plans)) == 200
    assert all(space.cost(plan)["params"] <= int(0.95 * 215) for plan in plans)


def test_the_seed_decides_and_another_study_starts_anew(space: RankSpace) -> None:
    first, second = (plans_of(space, study_of(space, 30, seed=3)) for _ in range(2))
    assert first == second
    assert first != plans_of(space, study_of(space, 30, seed=4))


def test_the_plan_of_the_best_trial_is_read_back_and_is_what_its_value_is_of(space: RankSpace) -> None:
    study = study_of(space, 20)
    assert worth(space.plan_of_trial(study.best_trial)) == study.best_value
    assert HAND[space.plan_of_trial(study.best_trial)] <= LIMIT
    with pytest.raises(PlanError, match=r"trial 20 has no plan: its objective did not call space.suggest"):
        space.plan_of_trial(study.ask())


def test_a_trial_keeps_its_plan_and_failed_plans_are_not_suggested_again(space: RankSpace) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    trial = study.ask()
    plan = space.suggest(trial, BUDGET)
    assert space.suggest(trial, BUDGET) == plan
    with pytest.raises(OverBudgetError):
        space.suggest(trial, Budget(macs=min(HAND.values())))
    study.tell(trial, state=optuna.trial.TrialState.FAIL)
    study.enqueue_trial(trial.params)
    again = study.ask()
    other = space.suggest(again, BUDGET)
    assert other != plan
    assert other in FEASIBLE
    assert again.params == trial.params


def test_a_fixed_trial_without_a_study_gets_the_plan_of_its_point(space: RankSpace) -> None:
    values = {parameter.name: 0.2 for parameter in parameters_of(space.layers)} | {"head/0": 1.0}
    plan = space.suggest(optuna.trial.FixedTrial(values), BUDGET)
    assert plan in FEASIBLE
    assert plan["first"].form == plan["second"].form == "tucker2"
    assert plan["head"] == DENSE


WORKER = """
import sys, optuna
sys.path.insert(0, {tests!r})
from tiny_task import tiny_task
from rank_search.space import Budget
optuna.logging.set_verbosity(optuna.logging.ERROR)
space, budget = tiny_task().space, Budget(macs=0.7)
storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend({file!r}))
study = optuna.load_study(study_name="shared", storage=storage, sampler=optuna.samplers.RandomSampler(seed={seed}))
study.optimize(lambda trial: float(len(space.suggest(trial, budget))), n_trials=25, n_jobs=2)
"""


def test_processes_on_one_storage_share_no_plan(space: RankSpace, tmp_path: Path) -> None:
    """All start from the same sampler seed, so that they want the same plans."""
    file = str(tmp_path / "journal.log")
    storage = optuna.storages.JournalStorage(optuna.storages.journal.JournalFileBackend(file))
    study = optuna.create_study(study_name="shared", storage=storage)
    code = WORKER.format(tests=str(Path(__file__).parent.parent), file=file, seed=7)
    workers = [subprocess.Popen([sys.executable, "-c", code]) for _ in range(2)]
    assert [worker.wait(SECONDS) for worker in workers] == [0, 0]
    plans = plans_of(space, study)
    assert len(plans) == len(set(plans)) == 50
    assert set(plans) <= FEASIBLE


def test_the_nearest_free_plan_is_the_nearest_by_the_distances_of_project(
    space: RankSpace, monkeypatch: pytest.MonkeyPatch
) -> None:
    from rank_search.space import unseen
    from rank_search.space.tables import moves

    start = space.project(space.dense, BUDGET)

    def away(plan: RankPlan) -> float:
        rows = zip(space.layers, space.indices(start), space.indices(plan), strict=True)
        return sum(float(moves.distances(options, int(here))[there]) for options, here, there in rows)

    taken = {start}
    for _ in range(12):
        found = nearest_unseen(space, start, BUDGET, taken)
        assert found is not None
        assert away(found) == pytest.approx(min(away(plan) for plan in FEASIBLE - taken))
        taken.add(found)
    monkeypatch.setattr(unseen, "ENUMERABLE", 1)
    seen: set[RankPlan] = set()
    while (plan := nearest_unseen(space, start, BUDGET, seen)) is not None:
        assert plan in FEASIBLE - seen
        seen.add(plan)
    assert seen == FEASIBLE
    assert nearest_unseen(space, start, BUDGET, FEASIBLE) is None
