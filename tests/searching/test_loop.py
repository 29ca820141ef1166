"""The loop: the incumbent, what a broken searcher becomes, limits, and runs that go on from a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scripted import Action, Scripted, plan
from tiny_task import VALIDATION, tiny_task

from rank_search.errors import LimitReached, SearcherError, StorageError
from rank_search.searching import AskTellSearcher, Proposal, SearchResult, Trial, evaluated, make_searcher, run_search
from rank_search.searching.loop import incumbent
from rank_search.space import Budget, Choice, RankPlan
from rank_search.task import Limits, Task
from rank_search.task.meter import COUNTS
from rank_search.task.oracles import task_of

pytestmark = pytest.mark.usefixtures("single_thread")

BUDGET = Budget(macs=0.7)
A, B, C = plan(1, 1), plan(2, 1), plan(2, 2)


def run(*script: Action, limits: Limits | None = None, forever: bool = False, **options: Any) -> SearchResult:
    return run_search(Scripted(tiny_task().under(BUDGET, limits=limits), script, forever), **options)


def evaluating(chosen: RankPlan) -> Callable[[Scripted], Proposal]:
    return lambda searcher: evaluated(searcher.task, chosen)


# -- the incumbent -----------------------------------------------------------------------------------------------------


def test_the_lowest_score_wins_and_every_step_carries_the_best_so_far() -> None:
    result = run(Proposal(A, 0.5), Proposal(B, -0.25), Proposal(C, 0.0), Proposal(A, -0.2))
    assert (result.plan, result.score, result.ended) == (B, -0.25, "done")
    assert [step.incumbent for step in result.trials] == [0.5, -0.25, -0.25, -0.25]
    assert [step.number for step in result.trials] == [1, 2, 3, 4]
    assert result.cost == tiny_task().admit(B)
    assert [step.cost for step in result.trials] == [tiny_task().admit(chosen) for chosen in (A, B, C, A)]


def test_the_first_of_equal_scores_wins() -> None:
    assert run(Proposal(A, 1.0), Proposal(B, 0.0), Proposal(C, 0.0)).plan == B


def test_without_scores_the_last_plan_that_did_not_fail_wins() -> None:
    result = run(Proposal(A), Proposal(B), Proposal(C, failure="it broke"))
    assert (result.plan, result.score) == (B, None)
    assert [step.incumbent for step in result.trials] == [None, None, None]


def test_a_score_beats_none_whenever_it_came() -> None:
    assert run(Proposal(A), Proposal(B, 9.0), Proposal(C)).plan == B
    assert run(Proposal(A, failure="x"), Proposal(B, 9.0), Proposal(C, failure="x")).plan == B


def test_no_steps_have_no_incumbent() -> None:
    assert incumbent([]) is None


def test_the_result_carries_the_lower_bound_of_the_winning_proposal() -> None:
    scored = [Proposal(A, 0.5, info={"lower_bound": 0.4}), Proposal(B, 0.6, info={"lower_bound": 0.1})]
    assert run(*scored).lower_bound == 0.4
    assert run(Proposal(A, 0.5)).lower_bound is None


def test_steps_without_a_plan_are_not_recorded() -> None:
    result = run(Proposal(None), Proposal(A, 1.0), Proposal(None), Proposal(B, 2.0))
    assert [(step.number, step.plan) for step in result.trials] == [(1, A), (2, B)]


def test_every_step_is_reported_once_with_the_meter_after_it() -> None:
    seen: list[Trial] = []
    result = run(evaluating(A), evaluating(B), callback=seen.append)
    assert tuple(seen) == result.trials
    assert [step.meter["evaluations"] for step in seen] == [1, 2]
    assert [step.meter["samples_forward"] for step in seen] == [70, 140]
    assert [step.meter["decompositions"] for step in seen] == [2, 2]
    assert result.meter["evaluations"] == 2


# -- broken searchers --------------------------------------------------------------------------------------------------


def fail(error: BaseException) -> Callable[[Scripted], Any]:
    def act(searcher: Scripted) -> Any:
        raise error

    return act


def returning(value: Any) -> Callable[[Scripted], Any]:
    return lambda searcher: value


OVER = RankPlan({})
PLACE = r" \(test_loop\.py:\d+ in \w+\)"
STRANGE = RankPlan({"fifth": Choice("svd", (1,))})


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (fail(ValueError("bad rank")), rf"^Scripted raised ValueError: bad rank{PLACE}$"),
        (fail(RuntimeError("two\n  lines")), rf"^Scripted raised RuntimeError: two lines{PLACE}$"),
        (fail(KeyError("x")), rf"^Scripted raised KeyError: 'x'{PLACE}$"),
        (lambda searcher: searcher.task.admit(OVER), "^Scripted raised OverBudgetError: the plan costs "),
        (Proposal(B, math.nan), "^Scripted returned the score nan at step 2: a score is a finite number or None$"),
        (Proposal(B, -math.inf), "^Scripted returned the score -inf at step 2: a score is a finite number or None$"),
        (Proposal(B, "0.5"), "^Scripted returned the score '0.5' at step 2: a score is a finite number or None$"),  # type: ignore[arg-type]
        (Proposal(B, 0.1, {"accuracy": math.nan}), "^Scripted returned the measure accuracy nan at step 2: "),
        (Proposal(B, 0.1, info={"lower_bound": math.nan}), "^Scripted returned the lower_bound nan at step 2: "),
        (Proposal(OVER, 0.1), "^Scripted proposed a plan that is not allowed, at step 2: the plan costs 2604 macs"),
        (Proposal(STRANGE, 0.1), "^Scripted proposed a plan that is not allowed, at step 2: the plan names .* 'fifth'"),
        (Proposal({"head": "dense"}, 0.1), "^Scripted proposed a dict at step 2, not a RankPlan$"),  # type: ignore[arg-type]
        (returning(None), r"^Scripted.step\(\) returned NoneType, not a Proposal$"),
        (returning(B), r"^Scripted.step\(\) returned RankPlan, not a Proposal$"),
    ],
)
def test_a_searcher_that_breaks_its_contract_ends_in_one_clear_line(
    action: Action, message: str, tmp_path: Path
) -> None:
    checkpoint = tmp_path / "state"
    steps: list[Trial] = []
    with pytest.raises(SearcherError, match=message) as caught:
        run(Proposal(A, 1.0), action, checkpoint=checkpoint, callback=steps.append)
    assert "\n" not in str(caught.value)
    assert [step.plan for step in steps] == [A]


def test_no_better_plan_over_the_budget_ever_becomes_the_answer() -> None:
    steps: list[Trial] = []
    with pytest.raises(SearcherError):
        run(Proposal(OVER, -100.0), callback=steps.append)
    assert steps == []


def test_a_searcher_that_never_proposes_is_an_error_after_its_idle_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rank_search.searching.loop.IDLE_STEPS", 7)
    searcher = Scripted(tiny_task(), [Proposal(None)], forever=True)
    with pytest.raises(
        SearcherError, match=r"^Scripted found no plan \(it proposed nothing; ended: nothing new in 7 steps\)$"
    ):
        run_search(searcher)
    assert searcher.at == 7


def test_a_searcher_that_is_done_at_once_is_an_error() -> None:
    with pytest.raises(SearcherError, match=r"^Scripted found no plan \(it proposed nothing; ended: done\)$"):
        run()


def test_when_all_evaluations_fail_the_last_reason_is_told() -> None:
    with pytest.raises(SearcherError, match="all 2 evaluations failed, the last: loss is nan"):
        run(Proposal(A, failure="no CP"), Proposal(B, failure="loss is nan"))


@pytest.mark.parametrize("method", ["done", "state_dict", "load_state_dict"])
def test_whatever_method_raises_the_error_names_the_searcher(method: str, tmp_path: Path) -> None:
    def broken(*args: object) -> None:
        raise IndexError("list index")

    checkpoint = tmp_path / "state"
    if method == "load_state_dict":
        run(Proposal(A, 1.0), checkpoint=checkpoint)
    wrong = property(broken) if method == "done" else broken
    searcher = type("Broken", (Scripted,), {method: wrong})(tiny_task(), [Proposal(A, 1.0)])
    with pytest.raises(SearcherError, match=rf"^Broken raised IndexError: list index{PLACE}$"):
        run_search(searcher, checkpoint)


def test_a_state_that_cannot_be_saved_is_the_searchers_fault_and_says_where(tmp_path: Path) -> None:
    class Unsaved(Scripted):
        def state_dict(self) -> dict[str, Any]:
            return {"rng": np.random.default_rng(0)}

    with pytest.raises(SearcherError, match=r"^Unsaved raised TypeError: the state holds a Generator at /searcher/rng"):
        run_search(Unsaved(tiny_task(), [Proposal(A, 1.0)]), tmp_path / "state")


def test_a_full_disk_and_an_interrupt_are_not_the_searchers_fault(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot write"):
        run(Proposal(A, 1.0), checkpoint=tmp_path / "file" / "state")
    with pytest.raises(KeyboardInterrupt):
        run(Proposal(A, 1.0), fail(KeyboardInterrupt()))


# -- limits and idleness -----------------------------------------------------------------------------------------------


def test_a_limit_that_is_reached_in_the_middle_of_a_step_ends_the_search_normally() -> None:
    def two_evaluations(searcher: Scripted) -> Proposal:
        searcher.task.evaluate(B)
        searcher.task.evaluate(C)
        return Proposal(C, 0.0)

    result = run(evaluating(A), two_evaluations, limits=Limits(evaluations=2, samples_forward=209))
    assert (result.plan, len(result.trials)) == (A, 1)
    assert result.ended == "evaluations would pass the limit of 2"
    assert result.meter["evaluations"] == 2
    result = run(evaluating(A), two_evaluations, limits=Limits(samples_forward=209))
    assert (result.plan, len(result.trials)) == (A, 1)
    assert result.ended == "samples_forward would pass the limit of 209"
    assert result.meter["samples_forward"] == 140


def test_a_limit_that_is_reached_before_any_plan_says_so() -> None:
    with pytest.raises(SearcherError, match="it proposed nothing; ended: samples_forward would pass the limit of 10"):
        run(evaluating(A), limits=Limits(samples_forward=10))


def test_a_search_stops_between_steps_once_a_limit_is_reached() -> None:
    result = run(evaluating(A), evaluating(B), evaluating(C), limits=Limits(evaluations=2))
    assert (len(result.trials), result.ended) == (2, "evaluations")
    result = run(evaluating(A), evaluating(B), limits=Limits(wall_seconds=1e-9 + 1e6, cpu_seconds=1e6))
    assert result.ended == "done"


def test_time_ends_a_search_between_steps() -> None:
    def slow(searcher: Scripted) -> Proposal:
        task_of(searcher.task).meter.load({**searcher.task.spent, "wall_seconds": 61.0})
        return Proposal(A, 1.0)

    assert run(slow, Proposal(B, 0.0), limits=Limits(wall_seconds=60)).ended == "wall_seconds"


def test_steps_that_bring_nothing_new_end_a_search(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rank_search.searching.loop.IDLE_STEPS", 4)
    known = Proposal(A, 1.0, cached=True)

    def metered(searcher: Scripted) -> Proposal:
        searcher.task.charge(evaluations=1)
        return Proposal(B, 1.0)

    result = run(Proposal(A, 1.0), known, known, metered, known, Proposal(None), known, known, known, known)
    assert (len(result.trials), result.ended) == (7, "nothing new in 4 steps")  # a new evaluation starts the count anew
    free = Proposal(B, 1.0)  # a step that claims an evaluation and metered none
    result = run(Proposal(A, 1.0), known, free, free, free, free, free)
    assert (len(result.trials), result.ended) == (5, "nothing new in 4 steps")
    result = run(Proposal(A, 1.0), known, known, known, Proposal(B, 0.5, cached=True), known, known, known)
    assert (len(result.trials), result.ended) == (8, "done")  # so does a better plan


BASELINES: dict[str, dict[str, Any]] = {
    "uniform": {},
    "random": {},
    "knapsack": {"weights": "none"},
    "tpe": {"startup": 3, "warm_start": "knapsack"},
}


def baseline(name: str, limits: Limits, **kwargs: Any) -> SearchResult:
    task = tiny_task(BUDGET, forms=("tucker2", "cp", "svd")).under(BUDGET, limits=limits)
    return run_search(make_searcher(task, name, 4, **BASELINES[name]), **kwargs)


@pytest.mark.parametrize("name", BASELINES)
@pytest.mark.parametrize(
    "limits",
    [
        Limits(evaluations=4),
        Limits(samples_forward=3 * (40 + VALIDATION) + 7),
        Limits(evaluations=6, decompositions=5, samples_forward=10_000),
    ],
    ids=["evaluations", "samples", "three"],
)
def test_no_baseline_ever_passes_a_limit_or_the_budget(name: str, limits: Limits) -> None:
    result = baseline(name, limits)
    task = tiny_task(BUDGET, forms=("tucker2", "cp", "svd"))
    for step in result.trials:
        assert step.plan is not None
        assert task.admit(step.plan) == step.cost
        for count in COUNTS:
            limit = getattr(limits, count)
            assert limit is None or step.meter[count] <= limit
    if name in ("random", "tpe"):
        assert result.meter["evaluations"] == (limits.evaluations or 3)
        assert result.ended.startswith("evaluations" if limits.evaluations else "samples_forward")


# -- checkpoints -------------------------------------------------------------------------------------------------------


class Killed(BaseException):
    """Ends a run from outside, as a signal would."""


def killed_after(steps: int) -> Callable[[Trial], None]:
    def callback(step: Trial) -> None:
        if step.number == steps:
            raise Killed

    return callback


def facts(steps: tuple[Trial, ...]) -> list[dict[str, Any]]:
    """All that a step records but the seconds."""
    found = []
    for step in steps:
        record: dict[str, Any] = {name: getattr(step, name) for name in step.__dataclass_fields__ if name != "meter"}
        counts: Mapping[str, Any] = {name: step.meter[name] for name in COUNTS}
        found.append({**record, **counts})
    return found


@pytest.mark.parametrize("kill_after", [(1,), (2,), (3, 5), (1, 2, 3, 4, 5, 6, 7)], ids=str)
@pytest.mark.parametrize("name", BASELINES)
def test_a_killed_search_goes_on_to_exactly_the_same_steps(
    name: str, kill_after: tuple[int, ...], tmp_path: Path
) -> None:
    limits, checkpoint = Limits(evaluations=8), tmp_path / "state"
    whole = baseline(name, limits)
    for steps in kill_after:
        if steps <= len(whole.trials):
            with pytest.raises(Killed):
                baseline(name, limits, checkpoint=checkpoint, callback=killed_after(steps))
    resumed = baseline(name, limits, checkpoint=checkpoint)
    assert facts(resumed.trials) == facts(whole.trials)
    assert (resumed.plan, resumed.score, resumed.ended) == (whole.plan, whole.score, whole.ended)
    assert {name: resumed.meter[name] for name in COUNTS} == {name: whole.meter[name] for name in COUNTS}
    assert (resumed.cost, resumed.lower_bound) == (whole.cost, whole.lower_bound)


@pytest.mark.parametrize("name", BASELINES)
def test_a_finished_search_is_read_back_without_doing_anything(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    checkpoint = tmp_path / "state"
    whole = baseline(name, Limits(evaluations=5), checkpoint=checkpoint)

    def refuse(*args: object) -> None:
        raise AssertionError("a finished search evaluated a plan")

    monkeypatch.setattr(Task, "evaluate", refuse)
    monkeypatch.setattr(Task, "judge", refuse)
    again = baseline(name, Limits(evaluations=5), checkpoint=checkpoint, callback=refuse)
    assert facts(again.trials) == facts(whole.trials)
    assert (again.plan, again.ended) == (whole.plan, whole.ended)


def test_seconds_go_on_after_a_resume(tmp_path: Path) -> None:
    def slow(searcher: Scripted) -> Proposal:
        task_of(searcher.task).meter.load({**searcher.task.spent, "wall_seconds": 61.0, "cpu_seconds": 9.0})
        return Proposal(A, 1.0)

    checkpoint = tmp_path / "state"
    with pytest.raises(Killed):
        run(slow, Proposal(B, 0.0), checkpoint=checkpoint, callback=killed_after(1))
    result = run(slow, Proposal(B, 0.0), checkpoint=checkpoint)
    assert result.meter["wall_seconds"] >= 61
    assert result.meter["cpu_seconds"] >= 9


def test_idle_steps_before_a_resume_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("rank_search.searching.loop.IDLE_STEPS", 4)
    script = [Proposal(A, 1.0), *[Proposal(A, 1.0, cached=True)] * 9]
    whole = run(*script)
    assert len(whole.trials) == 5
    with pytest.raises(Killed):
        run(*script, checkpoint=tmp_path / "state", callback=killed_after(3))
    for _ in range(2):  # to its end, and once more when it has ended
        resumed = run(*script, checkpoint=tmp_path / "state")
        assert facts(resumed.trials) == facts(whole.trials)
        assert resumed.ended == whole.ended == "nothing new in 4 steps"


def test_every_step_is_in_the_checkpoint_before_it_is_reported(tmp_path: Path) -> None:
    """A run killed while it reports a step has that step: nothing is evaluated twice, nothing reported is lost."""
    evaluations = 0

    def counting(searcher: Scripted) -> Proposal:
        nonlocal evaluations
        evaluations += 1
        return evaluating((A, B, C)[searcher.at - 1])(searcher)

    for steps in (1, 2, 3):
        with pytest.raises(Killed):
            run(*[counting] * 3, checkpoint=tmp_path / "state", callback=killed_after(steps))
    result = run(*[counting] * 3, checkpoint=tmp_path / "state")
    assert [step.plan for step in result.trials] == [A, B, C]
    assert evaluations == 3


def test_proposals_with_all_their_parts_survive_a_checkpoint(tmp_path: Path) -> None:
    info = {"lower_bound": 0.25, "gates": {"first": [1, 2]}, "note": "x", "none": None}
    script = [
        Proposal(A, 0.1 + 0.2, {"accuracy": 2 / 3}, None, False, info),
        Proposal(B, failure="it broke"),
        Proposal(plan(2, 2, head=True), 1.5, {"accuracy": 0.5}, cached=True),
    ]
    whole = run(*script, checkpoint=tmp_path / "state")
    read = run(*script, checkpoint=tmp_path / "state")
    assert [asdict(step) for step in read.trials] == [asdict(step) for step in whole.trials]
    said = [(t.plan, t.score, t.measures, t.failure, t.state == "cached", t.info) for t in read.trials]
    assert said == [(p.plan, p.score, p.measures, p.failure, p.cached, p.info) for p in script]
    assert read.lower_bound == 0.25


def test_no_checkpoint_is_written_unless_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    run(Proposal(A, 1.0))
    assert list(tmp_path.iterdir()) == []


def test_a_limit_inside_a_users_black_box_ends_its_search() -> None:
    class Cycle(AskTellSearcher):
        """Asks for three plans in turn, for ever."""

        asked = 0

        def ask(self, pending: Sequence[Trial]) -> RankPlan | None:
            self.asked += 1
            return (A, B, C)[self.asked % 3]

        def tell(self, trial: Trial) -> None:
            if self.asked == 20:
                raise LimitReached("enough")

    result = run_search(Cycle(tiny_task(), seed=0))
    assert result.ended == "enough"
    assert len(result.trials) == 19
    assert [step.state == "cached" for step in result.trials] == [False] * 3 + [True] * 16
    assert result.meter["evaluations"] == 3
