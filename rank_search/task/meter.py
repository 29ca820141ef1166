"""What a search has used, and the limits it may not pass."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from typing import ClassVar

import numpy as np

from rank_search.errors import InvalidInputError, LimitReached

COUNTS = ("evaluations", "samples_forward", "samples_trained", "decompositions")


@dataclass(frozen=True)
class Limits:
    """What a search may spend; None is no limit. Counts are never passed; seconds are looked at between steps.

    Args:
        evaluations: plans built and validated (a plan met again is answered from a cache and costs nothing).
        samples_forward: images run forward without gradient (batch-norm recalibration and validation).
        samples_trained: images run forward and backward.
        decompositions: pairs of layer and form whose factorisation was used, cached on disk or not; a method that
            decomposes weights it trains is charged for every layer every time.
        cpu_seconds, wall_seconds: time of the search. A search that ends on them is not reproducible by seed.
    """

    evaluations: int | None = None
    samples_forward: int | None = None
    samples_trained: int | None = None
    decompositions: int | None = None
    cpu_seconds: float | None = None
    wall_seconds: float | None = None

    __pydantic_config__: ClassVar[dict[str, str]] = {"extra": "forbid"}  # how a config file reads this section

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, np.number):
                value = value.item()
                object.__setattr__(self, field.name, value)
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float) or not value > 0):
                raise InvalidInputError(f"limit {field.name}={value!r} is not allowed: give a number above 0, or None")


class Meter:
    """Counts what the oracles of one task do.

    Attributes:
        evaluations, samples_forward, samples_trained, decompositions: see :class:`Limits`.
        limits: counts beyond these are refused before the work is done.
        hopeless: called with the name of a limit on seconds that has passed in a step which cannot be interrupted; None
            lets it hang.
    """

    hopeless: Callable[[str], None] | None = None

    def __init__(self, limits: Limits | None = None) -> None:
        self.limits = limits or Limits()
        self.evaluations = self.samples_forward = self.samples_trained = self.decompositions = 0
        self._before = (0.0, 0.0)
        self._simulated = self._elsewhere = 0.0
        self._inside, self._depth = 0.0, 0
        self._started = (time.process_time(), time.perf_counter())

    def __repr__(self) -> str:
        return f"Meter({', '.join(f'{name}={getattr(self, name)}' for name in COUNTS)})"

    def charge(self, **counts: int) -> None:
        """Adds to the counts, all or none.

        Raises:
            LimitReached: if a count would pass its limit; nothing is added then.
            InvalidInputError: for a count that does not exist, or an amount that is no whole number from 0.
        """
        for name, amount in counts.items():
            if name not in COUNTS:
                raise InvalidInputError(f"the meter has no {name!r}; it counts {', '.join(COUNTS)}")
            if isinstance(amount, bool) or not isinstance(amount, int | np.integer) or amount < 0:
                raise InvalidInputError(f"{name}={amount!r} cannot be charged: give a whole number from 0")
        for name, amount in counts.items():
            limit = getattr(self.limits, name)
            if limit is not None and getattr(self, name) + amount > limit:
                raise LimitReached(f"{name} would pass the limit of {limit}")
        for name, amount in counts.items():
            setattr(self, name, getattr(self, name) + int(amount))

    def simulate(self, seconds: float) -> None:
        """Adds time that work which was recorded before took then, to both clocks."""
        self._simulated += seconds

    def elsewhere(self, cpu_seconds: float) -> None:
        """Adds CPU time that other processes spent for this search."""
        self._elsewhere += cpu_seconds

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Metered work: the CPU time that passes here is the task's, not the searcher's."""
        started = time.process_time()
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self._inside += time.process_time() - started

    @property
    def outside_cpu_seconds(self) -> float:
        """CPU time that was spent outside of metered work, since the meter started or the search was resumed."""
        return time.process_time() - self._started[0] - self._inside

    @property
    def inside_cpu_seconds(self) -> float:
        """CPU time of metered work, that of other processes among it, since the meter started or the search resumed."""
        return self._inside + self._elsewhere

    @property
    def cpu_seconds(self) -> float:
        """CPU time of this process and its workers since the meter started, and before a resume, and simulated time."""
        return self._before[0] + self._simulated + self._elsewhere + time.process_time() - self._started[0]

    @property
    def wall_seconds(self) -> float:
        """Wall time since the meter started, and before a resume; simulated time counts."""
        return self._before[1] + self._simulated + time.perf_counter() - self._started[1]

    def exhausted(self) -> str | None:
        """The first limit that is reached, as ``"evaluations"`` or ``"wall_seconds"``; None when there is room.

        A search may go on when its decompositions are used up: what is decomposed already costs no more.
        """
        names = (field.name for field in fields(self.limits) if field.name != "decompositions")
        return next((name for name in names if self.passed(name)), None)

    def passed(self, name: str) -> bool:
        """Whether this limit is reached."""
        limit = getattr(self.limits, name)
        return limit is not None and getattr(self, name) >= limit

    def reading(self) -> dict[str, float | int]:
        """All counts and seconds by name."""
        return {name: getattr(self, name) for name in (*COUNTS, "cpu_seconds", "wall_seconds")}

    def load(self, reading: dict[str, float | int]) -> None:
        """Goes on from an earlier reading, as after a resume."""
        for name in COUNTS:
            setattr(self, name, int(reading[name]))
        self._before, self._simulated = (float(reading["cpu_seconds"]), float(reading["wall_seconds"])), 0.0
        self._elsewhere = 0.0
        self._started = (time.process_time(), time.perf_counter())
