"""A cell whose search trains: its weights, its equal share of the training, what it logs."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from small_bench import SMALL

import rank_search
from rank_search.run.cells import expand
from rank_search.run.config import Config, load_config
from rank_search.run.folder import RunFolder
from rank_search.run.prepare import prepare_task
from rank_search.run.run_cell import run_cell
from rank_search.task import load_model
from rank_search.task.data.load_data import load_data
from rank_search.task.networks.weights import load_weights

pytestmark = pytest.mark.usefixtures("single_thread")
BATUDE = {"name": "batude", "options": {"epochs": 2, "period": 0.5, "gating": "hard", "rho": 0.5, "lr": 0.05}}


@pytest.fixture
def cell_of(small_config: Callable[..., Path], tmp_path: Path) -> Callable[..., tuple[dict[str, Any], Path]]:
    """Runs one cell of a config; returns its row and its folder."""

    def run(searcher: dict[str, Any], **task: Any) -> tuple[dict[str, Any], Path]:
        digits = {**SMALL["tasks"]["digits"], "finetune": {"epochs": 3}, **task}
        path = small_config(tasks={"digits": digits}, searchers=[searcher], budgets=[{"macs": 0.4}], seeds=[0])
        config: Config = load_config(path)
        folder = RunFolder(tmp_path / "run")
        folder.create(config)
        prepare_task(config, "digits", folder.task("digits"))
        (cell,) = expand(config)
        return run_cell(config, cell, folder), folder.cell(cell)

    return run


Cell = Callable[..., tuple[dict[str, Any], Path]]


def images() -> int:
    return len(load_data("digits", validation=100, test=100).train)


def test_what_the_search_trained_is_taken_off_the_fine_tune(cell_of: Cell) -> None:
    row, _ = cell_of(BATUDE)
    assert row["status"] == "done", row["reason"]
    assert row["samples_trained"] == 2 * images()
    assert row["finetune_samples"] == images()


def test_part_of_an_epoch_counts_as_a_whole_one(cell_of: Cell) -> None:
    row, _ = cell_of({**BATUDE, "options": {"epochs": 8, "period": 0.5, "lr": 1e-9, "patience": 3}})
    assert images() < row["samples_trained"] < 2 * images()
    assert row["finetune_samples"] == images()


def test_a_search_that_trained_for_all_epochs_leaves_no_fine_tune(cell_of: Cell) -> None:
    row, place = cell_of({**BATUDE, "options": {**BATUDE["options"], "epochs": 4}})
    assert row["finetune_samples"] == 0
    assert row["val_accuracy"] == row["accuracy_before"]
    data = load_data("digits", validation=100, test=100)
    saved = rank_search.load(place, lambda: load_model("digits_net", width=6)).eval()
    (batch,) = data.batches(data.validation, 100)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(saved(batch.inputs), batch.targets)
    assert row["loss_before"] == pytest.approx(float(loss), rel=1e-4)  # the saved network is the one before


def test_no_search_trains_longer_than_the_fine_tune(cell_of: Cell) -> None:
    row, _ = cell_of({**BATUDE, "options": {**BATUDE["options"], "epochs": 30}})
    assert 2 * images() < row["samples_trained"] <= 3 * images()
    assert row["finetune_samples"] == 0


def test_without_equal_training_every_method_has_the_whole_fine_tune(cell_of: Cell) -> None:
    row, _ = cell_of(BATUDE, equal_training=False)
    assert row["samples_trained"] == 2 * images()
    assert row["finetune_samples"] == 3 * images()


def test_a_search_that_trains_nothing_has_the_whole_fine_tune(cell_of: Cell) -> None:
    row, place = cell_of({"name": "knapsack"})
    assert row["finetune_samples"] == 3 * images()
    assert not (place / "trace.jsonl").exists()


def test_the_network_is_built_from_the_trained_weights(cell_of: Cell) -> None:
    row, place = cell_of({**BATUDE, "options": {**BATUDE["options"], "epochs": 3}}, finetune={"epochs": 3})
    plan = rank_search.RankPlan.from_json(json.loads((place / "plan.json").read_text()))
    saved = rank_search.load(place, lambda: load_model("digits_net", width=6))
    dense = load_model("digits_net", width=6)
    load_weights(dense, place.parents[1] / "tasks" / "digits" / "dense.safetensors")
    of_dense = rank_search.compress(dense, plan)
    assert row["finetune_samples"] == 0
    changed = [
        name
        for name, value in saved.state_dict().items()
        if value.ndim > 1 and not torch.allclose(value, of_dense.state_dict()[name], atol=1e-3)
    ]
    assert len(changed) >= len(plan)


def test_every_step_logs_gates_thresholds_residuals_and_the_task_loss(cell_of: Cell) -> None:
    row, place = cell_of(BATUDE)
    with (place / "steps.csv").open(newline="") as file:
        steps = list(csv.DictReader(file))
    assert [float(step["epoch"]) for step in steps] == pytest.approx([0, 0.5, 1, 1.5, 2], abs=0.1)
    assert steps[0]["task_loss"] == ""
    for step in steps[1:]:
        assert 0 < float(step["task_loss"]) < 5
        assert 0 < int(step["open_gates"]) < int(step["gates"])
        assert float(step["threshold"]) > 0
        assert float(step["primal_residual"]) > 0
        assert float(step["dual_residual"]) > 0
    assert "ranks" not in steps[0]
    lines = [json.loads(line) for line in (place / "trace.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    plan = json.loads((place / "plan.json").read_text())
    for name, layer in lines[-1]["ranks"].items():
        chosen = plan[name]
        assert (chosen == "dense") == (layer["form"] == "dense")
        if chosen != "dense":
            assert chosen["ranks"] == layer["ranks"]
        opened = layer["ranks"]
        assert all(rank <= full for rank, full in zip(opened, layer["full"], strict=True))
    assert row["reason"] is None


def test_a_search_that_gave_up_says_why_in_its_row(cell_of: Cell) -> None:
    row, _ = cell_of({"name": "batude", "options": {"epochs": 2, "lr": 1e30}})
    assert row["status"] == "done", row["reason"]
    assert "the training loss became" in row["reason"]
    assert row["val_accuracy"] > 0.2
