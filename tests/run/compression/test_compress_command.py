"""``rank-search compress`` and ``compress_model`` on a network of a few thousand weights."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file
from scipy.stats import binomtest
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from torch.utils.flop_counter import FlopCounterMode

import rank_search as rs
from rank_search.run.compression.defaults import recipe

OWN = """
from torch import nn

def network(classes=3):
    return nn.Sequential(
        nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Conv2d(16, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(16, classes),
    )
"""
COMMAND = "from rank_search.cli import main; main()"
DEADLINE = 300  # seconds: guards against a hang


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with the network's code and weights, and 30 images of 12 x 12 in three colours."""
    (tmp_path / "own_net.py").write_text(OWN)
    namespace: dict[str, object] = {}
    exec(OWN, namespace)
    torch.manual_seed(0)
    model: nn.Module = namespace["network"]()  # type: ignore[operator]
    with torch.no_grad():
        model(torch.randn(64, 3, 12, 12))  # running statistics that are no zeros and ones
    save_file(model.state_dict(), tmp_path / "own.safetensors")
    draws = np.random.default_rng(0)
    for number in range(30):
        picture = draws.integers(0, 100, (12, 12, 3), dtype=np.uint8)
        picture[..., number % 3] += 100
        for folder in ("flat", f"classes/{number % 3}"):
            (tmp_path / folder).mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture).save(tmp_path / folder / f"{number}.png")
    return tmp_path


def run(place: Path, *words: str) -> subprocess.CompletedProcess[str]:
    model = () if "--model" in words else ("--model", "own_net:network", "--input", "3,12,12")
    return subprocess.run(
        [sys.executable, "-c", COMMAND, "compress", *model, "--output", "small", *words],
        cwd=place,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env={**os.environ, "PYTHONPATH": str(place), "COLUMNS": "200", "OMP_NUM_THREADS": "1"},
    )


def multiplications(network: nn.Module) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        network.eval()(torch.zeros(1, 3, 12, 12))
    return counter.get_total_flops() / 2


