"""Evolutionary, Bayesian and local methods: what each of them must do, on a space that can be walked through."""

from __future__ import annotations

import numpy as np
import pytest
from asking import asked
from tiny_task import tiny_task

from rank_search.baselines.coordinates import AllRanks, AroundKnapsack
from rank_search.baselines.evolution import Evolution
from rank_search.baselines.pstrn import PSTRN
from rank_search.errors import InvalidInputError
from rank_search.searching import Trial, search
from rank_search.space import Budget
from rank_search.task import Limits, Oracles
from rank_search.testing import small_task

pytestmark = pytest.mark.usefixtures("single_thread")

FORMS = ("tucker2", "cp", "svd")


def oracles(budget: Budget) -> Oracles:
    return Oracles(small_task().under(budget))


@pytest.mark.parametrize("budget", [Budget(macs=0.5), Budget(macs=0.7, params=0.6)], ids=str)
def test_evolution_never_leaves_the_budget(budget: Budget) -> None:
    task = small_task().under(budget)
    searcher = Evolution(task, seed=0, population=4, sample=2, crossover=0.5, steps=3.0)
    for number in range(40):
        plan = searcher.ask(())
        assert plan is not None
        task.admit(plan)
        searcher.hear(Trial(number + 1, plan, "done", float(np.sin(number))))
    assert len(searcher.trials) == 40


def test_a_mutation_takes_single_steps_in_one_layer_or_more() -> None:
    task = small_task().under(Budget(macs=0.5))
    searcher, rng = Evolution(task, seed=0, steps=1.5), np.random.default_rng(0)
    counts = []
    for _ in range(300):
        rows = task.space.indices(task.space.random_plan(rng, task.budget))
        mutant = searcher._mutated(rows.copy())
        changed = np.flatnonzero(mutant != rows)
        counts.append(len(changed))
        for layer in changed.tolist():
            assert int(mutant[layer]) in task.space.adjacent(layer, int(rows[layer]))
    assert min(counts) == 1
    assert 1.2 < np.mean(counts) < 2.2  # of four layers 1.5 are drawn, and one where none is


def test_the_best_of_the_living_breeds_and_the_old_are_forgotten() -> None:
    task = small_task().under(Budget(macs=0.5))
    searcher = Evolution(task, seed=1, population=3, sample=3, crossover=0.0)
    parents = []
    chosen = searcher._parent
    searcher._parent = lambda alive: parents.append(chosen(alive)) or parents[-1]  # type: ignore[func-returns-value, method-assign]
    for number in range(12):
        parents.clear()
        plan = searcher.ask(())
        assert plan is not None
        if number >= 3:
            assert set(parents) == {list(searcher.trials)[number - 3]}  # ever worse: the oldest of three is the best
        searcher.hear(Trial(number + 1, plan, "done", float(number)))


def test_failed_plans_have_no_children() -> None:
    task = small_task().under(Budget(macs=0.5))
    searcher = Evolution(task, seed=0, population=3, sample=3)
    for number in range(9):
        plan = searcher.ask(())
        assert plan is not None
        searcher.hear(Trial(number + 1, plan, "failed", None, failure="on purpose"))
    assert searcher.ask(()) is not None


def test_pstrn_narrows_around_the_best_plan() -> None:
    task = small_task().under(Budget(macs=0.5))
    searcher = PSTRN(task, seed=0, grid=4, evaluations=6, shrink=0.5)
    widths = []
    for number in range(19):
        plan = searcher.ask(())
        assert plan is not None
        task.admit(plan)
        widths.append((searcher._high - searcher._low).copy())
        searcher.hear(Trial(number + 1, plan, "done", float(np.cos(number))))
    assert (widths[6] <= np.maximum(0.5 * widths[0], 2.0) + 1e-9).all()
    assert (widths[12] <= widths[6]).all()
    assert (widths[18] <= widths[12]).all()


def test_the_origin_of_the_reduced_coordinates_is_the_knapsacks_plan() -> None:
    for budget in (Budget(macs=0.5), Budget(params=0.5, macs=0.6)):
        task = oracles(budget)
        around = AroundKnapsack(task)
        space = task.space
        plan = space.plan(space.minimise(task.relative_errors(), budget).indices)
        assert around.plan(around.knapsack()) == plan
        assert AllRanks(task).plan(AllRanks(task).knapsack()) == plan


def test_every_point_of_the_coordinates_is_within_the_budget_and_a_plan_finds_its_own_point() -> None:
    task = oracles(Budget(macs=0.4))
    rng = np.random.default_rng(0)
    for coordinates in (AroundKnapsack(task), AllRanks(task)):
        for _ in range(20):
            plan = coordinates.plan(coordinates.drawn(rng))
            task.admit(plan)
            point = coordinates.parameters(plan)
            assert point is None or coordinates.plan(point) == plan


