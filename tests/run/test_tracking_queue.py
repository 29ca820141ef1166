"""The queue of jobs for MLflow: what waits, in which order, how long, and what is given up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

import pytest
import requests
from mlflow.exceptions import MlflowException, RestException

from rank_search.run.tracking_outage import is_outage
from rank_search.run.tracking_queue import JobQueue, Refusal

LONG = 300.0  # seconds; guards against hangs


class Clock:
    """Goes on when it is told."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


class Server:
    """Counts what it has done; away (``ConnectionError``) for the first tries."""

    def __init__(self, away: int = 0) -> None:
        self.away = away
        self.done: list[str] = []

    def job(self, name: str) -> Callable[[], None]:
        def do() -> None:
            if self.away:
                self.away -= 1
                raise ConnectionError(name)
            self.done.append(name)

        return do


def judge(error: Exception) -> Refusal:
    kinds = {ConnectionError: Refusal.OUTAGE, KeyError: Refusal.LOST}
    return kinds.get(type(error), Refusal.OWN)


def raising(error: Exception) -> Callable[[], None]:
    def do() -> None:
        raise error

    return do


@pytest.fixture
def started() -> Iterator[list[JobQueue]]:
    """Queues that are closed in the end."""
    queues: list[JobQueue] = []
    yield queues
    for queue in queues:
        queue.close()


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + LONG
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_jobs_are_done_in_order_and_there_is_one_a_key() -> None:
    server, queue = Server(), JobQueue(judge)
    assert queue.seconds_to_next() is None
    for key in ("open", "a", "b", "a", "c"):
        queue.put(key, server.job(f"{key} of {len(queue)}"))
    queue.put("close", server.job("close"), first=True)
    assert len(queue) == 5
    while queue.seconds_to_next() == 0:
        queue.work()
    assert server.done == ["close", "open of 0", "a of 3", "b of 2", "c of 3"]


def test_a_queue_holds_no_more_than_its_keys_while_nobody_answers() -> None:
    server, queue = Server(away=10**6), JobQueue(judge, clock=Clock())
    for round_ in range(500):
        queue.put(f"cell {round_ % 7}", server.job("x"))
        if round_ % 3 == 0:
            queue.work()
        assert len(queue) <= 7


def test_the_pause_doubles_up_to_five_seconds_and_ends_with_the_first_answer() -> None:
    clock, server, said = Clock(), Server(away=6), []
    queue = JobQueue(judge, lambda error, refusal: said.append(str(error)), lambda: said.append("answers"), clock)
    for key in ("open", "a"):
        queue.put(key, server.job(key))
    pauses = []
    while (pause := queue.seconds_to_next()) is not None:
        pauses.append(pause)
        clock.now += pause
        queue.work()
    assert pauses == [0, 0.5, 1, 2, 4, 5, 5, 0]
    assert sorted(server.done) == ["a", "open"]
    assert said == ["open", "a", "open", "a", "open", "a", "answers"]


def test_one_job_that_is_always_cut_off_holds_up_no_other() -> None:
    clock, server = Clock(), Server()
    queue = JobQueue(judge, clock=clock)
    queue.put("too big", raising(ConnectionError("cut off")))
    for key in ("a", "b"):
        queue.put(key, server.job(key))
    for _ in range(4):
        clock.now += queue.seconds_to_next() or 0.0
        queue.work()
    assert server.done == ["a", "b"]
    assert len(queue) == 1


def test_a_job_that_is_refused_itself_waits_for_the_end_and_a_newer_one_takes_its_place(
    started: list[JobQueue],
) -> None:
    server, queue = Server(), JobQueue(judge)
    started.append(queue)
    queue.put("a", raising(ValueError("too long")))
    queue.put("b", raising(ValueError("too long")))
    for _ in range(2):
        queue.work()
    assert queue.seconds_to_next() is None
    assert len(queue) == 2
    queue.put("b", server.job("b"))
    queue.work()
    assert len(queue) == 1
    queue.put("a", server.job("a"))
    queue.put("c", raising(ValueError("too long")))
    queue.start()
    assert not queue.drain(grace=LONG)
    assert server.done == ["b", "a"]
    assert len(queue) == 1