def test_images_without_labels_give_a_small_network_with_its_card(place: Path) -> None:
    done = run(
        place, "--weights", "own.safetensors", "--images", "flat", "--budget", "macs=0.5", "--epochs", "1", "--set",
        "run.threads=1",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "images: 30 of flat, without labels: agreement with the dense network" in done.stdout
    assert "validation agreement on 6 held-out images: dense 100.00%, cut " in done.stdout
    agreed = json.loads((place / "small" / "result.json").read_text())["val_agreement"]
    low, high = binomtest(round(6 * agreed), 6).proportion_ci(0.95, "wilson")
    assert f"95 % interval of {agreed:.2%}: {low:.1%} to {high:.1%}" in done.stdout
    assert "x fewer MACs" in done.stdout
    sys.path.insert(0, str(place))
    try:
        small = rs.load(place / "small", lambda: rs.load_model("own_net:network"))
        dense = rs.load_model("own_net:network")
    finally:
        sys.path.remove(str(place))
    assert 0 < multiplications(small) <= 0.5 * multiplications(dense)
    card = (place / "small" / "safetensors" / "MODEL_CARD.md").read_text(encoding="utf-8")
    assert "own_net:network" in card
    assert "own.safetensors" in card
    assert f"6 held-out samples; the 95 % interval of the compressed network's is {low:.4f} to {high:.4f}." in card


def test_folders_are_classes_where_the_network_has_as_many_outputs(place: Path) -> None:
    done = run(place, "--weights", "own.safetensors", "--images", "classes", "--epochs", "0", "--to", "none")
    assert done.returncode == 0, done.stderr
    assert "classes, with labels" in done.stdout
    assert "validation accuracy on 6 held-out images: dense" in done.stdout
    ignored = run(
        place, "--images", "classes", "--no-labels", "--epochs", "0", "--to", "none", "--output", "other"
    )  # fmt: skip
    assert ignored.returncode == 0, ignored.stderr
    assert "validation agreement" in ignored.stdout
    assert "are not used as classes" not in ignored.stdout  # it was asked for
    assert "has random weights" in ignored.stdout


def test_images_that_are_normalised_otherwise_than_in_training_are_asked_about(place: Path) -> None:
    namespace: dict[str, Any] = {}
    exec(OWN, namespace)
    model: nn.Module = namespace["network"]()
    model.load_state_dict(load_file(place / "own.safetensors"))
    pictures = [np.asarray(Image.open(path)) for path in sorted((place / "flat").iterdir())]
    images = torch.tensor(np.stack(pictures)).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        for _ in range(100):
            model((images - 0.5) / 0.5)
    save_file(model.state_dict(), place / "half.safetensors")
    words = ("--weights", "half.safetensors", "--images", "flat", "--epochs", "0", "--to", "none")
    asked = "are the images normalised as they were in training?"
    done = run(place, *words)
    assert done.returncode == 0, done.stderr
    assert f"{asked} The network's first batch norm fits values from -1 to 1 better" in done.stdout
    assert "(--mean 0.5,0.5,0.5 --std 0.5,0.5,0.5)" in done.stdout
    told = run(place, *words, "--mean", "0.5", "--std", "0.5,0.5,0.5", "--output", "told")
    assert told.returncode == 0, told.stderr
    assert asked not in told.stdout
    (task,) = yaml.safe_load((place / "told" / "config.yaml").read_text())["tasks"].values()
    assert (task["data"]["mean"], task["data"]["std"]) == ([0.5] * 3, [0.5] * 3)


def test_without_data_the_cost_holds_and_nothing_is_claimed(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = run(place, "--weights", "own.safetensors", "--budget", "macs=0.6", "--budget", "macs=0.4")
    assert done.returncode == 0, done.stderr
    assert "nothing says what the answer is worth" in done.stdout
    assert "agreement" not in done.stdout
    plans = sorted((place / "small" / "cells").glob("*/plan.json"))
    assert len(plans) == 2
    assert not (place / "small" / "report.html").exists()  # of numbers that say nothing
    assert "the network of each budget in its folder of small/cells\nthat of macs=0.4 in Python" in done.stdout
    load = done.stdout.split("likewise:\n", 1)[1].splitlines()[0].strip()
    assert "macs=0.4" in load
    monkeypatch.chdir(place)
    monkeypatch.syspath_prepend(place)
    loaded = eval(load, {"rank_search": rs})
    assert 0 < multiplications(loaded) <= 0.4 * multiplications(rs.load_model("own_net:network"))
    for plan in plans:
        said = (plan.parent / "safetensors" / "MODEL_CARD.md").read_text(encoding="utf-8")
        assert "embedding" not in said
        assert "val_" not in said
        assert "held-out" not in said


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--images", "nowhere"], "nowhere does not exist; give a folder of images"),
        (["--images", "empty"], "empty holds no image; images end in"),
        (["--images", "broken"], "cannot read the image"),
        (["--images", "few"], "few holds 2 images; give at least 3"),
        (["--images", "own.safetensors"], "own.safetensors is no folder"),
        (["--images", "two", "--labels"], "two has 2 folders of classes"),
        (["--images", "parts"], "are the sets of a data set, train, val, and no classes: give one of them"),
        (
            ["--model", "frozen:network", "--images", "flat", "--epochs", "1"],
            "every parameter of frozen:network is frozen",
        ),
        (["--weights", "other.safetensors"], "other.safetensors"),
        (["--input", "3,x"], "--input '3,x' is not a list of sizes"),
        (["--images", "flat", "--mean", "half"], "--mean 'half' is not one or three numbers"),
        (["--images", "flat", "--std", "0.2,0.2"], "--std '0.2,0.2' is not one or three positive numbers"),
        (["--images", "flat", "--std", "0"], "--std '0' is not one or three positive numbers"),
        (["--mean", "0.5"], "--mean says something of images, and there are none: give --images, too"),
        (["--labels"], "--labels says something of images, and there are none"),
        (["--no-labels"], "--no-labels says something of images"),
        (["--most", "9"], "--most says something of images"),
        (["--epochs", "2"], "--epochs 2 says something of images"),
        (["--batch", "8"], "--batch 8 is how many inputs are timed at once"),
        (["--output", "own.safetensors/below"], "cannot make "),
        (["--input", "1,12,12"], "does not run on such inputs"),
        (["--to", "tflite"], "there is no format 'tflite'"),
        (["--budget", "mac=0.5"], "unknown budget metric 'mac'"),
        (["--budget", "macs=0.4,macs=0.8"], "bounds macs twice"),
        (["--budget", "macs=0.000001"], "no plan of this space meets the budget"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(place: Path, words: list[str], said: str) -> None:
    (place / "empty").mkdir()
    (place / "broken").mkdir()
    (place / "few").mkdir()
    for number in range(4):
        (place / "broken" / f"{number}.png").write_text("no image")
    for number in range(2):
        (place / f"two/{number}").mkdir(parents=True)
        for file in (f"two/{number}/{number}.png", f"two/{number}/again.png", f"few/{number}.png"):
            (place / file).write_bytes((place / "flat" / f"{number}.png").read_bytes())
    for name in ("train", "val"):
        (place / "parts" / name).mkdir(parents=True)
        (place / "parts" / name / "0.png").write_bytes((place / "flat" / "0.png").read_bytes())
    (place / "frozen.py").write_text(OWN.replace("return nn", "made = nn") + "    return made.requires_grad_(False)\n")
    save_file({"weight": torch.zeros(2)}, place / "other.safetensors")
    done = run(place, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert said in done.stderr
    assert not (place / "small").exists()


@pytest.fixture
def trained() -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    namespace: dict[str, object] = {}
    exec(OWN, namespace)
    torch.manual_seed(0)
    model: nn.Module = namespace["network"]()  # type: ignore[operator]
    inputs = torch.randn(40, 3, 12, 12)
    with torch.no_grad():
        model(inputs)
    return model.eval(), inputs, torch.arange(40) % 3


def test_from_python_inputs_are_enough(trained: tuple[nn.Module, torch.Tensor, torch.Tensor], tmp_path: Path) -> None:
    model, inputs, _ = trained
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    small = rs.compress_model(model, inputs, "macs=0.5", finetune=rs.Recipe(epochs=1, distill_weight=1.0))
    assert small.measure == "agreement"
    assert small.dense == 1.0
    assert small.kept["macs"] <= 0.5
    assert [stage for stage, _ in small.stages][:3] == ["cut", "recalibrated", "refitted"]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    small.save(tmp_path / "small")
    again = rs.load(tmp_path / "small", lambda: trained[0])
    with torch.no_grad():
        assert torch.equal(again(inputs), small.network(inputs))


def test_from_python_class_numbers_are_accuracy_and_nothing_is_the_weights_alone(
    trained: tuple[nn.Module, torch.Tensor, torch.Tensor],
) -> None:
    model, inputs, labels = trained
    nothing = rs.Recipe(epochs=0)
    assert rs.compress_model(model, (inputs, labels), "macs=0.5", finetune=nothing).measure == "accuracy"
    free = rs.compress_model(model, None, {"macs": 0.5}, example=inputs[:1])
    assert free.measure is None
    assert free.kept["macs"] <= 0.5
    with pytest.raises(rs.InvalidInputError, match="give data, or at least example="):
        rs.compress_model(model)
    with pytest.raises(rs.InvalidInputError, match="data has 2 inputs; give at least 3"):
        rs.compress_model(model, inputs[:2])
    with pytest.raises(rs.InvalidInputError, match=r"^the model is the text 'resnet': give an nn\.Module"):
        rs.compress_model("resnet", inputs)  # type: ignore[call-overload]
    with pytest.raises(rs.BudgetError, match=r"the budget 0\.3 is none"):
        rs.compress_model(model, inputs, 0.3)  # type: ignore[arg-type]


def test_a_fine_tune_that_made_things_worse_is_not_kept(
    trained: tuple[nn.Module, torch.Tensor, torch.Tensor],
) -> None:
    """A rate at which nothing is learned: what the refit left is the answer."""
    model, inputs, _ = trained
    wild = rs.Recipe(epochs=2, lr=5.0, distill_weight=1.0)
    small = rs.compress_model(model, inputs, "macs=0.5", finetune=wild)
    calm = rs.compress_model(model, inputs, "macs=0.5", finetune=rs.Recipe(epochs=0))
    assert small.stages[-1][0] == "fine-tuned (not kept)"
    with torch.no_grad():
        assert torch.equal(small.network(inputs), calm.network(inputs))


def test_from_python_what_a_caller_may_be_in_the_middle_of(
    trained: tuple[nn.Module, torch.Tensor, torch.Tensor],
) -> None:
    model, inputs, labels = trained
    recipe = rs.Recipe(epochs=1, distill_weight=1.0)
    plain = rs.compress_model(model, inputs, "macs=0.5", finetune=recipe)
    model.train()
    with torch.no_grad():
        other = rs.compress_model(model, inputs.clone().requires_grad_(), "macs=0.5", finetune=recipe)
    assert all(module.training for module in model.modules())
    assert other.plan == plain.plan
    with torch.no_grad():
        assert torch.equal(other.network(inputs), plain.network(inputs))
    model.eval()
    values = torch.randn(40, 3)
    assert rs.compress_model(model, (inputs, values), "macs=0.5", objective="regression").measure != "agreement"
    for wrong, said in (
        ({"data": (inputs, labels[:30])}, "40 inputs and 30 targets"),
        ({"data": (inputs, labels.float())}, "of a pair, the second is class numbers if it is int64"),
        ({"finetune": 0}, "finetune=0 is no Recipe"),
        ({"model": {"weight": torch.zeros(9, 9)}}, "^the model is of type dict: give an nn.Module, as [^\n]*$"),
        ({"exclude": [3]}, r"exclude=\[3\] is no list of names"),
        ({"exclude": None}, "exclude=None is no list of names"),
        ({"seed": 1.5}, "seed=1.5 is not a whole number"),
        ({"budget": {1: 0.5}}, r"the budget \{1: 0.5\} is none"),
        ({"batch": 8}, "batch=8 is how many inputs are timed at once, and nothing is timed"),
        ({"forms": "svd"}, "forms='svd' is a text"),
        ({"budget": "macs=0.4,macs=0.5"}, "bounds macs twice"),
    ):
        with pytest.raises(rs.RankSearchError, match=said):
            rs.compress_model(**{"model": model, "data": inputs, "budget": "macs=0.5", **wrong})


def test_few_images_are_not_trained_on_unless_told(place: Path) -> None:
    done = run(place, "--weights", "own.safetensors", "--images", "flat", "--to", "none", "--set", "run.threads=1")
    assert done.returncode == 0, done.stderr
    assert "few images: no fine-tune" in done.stdout
    assert "fine-tuned" not in done.stdout
    assert [recipe(None, 799).epochs, recipe(None, 800).epochs, recipe(3, 10).epochs, recipe(0, 9000).epochs] == [
        0,
        5,
        3,
        0,
    ]


def test_arrays_and_loaders_are_data_too(trained: tuple[nn.Module, torch.Tensor, torch.Tensor]) -> None:
    model, inputs, labels = trained
    nothing = rs.Recipe(epochs=0)
    wanted = rs.compress_model(model, (inputs, labels), "macs=0.5", finetune=nothing)
    pairs: DataLoader[Any] = DataLoader(TensorDataset(inputs, labels), batch_size=16)
    for given in ((inputs.numpy(), labels.numpy()), pairs):
        found = rs.compress_model(model, given, "macs=0.5", finetune=nothing)
        assert found.measure == "accuracy"
        assert found.stages == wanted.stages
    alone: DataLoader[Any] = DataLoader(inputs, batch_size=16)  # type: ignore[arg-type]
    assert rs.compress_model(model, alone, "macs=0.5", finetune=nothing).measure == "agreement"
    for wrong, said in (
        (DataLoader([], batch_size=2), "the DataLoader has no batch"),
        (np.array(["a", "b"]), "data holds an array of <U1: give one of numbers"),
        ("images", "images does not exist; give a folder of images"),
        (DataLoader([torch.zeros(3, 12, 12), torch.zeros(3, 9, 9)], batch_size=1), "cannot be joined"),
    ):
        with pytest.raises(rs.InvalidInputError, match=said):
            rs.compress_model(model, wrong, "macs=0.5")  # type: ignore[arg-type]


def test_a_network_that_was_frozen_to_be_run_is_trained_all_the_same(
    trained: tuple[nn.Module, torch.Tensor, torch.Tensor],
) -> None:
    model, inputs, _ = trained
    recipe = rs.Recipe(epochs=1, distill_weight=1.0)
    wanted = rs.compress_model(model, inputs, "macs=0.5", finetune=recipe)
    model.requires_grad_(False)
    found = rs.compress_model(model, inputs, "macs=0.5", finetune=recipe)
    assert found.stages == wanted.stages
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_epochs_without_data_are_no_wish_that_can_be_met(
    trained: tuple[nn.Module, torch.Tensor, torch.Tensor],
) -> None:
    model, inputs, _ = trained
    with pytest.raises(rs.InvalidInputError, match="finetune has 5 epochs, and there is no data to train on"):
        rs.compress_model(model, None, "macs=0.5", example=inputs[:1], finetune=rs.Recipe())


def test_one_number_a_sample_needs_targets() -> None:
    torch.manual_seed(0)
    model, inputs = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 1)).eval(), torch.randn(40, 8)
    with pytest.raises(rs.InvalidInputError, match="one number a sample: without targets nothing says"):
        rs.compress_model(model, inputs, "macs=0.6")
    assert rs.compress_model(model, None, "macs=0.6", example=inputs[:1]).kept["macs"] <= 0.6
    small = rs.compress_model(model, (inputs, torch.randn(40, 1)), "macs=0.6", objective="regression")
    assert small.measure not in ("agreement", "cosine")
