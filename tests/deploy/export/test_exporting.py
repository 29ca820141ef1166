"""What an export refuses, leaves behind and keeps: dtypes, nests of inputs, int8, and nothing after a failure."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from rank_search.deploy.export import exporting
from rank_search.deploy.export.exporting import export
from rank_search.deploy.export.formats import make_format
from rank_search.deploy.export.int8 import quantise
from rank_search.deploy.export.parity import difference, example_batches
from rank_search.errors import EngineError, InvalidInputError, RankSearchError, UnknownNameError
from rank_search.nests import call, filled
from rank_search.space import Choice, RankPlan, compress
from rank_search.task import load_data, load_model, train
from rank_search.task.recipe import Recipe

X = torch.randn(2, 6, generator=torch.Generator().manual_seed(0))


def perceptron() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 16), nn.ReLU(), nn.Linear(16, 4)).eval()
    return compress(net, RankPlan({"0": Choice("svd", (3,))}))


class Two(nn.Module):
    """Called with names, says several things."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(6, 4), nn.Embedding(5, 4)

    def forward(self, values: Tensor, words: Tensor) -> Any:
        sums = self.a(values)
        return {"sums": sums, "others": (self.b(words), sums.argmax(1))}


class Odd(nn.Module):
    def __init__(self, run: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.scale, self._run = nn.Parameter(torch.ones(())), run

    def forward(self, inputs: Tensor) -> Tensor:
        return self._run(inputs * self.scale)


# -- what is refused ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "kind", "said"),
    [
        ({"to": "onxn"}, UnknownNameError, "no format 'onxn'.*did you mean 'onnx'.*use onnx, pt2"),
        ({"to": "pt2", "engine": "onnxruntime"}, EngineError, "onnxruntime does not run pt2 files: use eager"),
        ({"to": "onnx", "engine": "eager"}, EngineError, "eager does not run onnx files: use onnxruntime"),
        ({"to": "pt2", "int8": True}, InvalidInputError, "int8=True is for ONNX Runtime, not for pt2"),
        ({"to": "safetensors", "calibration": torch.zeros(4, 7)}, InvalidInputError, r"\(7,\).*the example \[\(6,\)\]"),
        ({"to": "safetensors", "example": torch.zeros(2, 5)}, InvalidInputError, "cannot run on the example"),
        ({"to": "safetensors", "example": "x"}, InvalidInputError, "the example holds a str"),
        ({"to": "safetensors", "network": Odd(lambda x: x / 0)}, EngineError, "not finite"),
        ({"to": "safetensors", "network": Odd(lambda x: x + torch.rand(()))}, EngineError, "is not the network"),
        ({"to": "pt2", "network": Odd(lambda x: x if x.sum() > 0 else -x)}, EngineError, "cannot be exported to pt2"),
        (
            {"to": "torchscript", "network": Odd(lambda x: x * len(x))},
            EngineError,
            "is not the network: outputs differ",
        ),
        (
            {"to": "onnx", "network": Odd(lambda x: torch.linalg.eigvals(x.T @ x).real)},
            EngineError,
            "operator aten.*eig",
        ),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_leaves_nothing(
    options: dict[str, Any], kind: type[RankSearchError], said: str, tmp_path: Path
) -> None:
    given = {"network": perceptron(), "example": X, **options}
    with pytest.raises(kind, match=said) as caught:
        export(folder=tmp_path / "out" / "net", **given)
    assert "\n" not in str(caught.value)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize("package", ["onnxruntime", "onnx", "onnxscript"])
def test_a_package_that_is_not_installed_is_named_with_its_extra(
    package: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        EngineError, match=rf"needs {package}, which is not installed: pip install 'rank-search\[onnx\]'"
    ):
        export(perceptron(), X, tmp_path / "out", "onnx")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_an_export_does_not_overwrite(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").write_text("kept")
    with pytest.raises(InvalidInputError, match="is there already, and exports do not overwrite"):
        export(perceptron(), X, tmp_path / "out", "safetensors")
    assert [path.name for path in tmp_path.rglob("*")] == ["out", "mine"]


def test_nothing_is_left_of_an_export_that_fails_at_the_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exporting, "write_sums", full)
    with pytest.raises(RankSearchError, match="the disk is full"):
        export(perceptron(), X, tmp_path / "out", "safetensors")
    assert [*tmp_path.iterdir()] == []


# -- what is kept ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["pt2", "torchscript", "safetensors"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_survive(to: str, dtype: torch.dtype, tmp_path: Path) -> None:
    network, example = perceptron().to(dtype), X.to(dtype)
    exported = export(network, example, tmp_path / "out", to)
    form = make_format(to)
    module: Any = form.function(exported.folder / form.file, network)  # type: ignore[attr-defined]
    with torch.no_grad():
        found, wanted = module(example), network(example)
    assert found.dtype == dtype
    assert torch.allclose(found, wanted, rtol=exported.parity.tolerance)
    assert {value.dtype for value in module.state_dict().values()} == {dtype}


def test_onnx_keeps_half_precision_and_says_what_its_runtime_lacks(tmp_path: Path) -> None:
    import onnx

    exported = export(perceptron().half(), X.half(), tmp_path / "half", "onnx")
    graph = onnx.load(exported.folder / "model.onnx").graph
    assert graph.output[0].type.tensor_type.elem_type == onnx.TensorProto.FLOAT16
    with pytest.raises(EngineError, match="ONNX Runtime cannot run the network"):
        export(perceptron().bfloat16(), X.bfloat16(), tmp_path / "bfloat", "onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["half"]


@pytest.mark.parametrize("to", ["onnx", "pt2", "safetensors"])
def test_inputs_by_name_and_several_outputs(to: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    network = Two().eval()
    example = {"values": X, "words": torch.tensor([1, 4])}
    seen = []

    def judge(predict: Callable[[Any], Any]) -> Mapping[str, float]:
        given = filled(example, 3)
        with torch.no_grad():
            seen.append((predict(given), call(network, given)))
        return {"seen": 1.0}

    exported = export(network, example, tmp_path / "out", to, judge=judge)
    assert exported.variant("compressed").measures == {"seen": 1.0}
    ((found, wanted),) = seen
    assert torch.allclose(found["sums"], wanted["sums"], atol=1e-6)
    assert torch.equal(found["others"][0], wanted["others"][0])
    assert torch.equal(found["others"][1].long(), wanted["others"][1])


def test_a_fixed_batch_is_for_networks_that_need_one(tmp_path: Path) -> None:
    network = Odd(lambda x: x.reshape(2, 3, 2).sum(1))
    exported = export(network, X, tmp_path / "out", "pt2", dynamic_batch=False)
    assert exported.parity.batches == (2,)


# -- int8 --------------------------------------------------------------------------------------------------------------


def test_linear_layers_alone_get_dynamic_int8(tmp_path: Path) -> None:
    exported = export(perceptron(), X, tmp_path / "out", "onnx", int8=True)
    assert exported.int8 == "dynamic"
    assert 1e-6 < exported.variant("compressed int8").relative < 0.1


def test_int8_of_trained_digits_keeps_the_accuracy_within_some_points(tmp_path: Path) -> None:
    torch.manual_seed(0)
    data = load_data("digits")
    dense = train(load_model("digits_net", width=6), data, Recipe(epochs=6, lr=0.1, batch_size=64), seed=0).eval()
    network = compress(dense, RankPlan({"conv2": Choice("svd_spatial", (9,)), "conv4": Choice("tucker2", (9, 9))}))
    (inputs, _), (images, labels) = (
        next(iter(data.batches(part.subset(n, seed=0), n))) for part, n in ((data.train, 128), (data.validation, 250))
    )
    exported = export(
        network,
        images[:1],
        tmp_path / "out",
        "onnx",
        dense=dense,
        calibration=inputs,
        int8=True,
        judge=lambda predict: {"right": float((predict(images).argmax(1) == labels).float().mean())},
    )
    for name in ("dense", "compressed"):
        right, small = (exported.variant(f"{name}{kind}").measures["right"] for kind in ("", " int8"))
        with torch.no_grad():
            own = ((dense if name == "dense" else network)(images).argmax(1) == labels).float().mean()
        assert right == pytest.approx(float(own), abs=1e-6)
        assert right > 0.6
        assert small > right - 0.05
    with pytest.raises(InvalidInputError, match="needs calibration inputs"):
        quantise(exported.folder / "model.onnx", tmp_path / "none.onnx", None)


# -- comparing ---------------------------------------------------------------------------------------------------------


def test_the_difference_is_the_largest_of_all_batches() -> None:
    network = nn.Linear(6, 4).eval()
    inputs = [X, X[:1]]

    def wrong(given: Tensor) -> Tensor:
        found = network(given).detach().clone()
        found[0, 2] += 0.25 * len(given)
        return found

    found = difference(network, wrong, inputs)
    assert found.absolute == pytest.approx(0.5, rel=1e-6)
    with torch.no_grad():
        assert found.relative == pytest.approx(0.5 / float(network(X).abs().max()), rel=1e-5)
    assert found.batches == (2, 1)
    with pytest.raises(EngineError, match=r"outputs are \[\(1, 4\)\], the network's \[\(2, 4\)\]"):
        difference(network, lambda given: network(given[:1]), inputs)


def test_examples_of_zeros_are_not_what_outputs_are_compared_on() -> None:
    batches = example_batches({"x": torch.zeros(1, 3), "n": torch.ones(1, 2, dtype=torch.long)}, None, True)
    assert [len(batch["x"]) for batch in batches] == [1, 5, 2]
    assert all(float(batch["x"].std()) > 0.1 for batch in batches[1:])
    assert all(bool((batch["n"] == 1).all()) for batch in batches)
    assert np.array_equal(filled(torch.arange(3), 5), [0, 1, 2, 0, 1])
