"""A function over many jobs on Ray's workers, results as they come; or in this process, one after another."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TypeVar

from rank_search.errors import RunError
from rank_search.run.config import RunConfig
from rank_search.run.ray_start import connected, line_of
from rank_search.run.resources import at_once, cpus_of_this_machine, of_actor

Job = TypeVar("Job")
Result = TypeVar("Result")


def mapped_jobs(
    function: Callable[[Job], Result], jobs: Sequence[Job], settings: RunConfig, in_process: bool
) -> Iterator[Result]:
    """The results of all jobs; on Ray in the order in which they finish.

    Args:
        function: at the top level of a module, so that workers find it.
        jobs: plain values.
        settings: workers, threads, retries of a job whose worker died, the address of a cluster.
        in_process: without Ray.

    Raises:
        RunError: if Ray cannot be started, or a job failed; what was yielded before is the caller's.
    """
    if in_process or not jobs:
        yield from map(function, jobs)
        return
    with connected(settings, cpus_of_this_machine(settings)) as ray:
        try:
            remote = ray.remote(**of_actor(settings), max_retries=settings.retries)(function)
            waiting = iter(jobs)
            running = [remote.remote(job) for job in islice(waiting, 2 * at_once(settings))]
            while running:
                (ready,), running = ray.wait(running, num_returns=1)
                yield ray.get(ready)
                running += [remote.remote(job) for job in islice(waiting, 1)]
        except ray.exceptions.RayError as error:
            raise RunError(f"a worker failed: {line_of(error)}; what is done is kept: go on with it") from error
