"""Actors on Ray that evaluate the plans of one search; each holds the task."""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from torch import nn

from rank_search.errors import EvaluationError, OperationError, RankSearchError, RunError, told
from rank_search.run.ray_start import line_of
from rank_search.searching import Workers
from rank_search.searching.workers import Job, Outcome, TaskWorker
from rank_search.task import Task

MOST_LOSSES = 3  # workers that one trial may take with it


@dataclass
class _Held:
    """An actor, and what it does now: a job, or nothing but starting."""

    actor: Any
    reference: Any
    job: Job | None = None


class RayWorkers(Workers):
    """So many actors on the Ray that this process is connected to.

    Jobs are taken in the order of their trials; the training of a trial stays with the actor that began it. A job whose
    actor is lost is done again by another; one that has lost three is a failed evaluation.

    Args:
        make_task: called in every actor for the task; what it holds travels once per node.
        count: of actors.
        resources: of an actor, as ``ray.remote`` takes them: ``num_cpus``, ``num_gpus``, ``resources``.
        threads: that an actor computes with.
    """

    def __init__(
        self,
        make_task: Callable[[], Task],
        count: int,
        resources: Mapping[str, Any] | None = None,
        threads: int = 1,
    ) -> None:
        import ray

        self._ray = ray
        self._make_task, self._threads = ray.put(make_task), threads
        self._actor = ray.remote(**{"num_cpus": threads, **(resources or {}), "max_restarts": 0})(_Evaluating)
        self._queue: list[Job] = []
        self._known: set[Job] = set()
        self._outcomes: dict[Job, Outcome | BaseException] = {}
        self._home: dict[int, _Held] = {}
        self._losses: Counter[int] = Counter()
        self._false_starts = 0
        self._pool = [self._new() for _ in range(count)]

    def serve(self, task: Task) -> None:
        self._task = task

    def start(self, job: Job) -> None:
        if job in self._known:
            return
        self._known.add(job)
        self._queue.append(job)
        self._queue.sort(key=lambda queued: (queued.number, queued.epochs or 0))
        self._dispatch()

    def outcome(self, job: Job) -> Outcome:
        self.start(job)
        while job not in self._outcomes:
            self._wait()
        found = self._outcomes[job]
        if job.epochs is None:
            self.forget(job.number)
        if isinstance(found, BaseException) and not isinstance(found, EvaluationError):
            raise found
        return found

    def network(self, job: Job) -> nn.Module:
        home = self._home.get(job.number)
        while home is not None and home.job is not None and home.job.number == job.number:
            self._wait()  # it has been trained on ahead
            home = self._home.get(job.number)
        asked = home or self._pool[0]
        while asked.reference is not None:
            self._wait()
            asked = self._home.get(job.number) or self._pool[0]
        try:
            state = self._ray.get(asked.actor.network.remote(job))
        except self._ray.exceptions.RayActorError:
            self._replace(asked)
            return self.network(job)
        network = self._task.under(self._task.budget, self._task.seed).compress(job.plan)
        network.load_state_dict(state)
        return network

    def forget(self, number: int) -> None:
        self._queue = [job for job in self._queue if job.number != number]
        for job in [job for job in self._known if job.number == number]:
            self._known.discard(job)
            self._outcomes.pop(job, None)
        home = self._home.pop(number, None)
        if home is not None:
            home.actor.forget.remote(number)

    def close(self) -> None:
        """Ends the actors."""
        for held in self._pool:
            self._ray.kill(held.actor)
        self._pool = []

    def __enter__(self) -> RayWorkers:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _new(self) -> _Held:
        actor = self._actor.remote(self._make_task, self._threads)
        return _Held(actor, actor.ready.remote())

    def _dispatch(self) -> None:
        """Gives queued jobs to idle actors: those of a trial in training to its own."""
        for held in self._pool:
            if held.reference is not None:
                continue
            job = next((job for job in self._queue if self._home.get(job.number, held) is held), None)
            if job is None:
                continue
            self._queue.remove(job)
            if job.epochs is not None:
                self._home[job.number] = held
            held.job, held.reference = job, held.actor.do.remote(job)

    def _wait(self) -> None:
        """Until one actor has ended what it does."""
        (ready,), _ = self._ray.wait([held.reference for held in self._pool if held.reference is not None])
        held = next(held for held in self._pool if held.reference == ready)
        try:
            found, cpu_seconds = self._ray.get(ready)
        except self._ray.exceptions.RayActorError as error:
            self._lose(held, error)
        else:
            self._task.meter.elsewhere(cpu_seconds)
            job, held.job, held.reference = held.job, None, None
            if job is None:
                self._false_starts = 0
                if isinstance(found, BaseException):
                    raise found
            elif job in self._known:
                self._outcomes[job] = found
                if isinstance(found, Outcome):
                    self.on_outcome(job, found)
        self._dispatch()

    def _lose(self, held: _Held, error: BaseException) -> None:
        """An actor is gone: another takes its place, and its job is done again, or has failed."""
        job = held.job
        self._replace(held)
        if job is None:
            self._false_starts += 1
            if self._false_starts >= MOST_LOSSES:
                raise RunError(f"a worker of the search cannot be started: {line_of(error)}") from None
            return
        if job not in self._known:
            return
        self._losses[job.number] += 1
        times = self._losses[job.number]
        if times >= MOST_LOSSES:
            self._outcomes[job] = EvaluationError(
                f"its worker was lost {times} times (killed, out of memory or crashed), the last time: {line_of(error)}"
            )
            return
        logging.getLogger("rank_search").warning(
            "A worker of the search was lost: trial %d is evaluated again (%d of %d).", job.number, times, MOST_LOSSES
        )
        self._queue.insert(0, job)

    def _replace(self, held: _Held) -> None:
        self._home = {number: home for number, home in self._home.items() if home is not held}
        new = self._new()
        held.actor, held.reference, held.job = new.actor, new.reference, None


class _Evaluating:
    """In an actor: the task, and the networks in training."""

    def __init__(self, make_task: Callable[[], Task], threads: int) -> None:
        import torch
        from threadpoolctl import threadpool_limits

        torch.set_num_threads(threads)
        threadpool_limits(threads)
        self._make_task = make_task
        self._worker: TaskWorker | None = None

    def ready(self) -> tuple[BaseException | None, float]:
        """Makes the task; what is wrong with it, and CPU seconds."""
        try:
            self._worker = TaskWorker(self._make_task())
        except Exception as error:
            why = str(error) if isinstance(error, RankSearchError) else told(error)
            return OperationError(f"a worker cannot make the task: {why}"), 0.0
        return None, 0.0

    def do(self, job: Job) -> tuple[Any, float]:
        """The outcome of a job, or what it raised; CPU seconds."""
        assert self._worker is not None
        started = time.process_time()
        try:
            found: Any = self._worker.do(job)
        except RankSearchError as error:
            found = error
        except Exception as error:
            found = OperationError(told(error))
        return found, time.process_time() - started

    def network(self, job: Job) -> dict[str, Any]:
        """The state of a job's network."""
        assert self._worker is not None
        return {name: tensor.detach().cpu() for name, tensor in self._worker.network(job).state_dict().items()}

    def forget(self, number: int) -> None:
        """Drops a trial's network."""
        if self._worker is not None:
            self._worker.forget(number)
