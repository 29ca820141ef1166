"""Every form in every format: the same function at any batch, without rank-search, with a card that tells the truth."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from every_form import SHAPE
from form_plan import PLAN
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

import rank_search
from rank_search.deploy.export import Exported
from rank_search.deploy.export.formats import FORMATS, make_format
from rank_search.space import RankPlan, plan_of
from rank_search.space.forms.decomposition import decompositions

ALONE = """
import sys
sys.modules["rank_search"] = None  # importing it fails
import numpy as np, torch
folder, classes = sys.argv[1:]
sys.path[:0] = [folder + "/safetensors", classes]
inputs = torch.from_numpy(np.load(folder + "/inputs.npy"))
found = {}
import onnxruntime
session = onnxruntime.InferenceSession(folder + "/onnx/model.onnx", providers=["CPUExecutionProvider"])
(found["onnx"],) = session.run(None, {session.get_inputs()[0].name: inputs.numpy()})
from load import load
from every_form import EveryForm
with torch.no_grad():
    found["pt2"] = torch.export.load(folder + "/pt2/model.pt2").module()(inputs)
    found["torchscript"] = torch.jit.load(folder + "/torchscript/model.ts")(inputs)
    found["safetensors"] = load(folder + "/safetensors/model.safetensors", EveryForm())(inputs)
np.savez(folder + "/outputs.npz", **{name: np.asarray(value) for name, value in found.items()})
assert not [name for name in sys.modules if name.startswith("rank_search.")]
"""


def test_the_network_has_every_form_of_the_house() -> None:
    assert {choice.form for choice in PLAN.values()} == {*decompositions.names()}


def test_without_rank_search_every_file_says_what_the_network_says_at_another_batch(
    exports: dict[str, Exported], small: nn.Module
) -> None:
    folder = exports["onnx"].folder.parent
    inputs = torch.randn(7, *SHAPE)
    np.save(folder / "inputs.npy", inputs.numpy())
    words = [sys.executable, "-W", "ignore", "-c", ALONE, str(folder), str(Path(__file__).parent)]
    answer = subprocess.run(words, check=False, capture_output=True, text=True, timeout=300)
    assert answer.returncode == 0, answer.stderr
    with torch.no_grad():
        wanted = small(inputs).numpy()
    with np.load(folder / "outputs.npz") as outputs:
        assert {*outputs} == {*FORMATS}
        for name, found in outputs.items():
            assert np.abs(found - wanted).max() < 1e-5 * np.abs(wanted).max(), name


@pytest.mark.parametrize("name", FORMATS)
def test_what_the_card_says_is_so(name: str, exports: dict[str, Exported], dense: nn.Module, small: nn.Module) -> None:
    exported = exports[name]
    assert exported.parity.relative <= 1e-5 < exported.parity.tolerance
    assert exported.parity.batches == (2, 1, 5)
    written = json.loads((exported.folder / "export.json").read_text())
    assert written == json.loads(json.dumps(exported.to_dict()))
    assert RankPlan.from_json(written["plan"]) == PLAN
    assert RankPlan.from_json((exported.folder / "plan.json").read_text()) == PLAN
    for which, network in (("dense", dense), ("compressed", small)):
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            network(torch.zeros(1, *SHAPE))
        assert written["costs"]["macs"][which] == counter.get_total_flops() // 2
        assert written["costs"]["params"][which] == sum(p.numel() for p in network.parameters())
    files = {path.name for path in exported.folder.iterdir()}
    file = FORMATS[name].file
    assert files == {"MODEL_CARD.md", "export.json", "SHA256SUMS", "plan.json", *exported.files}
    assert file in exported.files
    sums = dict(reversed(line.split("  ")) for line in (exported.folder / "SHA256SUMS").read_text().splitlines())
    assert {*sums} == files - {"SHA256SUMS"}
    for each, digest in sums.items():
        assert hashlib.sha256((exported.folder / each).read_bytes()).hexdigest() == digest
        assert exported.files.get(each, digest) == digest
    card = (exported.folder / "MODEL_CARD.md").read_text()
    for said in (
        "# every form",
        "source: drawn",
        exported.files[file],
        f"{exported.parity.absolute:.3g}",
        "tensor_train",
    ):
        assert said in card
    row = exported.variant("compressed")
    assert row.bytes == (exported.folder / file).stat().st_size
    assert f"| compressed | {row.bytes} | {row.milliseconds:.4g} |" in card
    assert row.kept_time == row.milliseconds / exported.variant("dense").milliseconds
    assert row.measures["spread"] > 0


@pytest.mark.parametrize("name", ["onnx", "pt2"])
def test_files_hold_no_path_of_the_machine(name: str, exports: dict[str, Exported]) -> None:
    content = (exports[name].folder / FORMATS[name].file).read_bytes()
    assert not re.search(rb"every_form\.py|low_rank\.py", content)


def test_openvino_runs_the_same_file(exports: dict[str, Exported], small: nn.Module) -> None:
    pytest.importorskip("openvino")
    form = make_format("onnx")
    engine, inputs = form.make_engine("openvino"), torch.randn(3, *SHAPE)
    found = form.runner(exports["onnx"].folder / form.file, small, inputs, engine).run()
    with torch.no_grad():
        assert torch.allclose(found, small(inputs), rtol=1e-4, atol=1e-5)


def test_int8_stands_beside_and_is_smaller(exports: dict[str, Exported]) -> None:
    exported = exports["onnx"]
    assert [row.name for row in exported.variants] == ["dense", "dense int8", "compressed", "compressed int8"]
    assert exported.int8 == "static"
    assert "model.int8.onnx" in exported.files
    assert exported.parity.tolerance < exported.variant("compressed int8").relative < 0.5
    assert all(exports[name].int8 is None for name in FORMATS if name != "onnx")


def test_the_safetensors_folder_is_one_that_load_reads(exports: dict[str, Exported], small: nn.Module) -> None:
    from every_form import EveryForm

    loaded = rank_search.load(exports["safetensors"].folder, EveryForm)
    assert plan_of(loaded) == PLAN
    state = small.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in loaded.state_dict().items())


def test_only_graphs_of_their_own_have_batch_norm_folded(exports: dict[str, Exported]) -> None:
    assert exports["onnx"].folding.folded == exports["pt2"].folding.folded == {"norm": "first.2"}
    assert exports["safetensors"].folding.folded == {}
