"""How far a long command is: a bar where there is a terminal, a line for every step that took a while."""

from __future__ import annotations

import time
from types import TracebackType

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

SHORTEST = 0.5
"""Seconds from which a step is worth a line."""


class StepLines:
    """A listener (:mod:`rank_search.listening`) that draws, used in a ``with``.

    Args:
        console: where to.
    """

    def __init__(self, console: Console) -> None:
        self._console, self._step, self._said = console, "", ""
        self._began = self._last = time.monotonic()
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def __enter__(self) -> StepLines:
        if self._console.is_terminal:
            columns = TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[of]}")
            self._bar = Progress(*columns, TimeRemainingColumn(), console=self._console, transient=True)
            self._bar.start()
        return self

    def __call__(self, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if step != self._step:
            self._finish()
            self._step, self._began = step, now
            if self._bar is not None:
                self._task = self._bar.add_task(step, total=total or None, of="")
        self._last, self._said = now, f"{done} of {total}" if total else str(done)
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, total=total or None, of=self._said)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._finish()
        if self._bar is not None:
            self._bar.stop()

    def _finish(self) -> None:
        """Leaves a line of the step that is over."""
        took = self._last - self._began
        if self._bar is not None and self._task is not None:
            self._bar.remove_task(self._task)
            self._task = None
        if self._step and took >= SHORTEST:
            self._console.print(f"{self._step}: {self._said}, {took:.1f} s", highlight=False, markup=False)
        self._step = ""
