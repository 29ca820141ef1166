"""What it costs to look twice: how much of a bench's CPU time goes to checks that nothing was bent.

Runs the quickstart's cells in process and adds up the CPU time of the trial of replaced layers, of the digests of what
searches share, of counting finished networks once more, and of putting the process back; then the time that the trial
adds to the space of a ResNet-50.

    python benchmarks/verification_cost.py
"""

from __future__ import annotations

import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torchvision.models import resnet50

import rank_search as rs
from rank_search.isolation import _streams, _taken
from rank_search.run.bench import bench
from rank_search.run.config import load_config

spent: dict[str, float] = defaultdict(float)


def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    def call(*args: Any, **kwargs: Any) -> Any:
        start = time.process_time()
        try:
            return function(*args, **kwargs)
        finally:
            spent[name] += time.process_time() - start

    return call


def watch(module: Any, name: str) -> Callable[[], None]:
    original = getattr(module, name)
    setattr(module, name, timed(name, original))
    return lambda: setattr(module, name, original)


def main() -> None:
    torch.set_num_threads(1)
    import rank_search.run.shared_task as shared_task
    import rank_search.space.space as space
    import rank_search.task.task as task

    back = [
        watch(space, "why_not_replaceable"),
        watch(shared_task, "task_digest"),
        watch(task, "verify_cost"),
    ]
    with tempfile.TemporaryDirectory() as folder:
        start = time.process_time()
        bench(load_config("quickstart", ["run.tracking=none"]), Path(folder) / "run", in_process=True)
        whole = time.process_time() - start
        cells = len(list((Path(folder) / "run" / "cells").iterdir()))
    for put_back in back:
        put_back()

    start = time.process_time()
    for _ in range(100):
        with _streams():
            for put_back_state in _taken():
                put_back_state()
    spent["isolated (three times a cell)"] = 3 * cells * (time.process_time() - start) / 100
    for name, seconds in spent.items():
        print(f"{name:32} {seconds:7.2f} CPU s  {100 * seconds / whole:5.2f} % of the quickstart")
    print(
        f"{'together':32} {sum(spent.values()):7.2f} CPU s  {100 * sum(spent.values()) / whole:5.2f} % of {whole:.0f} s"
    )

    model, example = resnet50().eval(), torch.zeros(1, 3, 224, 224)
    rs.RankSpace.from_model(model, example)
    seconds = []
    for tried in (True, False):
        if not tried:
            space.why_not_replaceable = lambda *args: {}
        rounds = []
        for _ in range(3):
            start = time.process_time()
            rs.RankSpace.from_model(model, example)
            rounds.append(time.process_time() - start)
        seconds.append(min(rounds))
    print(f"ResNet-50, from_model: {seconds[0]:.2f} CPU s, without the trial {seconds[1]:.2f} CPU s")


if __name__ == "__main__":
    main()
