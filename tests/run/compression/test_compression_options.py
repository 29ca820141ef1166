"""Options of ``rank-search compress`` reach what they speak of."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rank_search.errors import ConfigError
from rank_search.run.compression import compression_config
from rank_search.space import Budget
from rank_search.task.data.load_data import load_data

NET = "cifar_resnet20"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for number in range(20):
        Image.fromarray(np.full((32, 32, 3), number, dtype=np.uint8)).save(tmp_path / f"{number:02}.png")
    return tmp_path


def test_the_seed_is_of_the_split(folder: Path) -> None:
    held_out = []
    for seed in (0, 1, 1):
        (task,) = compression_config(NET, None, folder, [Budget(macs=0.5)], seed=seed).tasks.values()
        data = load_data(task.data.name, **task.data.options)
        held_out.append(sorted(int(image[0, 0, 0]) for image in data.validation.images))
    assert len(held_out[0]) == 4
    assert held_out[0] != held_out[1] == held_out[2]


def test_the_batch_is_of_a_time_with_and_without_an_engine() -> None:
    def target(budget: Budget, engine: str | None, batch: int) -> tuple[object, int] | None:
        (task,) = compression_config(NET, None, None, [budget], engine=engine, batch=batch).tasks.values()
        return None if task.target is None else (task.target.engine, task.target.batch)

    assert target(Budget(latency_ms=0.9), None, 8) == ("eager", 8)
    assert target(Budget(macs=0.5), "compile", 8) == ("compile", 8)
    assert target(Budget(macs=0.5), None, 1) is None
    with pytest.raises(ConfigError, match="--batch 8 is how many inputs are timed at once"):
        target(Budget(macs=0.5), None, 8)
