"""Live progress of a bench in the terminal; plain lines where there is no terminal."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table

from rank_search.records.schema import shown
from rank_search.run.cells import Cell
from rank_search.run.observer import Observer

LONGEST_REASON = 200


def _cut(text: str) -> str:
    """A reason that reads in a line or two; the cell's folder has it whole."""
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 3]}..."


class LiveProgress(Observer):
    """Cells done, the incumbent of each running one, and the time left.

    Args:
        console: where to draw.
    """

    def __init__(self, console: Console) -> None:
        self._console = console
        self._running: dict[str, tuple[int, float | None]] = {}
        self._bar = Progress(
            TextColumn("cells"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
        )
        self._task: TaskID | None = None
        self._live: Live | None = None
        self._total = self._done = self._done_before = 0
        self._started = time.monotonic()

    def begin(self, cells: Sequence[Cell], finished: Sequence[Cell]) -> None:
        self._total, self._done, self._done_before = len(cells), len(finished), len(finished)
        self._started = time.monotonic()
        self._console.print(f"{len(cells)} cells" + (f", {len(finished)} of them done before" if finished else ""))
        if self._console.is_terminal:
            self._task = self._bar.add_task("cells", total=len(cells), completed=len(finished), left="")
            self._live = Live(self._view(), console=self._console, refresh_per_second=4, transient=True)
            self._live.start()

    def progress(self, cell: Cell, evaluations: int, incumbent: float | None) -> None:
        self._running[cell.id] = (evaluations, incumbent)
        self._refresh()

    def finish(self, cell: Cell, row: Mapping[str, Any]) -> None:
        self._running.pop(cell.id, None)
        self._done += 1
        if row["status"] == "done":
            measure = row["measure"]
            value = shown(row[f"val_{measure}"], row["unit"])
            what = "validation" if measure == "accuracy" else f"validation {measure}"
            said = f"kept {row['kept_macs']:.3f} MACs, {what} {value}"
            said += f" (the search stopped early: {_cut(row['reason'])})" if row["reason"] else ""
        else:
            said = f"failed: {_cut(row['reason'])}"
        self._console.print(
            f"{self._done:>4}/{self._total} {cell.id}: {said}{self._left()}", highlight=False, markup=False
        )
        if self._task is not None:
            self._bar.update(self._task, completed=self._done, left=self._left().lstrip(", "))
        self._refresh()

    def end(self, complete: bool) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _left(self) -> str:
        done = self._done - self._done_before
        if done < max(2, self._total // 10) or self._done >= self._total:  # the first ones wait for processes to start
            return ""
        seconds = (time.monotonic() - self._started) / done * (self._total - self._done)
        return f", about {int(seconds // 60)}:{int(seconds % 60):02d} left"

    def _refresh(self) -> None:
        if self._live is not None:
            self._live.update(self._view())

    def _view(self) -> Group:
        table = Table.grid(padding=(0, 2))
        for name, (evaluations, incumbent) in self._running.items():
            best = "no score yet" if incumbent is None else f"best {incumbent:.4f}"
            table.add_row(f"  {name}", f"{evaluations} evaluations", best)
        return Group(table, self._bar)