def test_a_weight_on_a_stage_keeps_more_of_it() -> None:
    task = oracles(Budget(macs=0.4))
    around, errors = AroundKnapsack(task, stages=2), task.relative_errors()
    later = np.concatenate([np.zeros(len(around._stage[around._stage == 0])), np.ones(int((around._stage == 1).sum()))])

    def lost(weight: float) -> float:
        plan = around.plan({**around.knapsack(), "stage 1": weight})
        rows = task.space.indices(plan)
        return sum(float(e[r]) for e, r, inside in zip(errors, rows, later, strict=True) if inside)

    assert lost(1.0) <= lost(0.0) <= lost(-1.0)
    assert lost(1.0) < lost(-1.0)


@pytest.mark.parametrize("name", ["bo_reduced", "cmaes", "descent"])
def test_methods_around_the_knapsack_start_at_its_plan_and_never_end_worse(name: str) -> None:
    task = tiny_task(Budget(macs=0.5), forms=FORMS)
    knapsack = search(task, "knapsack").plan
    found = search(task, name, Limits(evaluations=12))
    assert found.trials[0].plan == knapsack
    assert found.score is not None
    assert found.score <= (found.trials[0].score or 0.0)


@pytest.mark.parametrize("name", ["evolution", "pstrn", "nsga2", "cmaes", "descent", "bo_reduced"])
def test_a_space_that_is_walked_through_ends_at_its_optimum(name: str) -> None:
    task = tiny_task(Budget(macs=0.5), forms=("svd", "tucker2"))
    plans = set(task.space.feasible_plans(task.budget))
    if len(plans) > 80:
        task = tiny_task(Budget(macs=0.42), forms=("svd", "tucker2"))
        plans = set(task.space.feasible_plans(task.budget))
    best = min(task.evaluate(plan).score for plan in plans)
    found = search(task, name, Limits(evaluations=len(plans) + 5))
    assert found.meter["evaluations"] == len(plans)
    assert found.score == best


def test_descent_moves_to_a_better_neighbour_as_soon_as_it_is_found() -> None:
    task = tiny_task(Budget(macs=0.5), forms=FORMS)
    found = search(task, "descent", Limits(evaluations=30))
    space, seen = task.space, list(found.trials)
    for number, trial in enumerate(seen[1:], start=1):
        before = sorted((t.score or 0.0, t.number, t.plan) for t in seen[:number])
        near = []
        for _, _, centre in before:
            around = {space.project(beside, task.budget) for beside in space.neighbours(centre)} - {centre}
            near = [plan for plan in around if plan not in {t.plan for t in seen[:number]}]
            if near:
                break
        assert trial.plan in near or not near


def test_the_front_of_nsga2_is_what_no_other_trial_beats() -> None:
    found = search(tiny_task(Budget(macs=0.9), forms=FORMS), "nsga2", Limits(evaluations=30))
    front = found.front("macs")
    pairs = [(t.cost["macs"], t.score) for t in found.trials if t.score is not None]
    for trial in front:
        mine = trial.cost["macs"], trial.score or 0.0
        assert not any(cost <= mine[0] and score <= mine[1] and (cost, score) != mine for cost, score in pairs)
    kept = {(t.cost["macs"], t.score) for t in front}
    for cost, score in pairs:
        assert (cost, score) in kept or any(c <= cost and s <= score for c, s in kept)
    assert front[-1].score == found.score
    with pytest.raises(InvalidInputError, match=r"there is no metric 'mac'.*did you mean 'macs'"):
        found.front("mac")


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("evolution", {"population": 1}, "population=1"),
        ("evolution", {"steps": 0}, "steps=0"),
        ("evolution", {"warm_start": "energy"}, "warm_start='energy'"),
        ("pstrn", {"grid": 1}, "grid=1"),
        ("pstrn", {"shrink": 2}, "shrink=2"),
        ("nsga2", {"population": 1}, "population=1"),
        ("cmaes", {"sigma": 0}, "sigma=0"),
        ("gp", {"startup": 0}, "startup=0"),
        ("bo_reduced", {"model": "rf"}, "model='rf'"),
        ("tpe", {"coordinates": "few"}, "coordinates='few'"),
    ],
)
def test_options_that_mean_nothing_are_refused_in_one_line(name: str, options: dict[str, object], said: str) -> None:
    with pytest.raises(InvalidInputError, match=said) as caught:
        search(tiny_task(), name, **options)
    assert "\n" not in str(caught.value)


def test_two_plans_in_flight_change_nothing_but_what_was_known() -> None:
    for name in ("cmaes", "pstrn", "evolution", "nsga2", "bo_reduced", "descent"):
        task = tiny_task(Budget(macs=0.5), forms=FORMS)
        found = search(task, name, Limits(evaluations=12), parallel=2)
        assert len({trial.plan for trial in found.trials}) == len(found.trials) == 12


def test_what_is_asked_is_told_once() -> None:
    searcher = Evolution(tiny_task(Budget(macs=0.5), forms=FORMS), seed=0)
    assert len(asked(searcher, 14)) == len(searcher.trials) == 14
