"""What tracking costs the driver: 40 cells with a database in the run folder, and with none, in turn.

Cells run in this process, so all that tracking does is in its CPU time; under Ray the cells are elsewhere. They are
short ones (6 evaluations, one epoch of fine-tuning, a narrow net), so the ratios are worse than those of a real bench.

    python benchmarks/tracking_overhead.py [--tracking http://HOST:PORT] [--rounds 2]
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch

from rank_search.run.bench import bench
from rank_search.run.config import Config, load_config
from rank_search.run.observer import Observer

CELLS = 40


class Marks(Observer):
    """When the first cell began and when the last one ended."""

    def begin(self, *args: Any) -> None:
        self.began = time.process_time(), time.monotonic()

    def finish(self, *args: Any) -> None:
        self.ended = time.process_time(), time.monotonic()


def measured(config: Config) -> dict[str, float]:
    """Seconds of CPU and wall of a bench: in all, and from the first cell to the last."""
    marks = Marks()
    start = time.process_time(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        bench(config, Path(folder) / "run", in_process=True, observer=marks)
    cpu, wall = time.process_time(), time.monotonic()
    return {
        "CPU": cpu - start[0],
        "wall": wall - start[1],
        "CPU from first cell to last": marks.ended[0] - marks.began[0],
        "wall from first cell to last": marks.ended[1] - marks.began[1],
        "wall after the last cell": wall - marks.ended[1],
    }


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--tracking", default="null", help="an MLflow URI; the run folder's database unless given")
    parser.add_argument("--rounds", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    cells = ["searchers=[random, uniform]", f"seeds={[*range(CELLS // 2)]}", "budgets=[{macs: 0.5}]"]
    cells += ["limits.evaluations=6", "tasks.digits.finetune.epochs=1", "tasks.digits.model.train.epochs=1"]
    cells += ["tasks.digits.model.options={width: 6}", "tasks.digits.space.forms=[tucker2]"]
    measured(load_config("quickstart", [*cells, "seeds=[0]", f"run.tracking={options.tracking}"]))  # imports, caches
    rounds: list[tuple[dict[str, float], dict[str, float]]] = []
    for _ in range(options.rounds):
        tracked, plain = (
            measured(load_config("quickstart", [*cells, f"run.tracking={where}"]))
            for where in (options.tracking, "none")
        )
        rounds.append((tracked, plain))
    for name in rounds[0][0]:
        with_it, without = (statistics.median(each[which][name] for each in rounds) for which in (0, 1))
        ratio = f", ratio {with_it / without:.3f}" if without > 1 else ""
        print(f"{name:30} {with_it:7.2f} s with tracking, {without:7.2f} s without{ratio}")
    extra = statistics.median(a["CPU"] - b["CPU"] for a, b in rounds)
    print(f"tracking: {extra:.2f} CPU s for {CELLS} cells, {1000 * extra / CELLS:.0f} ms a cell")


if __name__ == "__main__":
    main()