def test_what_is_put_in_while_the_same_is_in_hand_is_kept_whatever_comes_of_that(started: list[JobQueue]) -> None:
    entered, go = threading.Event(), threading.Event()
    server, queue = Server(), JobQueue(judge)
    started.append(queue)

    def slow() -> None:
        entered.set()
        assert go.wait(LONG)
        raise ConnectionError

    queue.put("a", slow)
    queue.start()
    assert entered.wait(LONG)
    queue.put("a", server.job("newer"))  # does not wait for it
    go.set()
    until(lambda: len(queue) == 0)
    assert queue.drain(LONG)
    assert server.done == ["newer"]


def test_after_a_loss_nothing_is_tried_before_the_end_and_there_once() -> None:
    tried, queue = [], JobQueue(judge)
    for key in ("a", "b"):

        def lost(key: str = key) -> None:
            tried.append(key)
            raise KeyError(key)

        queue.put(key, lost)
    queue.start()
    queue.wait_for("a", LONG)
    time.sleep(0.1)
    assert tried == ["a"]
    assert not queue.drain(LONG)
    assert len(tried) == 2
    queue.close()


def test_the_drain_gives_up_after_the_grace_and_not_while_it_goes_on(started: list[JobQueue]) -> None:
    server = Server(away=10**6)
    dead = JobQueue(judge)
    started.append(dead)
    dead.put("a", server.job("a"))
    dead.start()
    began = time.monotonic()
    assert not dead.drain(grace=0.8)
    assert 0.7 < time.monotonic() - began < 60
    assert len(dead) == 1

    slow = JobQueue(judge)
    started.append(slow)
    done = []
    for number in range(6):

        def job(number: int = number) -> None:
            time.sleep(0.2)
            done.append(number)

        slow.put(str(number), job)
    slow.start()
    assert slow.drain(grace=0.8)  # 1.2 seconds, each job less than the grace
    assert done == [*range(6)]


def test_the_drain_keeps_to_its_most_seconds_though_it_goes_on(started: list[JobQueue]) -> None:
    queue = JobQueue(judge)
    started.append(queue)
    for number in range(2000):
        queue.put(str(number), lambda: time.sleep(0.05))
    queue.start()
    began = time.monotonic()
    assert not queue.drain(grace=0.3, most=0.3)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    "error",
    [
        requests.ConnectionError("refused"),
        requests.ReadTimeout("slow"),
        requests.exceptions.RetryError("too many 503"),
        ConnectionResetError("reset"),
        TimeoutError("slow"),
        RestException({"error_code": "TEMPORARILY_UNAVAILABLE", "message": "later"}),
        RestException({"error_code": "INTERNAL_ERROR", "message": "oh"}),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:40],
)
def test_what_passes_by_itself_is_an_outage_wrapped_or_not(error: Exception) -> None:
    assert is_outage(error)
    wrapped = MlflowException("API request failed")
    wrapped.__context__ = error  # as MLflow does it, without "from"
    assert is_outage(wrapped)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 400, 401, 403, 404, 413])
def test_a_status_is_an_outage_from_500_and_where_it_asks_for_patience(status: int) -> None:
    response = requests.Response()
    response.status_code = status
    assert is_outage(requests.HTTPError("oh", response=response)) is (status in (408, 429, 500, 502, 503))


@pytest.mark.parametrize(
    "error",
    [
        ValueError("no"),
        FileNotFoundError("steps.csv"),
        MlflowException("a bug of the client's has the code of an internal error, too"),
        RestException({"error_code": "INVALID_PARAMETER_VALUE", "message": "bad name"}),
        RestException({"error_code": "PERMISSION_DENIED", "message": "who are you"}),
        RestException({"error_code": "RESOURCE_DOES_NOT_EXIST", "message": "deleted"}),
    ],
    ids=lambda error: f"{type(error).__name__} {error}"[:40],
)
def test_what_does_not_pass_is_none(error: Exception) -> None:
    assert not is_outage(error)
