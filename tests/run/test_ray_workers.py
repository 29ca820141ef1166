"""Actors on Ray: any number of them gives what one process gives, byte for byte, and so does one that is killed."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

import rank_search as rs
from rank_search.errors import InvalidInputError, OperationError
from rank_search.run.ray_workers import RayWorkers
from rank_search.searching import SearchResult
from rank_search.searching.fidelity import Fidelity
from rank_search.space import Budget, RankPlan, RankSpace, plan_of
from rank_search.task import Limits, Recipe, Task, TensorData
from rank_search.task.meter import COUNTS

pytestmark = pytest.mark.usefixtures("single_thread")

BUDGET = Budget(params=0.75)
FIDELITIES = {
    "none": None,
    "asha": Fidelity("asha", eta=2),
    "successive_halving": Fidelity("successive_halving", eta=2),
}
DEADLINE = 300.0


class Deadly(nn.Module):
    """A small classifier that may kill the process which runs it.

    Args:
        order: a file; while it is there, a compressed network removes it in the pass (of training or of judging) whose
            number it holds, and dies.
        deadly: a plan in JSON, whose network kills its process in every pass.
    """

    def __init__(self, order: str = "", deadly: str = "") -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(6, 12), nn.Linear(12, 12), nn.Linear(12, 3)
        self.dropout = nn.Dropout(0.2)
        self.order, self.deadly, self.passes = order, deadly, 0

    def forward(self, inputs: Tensor) -> Tensor:
        plan = plan_of(self)
        self.passes += len(plan) > 0
        once = os.path.exists(self.order) and self.passes == int(Path(self.order).read_text())
        if once:
            Path(self.order).unlink()
        if once or (self.deadly and plan == RankPlan.from_json(json.loads(self.deadly))):
            os.kill(os.getpid(), signal.SIGKILL)
        features = torch.relu(self.second(torch.relu(self.first(inputs))))
        logits: Tensor = self.head(self.dropout(features))
        return logits


def make_task(order: str = "", deadly: str = "") -> Task:
    torch.set_num_threads(1)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Deadly(order, deadly).eval()
        inputs, labels = torch.randn(90, 6), torch.randint(0, 3, (90,))
    data = TensorData((inputs[:40], labels[:40]), (inputs[40:], labels[40:]))
    space = RankSpace.from_model(net, torch.zeros(1, 6), forms=["svd"])
    return Task(net, space, BUDGET, data, Recipe(epochs=4, lr=0.3, batch_size=20, warmup=0.3), seed=1)


def refuse_task() -> Task:
    raise InvalidInputError("there is no data here")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    import ray

    ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # the workers do not have this file
    ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield ray
    ray.shutdown()
    ray.cloudpickle.unregister_pickle_by_value(sys.modules[__name__])


@pytest.fixture(autouse=True)
def _deadline() -> Iterator[None]:
    """A test that hangs fails."""

    def give_up(*args: object) -> None:
        raise TimeoutError(f"no end in {DEADLINE:g} s")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.setitimer(signal.ITIMER_REAL, DEADLINE)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


def search(task: Task, fidelity: str, workers: RayWorkers | None = None, **options: Any) -> SearchResult:
    return rs.search(
        task,
        "evolution",
        Limits(evaluations=9),
        seed=5,
        parallel=4,
        workers=workers,
        fidelity=FIDELITIES[fidelity],
        population=4,
        sample=2,
        **options,
    )


def on(make: Callable[[], Task], count: int) -> RayWorkers:
    return RayWorkers(make, count, {"num_cpus": 0.25}, threads=1)


def outcome(result: SearchResult) -> dict[str, Any]:
    """All that a search says but seconds."""
    trained = result.trained
    return {
        "trials": [
            {**trial.to_dict(), "meter": {name: trial.meter[name] for name in COUNTS}} for trial in result.trials
        ],
        "meter": {name: result.meter[name] for name in COUNTS},
        "answer": (result.plan, result.score, result.cost, result.ended),
        "trained": trained and {name: tensor.numpy().tobytes() for name, tensor in trained.state_dict().items()},
    }


@pytest.fixture(scope="module")
def in_process() -> Callable[[str], dict[str, Any]]:
    known: dict[str, dict[str, Any]] = {}

    def whole(fidelity: str) -> dict[str, Any]:
        if fidelity not in known:
            known[fidelity] = outcome(search(make_task(), fidelity))
        return known[fidelity]

    return whole


# -- any number of workers ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("count", [1, 2, 4])
def test_any_number_of_workers_gives_what_one_process_gives(
    ray: Any, in_process: Callable[[str], dict[str, Any]], count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds: list[float] = []
    monkeypatch.setattr("rank_search.task.meter.Meter.elsewhere", lambda meter, cpu: seconds.append(cpu))
    with on(make_task, count) as workers:
        for fidelity in FIDELITIES:
            assert outcome(search(make_task(), fidelity, workers)) == in_process(fidelity), fidelity
    assert sum(seconds) > 0  # of the workers


# -- workers that are lost ---------------------------------------------------------------------------------------------


def test_a_worker_that_is_killed_in_an_evaluation_changes_nothing(
    ray: Any, in_process: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    order = tmp_path / "order"
    with on(partial(make_task, str(order)), 1) as workers:
        for fidelity in FIDELITIES:
            order.write_text("1" if fidelity == "none" else "5")  # in the training for the second rung
            result = search(make_task(), fidelity, workers)
            assert not order.exists()
            assert outcome(result) == in_process(fidelity), fidelity


def test_neither_do_workers_that_are_killed_from_outside_nor_other_ones_after_a_resume(
    ray: Any, in_process: Callable[[str], dict[str, Any]], tmp_path: Path
) -> None:
    """Whatever they do then."""
    options: dict[str, Any] = {"checkpoint": tmp_path / "state"}
    with on(make_task, 2) as workers:

        def kill(trial: rs.Trial) -> None:
            if trial.number == 2:
                ray.kill(workers._pool[0].actor)
            if trial.number == 6:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            search(make_task(), "asha", workers, callback=kill, **options)
    with on(make_task, 1) as workers:
        assert outcome(search(make_task(), "asha", workers, **options)) == in_process("asha")


@pytest.mark.parametrize("fidelity", [pytest.param("none", marks=pytest.mark.slow), "successive_halving"])
def test_a_plan_that_kills_its_worker_every_time_has_failed_and_the_search_goes_on(
    ray: Any, in_process: Callable[[str], dict[str, Any]], fidelity: str
) -> None:
    deadly = rs.RankPlan.from_json(in_process(fidelity)["trials"][1]["plan"])
    with on(partial(make_task, deadly=json.dumps(deadly.to_dict())), 1) as workers:
        result = search(make_task(), fidelity, workers)
    assert len(result.trials) == 9
    assert [trial.number for trial in result.trials if trial.state != "done"] == [2]
    failed = result.trials[1]
    assert (failed.plan, failed.state, failed.score) == (deadly, "failed", None)
    assert failed.failure is not None
    assert failed.failure.startswith("its worker was lost 3 times (killed, out of memory or crashed)")
    assert "\n" not in failed.failure
    assert result.plan != deadly
    assert result.meter["evaluations"] == 9


def test_a_task_that_cannot_be_made_is_an_error_in_a_line(ray: Any) -> None:
    with (
        on(refuse_task, 1) as workers,
        pytest.raises(OperationError, match=r"^a worker cannot make the task: there is no data here$"),
    ):
        search(make_task(), "none", workers)


def test_workers_of_a_searcher_that_goes_its_own_way_are_refused(ray: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"goes its own way, step by step: .* can have workers$"):
        rs.search(make_task(), "uniform", workers=on(make_task, 0))
