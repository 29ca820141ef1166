"""What every benchmark here shares: alternating measurements, ratios of pairs, a table and a verdict."""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

Work = Callable[[], dict[str, float]]
"""One measured piece of work: runs, and returns the seconds of its named parts."""


@dataclass(frozen=True)
class Spread:
    """Median, least and greatest of repeated measurements."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: ArrayLike) -> Spread:
        array = np.asarray(values, dtype=np.float64)
        return cls(float(np.median(array)), float(array.min()), float(array.max()))

    def cells(self, unit: float = 1.0) -> list[str]:
        """Median and range as two cells of a table, divided by ``unit``."""
        low, middle, high = (f"{value / unit:.3g}" for value in (self.low, self.median, self.high))
        return [middle, f"{low}..{high}"]


def parser(description: str | None) -> argparse.ArgumentParser:
    """The command line that all benchmarks share."""
    result = argparse.ArgumentParser(description=description)
    result.add_argument("--threads", type=int, default=1, help="threads of torch and of NumPy's BLAS (default 1)")
    result.add_argument("--repetitions", type=int, default=None, help="instead of the benchmark's own number")
    return result


def use_threads(threads: int) -> None:
    """Fixes the threads of torch and of every BLAS for the rest of the process, and prints them."""
    torch.set_num_threads(threads)
    threadpool_limits(threads)
    print(
        f"torch {torch.__version__}, numpy {np.__version__}; threads: torch {torch.get_num_threads()}, BLAS {threads}"
    )


def seconds(work: Callable[[], object]) -> float:
    """Wall seconds of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def alternate(works: Sequence[Work], repetitions: int, limit_s: float, warm_up: bool = True) -> dict[str, list[float]]:
    """Runs all works in turn, again and again, every second round backwards: what disturbs one disturbs all.

    Args:
        works: the alternatives.
        repetitions: rounds at most.
        limit_s: no new round starts after this many seconds, but three are always run.
        warm_up: whether one uncounted round goes first.

    Returns:
        Per part its seconds in every round; the parts of one round stand at one position.
    """
    if warm_up:
        for work in works:
            work()
    found: dict[str, list[float]] = {}
    start = time.perf_counter()
    for done in range(repetitions):
        if done >= 3 and time.perf_counter() - start > limit_s:
            break
        for work in works if done % 2 == 0 else list(reversed(works)):
            for part, spent in work().items():
                found.setdefault(part, []).append(spent)
    return found


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Prints rows of text, the first column to the left, the others to the right."""
    lines = [list(header), *(list(row) for row in rows)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(header))]
    for line in lines:
        cells = [
            line[0].ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(line[1:], widths[1:], strict=True)),
        ]
        print("  ".join(cells).rstrip())


def print_verdict(target: str, measured: str, met: bool) -> None:
    """The last line of every benchmark."""
    print(f"target: {target}; measured: {measured}; {'met' if met else 'not met'}")
