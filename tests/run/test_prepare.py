"""Preparing a task: what workers read is what the driver measured, covariances among it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from small_bench import SMALL

from rank_search.errors import InfeasibleBudgetError, RunError
from rank_search.run import shared_task
from rank_search.run.bench import bench
from rank_search.run.config import Config, load_config
from rank_search.run.prepare import load_prepared, prepare_task
from rank_search.run.task_space import COVARIANCES, FACTORS, untrained_space
from rank_search.space import RankSpace
from rank_search.task import load_model
from rank_search.task.data.load_data import load_data

pytestmark = pytest.mark.usefixtures("single_thread")


@pytest.fixture
def config_with(small_config: Callable[..., Path]) -> Callable[..., Config]:
    def make(**space: Any) -> Config:
        task = {**SMALL["tasks"]["digits"], "space": {"forms": ["tucker2", "svd_grouped"], **space}}
        return load_config(small_config(tasks={"digits": task}))

    return make


def test_activation_errors_are_measured_once_and_read_by_every_worker(
    config_with: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = config_with(errors="activation", calibration_samples=50)
    prepared = prepare_task(config, "digits", tmp_path / "task").task.space
    assert (tmp_path / "task" / COVARIANCES).exists()

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("measured again")

    monkeypatch.setattr("rank_search.run.task_space.input_covariances", refuse)
    read = load_prepared(config, "digits", tmp_path / "task").task.space
    for mine, theirs in zip(prepared.layers, read.layers, strict=True):
        assert mine.errors.tobytes() == theirs.errors.tobytes()
        assert mine.ranks.tobytes() == theirs.ranks.tobytes()


def test_activation_errors_are_the_centred_ones_of_the_first_training_images_where_batch_norm_is_mended(
    config_with: Callable[..., Config], tmp_path: Path
) -> None:
    config = config_with(errors="activation", calibration_samples=50, prune=False)
    task = prepare_task(config, "digits", tmp_path / "task").task
    data = load_data("digits", validation=100, test=100)
    images = data.normalise(data.train.subset(50, seed=0).images)
    rows = images.movedim(1, -1).reshape(-1, 1).double()
    first = task.space.layers[0]
    assert first.layer.name == "conv1"
    assert first.weight.scale == pytest.approx(float(rows.var(correction=0)), rel=1e-4)
    plain = RankSpace.from_model(task.model, torch.zeros(1, 1, 8, 8), ["tucker2", "svd_grouped"])
    assert [len(options) for options in plain.layers] == [len(options) for options in task.space.layers]
    assert any((a != b).any() for a, b in zip(plain.relative_errors(), task.space.relative_errors(), strict=True))


def test_the_keys_of_the_space_reach_it(config_with: Callable[..., Config], tmp_path: Path) -> None:
    full = prepare_task(config_with(prune=False), "digits", tmp_path / "full").task.space
    pruned = prepare_task(config_with(), "digits", tmp_path / "pruned").task.space
    few = prepare_task(config_with(max_options=9), "digits", tmp_path / "few").task.space
    eights = prepare_task(config_with(prune=False, multiple_of=4), "digits", tmp_path / "four").task.space
    assert pruned.smallest_cost == full.smallest_cost == few.smallest_cost
    assert 9 <= max(map(len, few.layers)) <= 9 < max(map(len, pruned.layers)) < max(map(len, full.layers))
    assert max(map(len, eights.layers)) < max(map(len, full.layers))
    section = config_with(max_options=9).tasks["digits"]
    assert [len(options) for options in untrained_space(section).layers] == [len(o) for o in full.layers]


def test_a_run_that_goes_on_with_other_data_says_so(small_config: Callable[..., Path], tmp_path: Path) -> None:
    config = load_config(small_config())
    prepare_task(config, "digits", tmp_path / "task")
    prepare_task(config, "digits", tmp_path / "task")  # the same again
    split = {**SMALL["tasks"]["digits"], "data": {**SMALL["tasks"]["digits"]["data"], "seed": 3}}
    config = load_config(small_config(tasks={"digits": split}))  # as if the files themselves had changed
    with pytest.raises(RunError, match="its data are not those that this run began with"):
        prepare_task(config, "digits", tmp_path / "task")


def test_a_run_that_goes_on_with_other_weights_says_so(small_config: Callable[..., Path], tmp_path: Path) -> None:
    file = tmp_path / "net.safetensors"

    def keep(seed: int) -> None:
        torch.manual_seed(seed)
        save_file(load_model("digits_net", width=6).state_dict(), file)

    keep(0)
    digits = SMALL["tasks"]["digits"]
    model = {"name": "digits_net", "options": {"width": 6}, "weights": str(file)}
    config = load_config(small_config(tasks={"digits": {**digits, "model": model}}))
    first = prepare_task(config, "digits", tmp_path / "task")
    keep(1)
    with pytest.raises(RunError, match=r"the weights in .*net\.safetensors are not those that this run began with"):
        prepare_task(config, "digits", tmp_path / "task")
    keep(0)
    prepare_task(config, "digits", tmp_path / "task")
    file.unlink()  # what the run needs of it lies in its folder
    again = prepare_task(config, "digits", tmp_path / "task")
    assert again.dense == first.dense


def test_a_budget_that_cannot_be_met_is_refused_before_anything_is_decomposed(
    small_config: Callable[..., Path], tmp_path: Path
) -> None:
    config = load_config(small_config(budgets=[{"macs": 0.5}, {"macs": 0.0001}]))
    with pytest.raises(
        InfeasibleBudgetError, match=r"no plan of this space meets the budget macs=0\.0001.*give at least macs=0\.\d+$"
    ):
        prepare_task(config, "digits", tmp_path / "task")
    assert not (tmp_path / "task" / FACTORS).exists()


def test_cells_of_the_process_that_prepared_a_task_take_it_and_it_is_let_go(
    small_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("loaded again")

    monkeypatch.setattr(shared_task, "load_prepared", refuse)
    folder = bench(load_config(small_config()), tmp_path / "run", in_process=True)
    rows = [json.loads(path.read_text()) for path in folder.glob("cells/*/result.json")]
    assert rows
    assert {row["status"] for row in rows} == {"done"}
    assert not [key for key in shared_task._prepared if str(folder) in key]
