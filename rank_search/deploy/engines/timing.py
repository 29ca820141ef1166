"""Timing networks in turn, so that what else the machine does slows all of them alike."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rank_search.deploy.engines.engine import Runner
from rank_search.deploy.engines.prepared import seconds_of
from rank_search.errors import InvalidInputError

WARM_UP, ROUNDS, SLICE_S, LIMIT_S = 2, 9, 2e-3, 10.0
SLOW_S = 0.2  # a run of which needs no further one to warm up


@dataclass(frozen=True)
class Timing:
    """Seconds of one call.

    Args:
        least: of all rounds: what the arithmetic takes when nothing disturbs it.
        median: of all rounds.
        noise: how far the rounds' lower half scatters: (median - least) / least.
    """

    least: float
    median: float

    @property
    def noise(self) -> float:
        return (self.median - self.least) / max(self.least, 1e-12)


def time_in_turn(
    runners: Sequence[Runner], rounds: int = ROUNDS, slice_s: float = SLICE_S, limit_s: float = LIMIT_S
) -> list[Timing]:
    """Times every runner in each of several rounds, one after another.

    Args:
        runners: each warmed up here.
        rounds: fewer, at least two, where they would take longer than ``limit_s``.
        slice_s: a round repeats a runner until about so many seconds are measured.
        limit_s: wall-clock seconds after which no further round begins.
    """
    if rounds < 1:
        raise InvalidInputError(f"rounds={rounds!r} is not allowed: give a whole number from 1")
    calls = []
    for runner in runners:
        seconds = seconds_of(runner, 1)
        if seconds < SLOW_S:
            seconds_of(runner, WARM_UP - 1)
            seconds = seconds_of(runner, 1)
        calls.append(max(1, round(slice_s / max(seconds, 1e-7))))
    begun = time.perf_counter()
    spent: list[list[float]] = [[] for _ in runners]
    for done in range(rounds):
        if done >= 2 and time.perf_counter() - begun > limit_s:
            break
        for runner, count, times in zip(runners, calls, spent, strict=True):
            times.append(seconds_of(runner, count) / count)
    return [Timing(float(np.min(times)), float(np.median(times))) for times in spent]
