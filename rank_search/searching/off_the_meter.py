"""Telling work that no meter saw by the CPU time that it took."""

from __future__ import annotations

from collections.abc import Iterator

from rank_search.task.task import Task

FAR = 10.0  # times what the counted work takes
LEAST_SECONDS = 2.0


def off_the_meter(task: Task) -> Iterator[str]:
    """A remark if a search used far more CPU time than what it was charged for takes by the task's own timing.

    A method may have a reason to (a solver, a model of its own); whoever compares it with others must know. The task is
    timed only where it matters.
    """
    outside, own = task.meter.outside_cpu_seconds, task.meter.inside_cpu_seconds
    if outside < max(LEAST_SECONDS, FAR * own):
        return
    own += task.seconds_of_samples()
    if outside > FAR * own:
        counted = task.meter.samples_trained + task.meter.samples_forward
        yield (
            f"{outside:.0f} CPU s outside of metered work, {outside / max(own, 0.01):.0f} times what the {counted} "
            "samples that it was charged for take"
        )
