from __future__ import annotations

import importlib.util
import os

import pytest
import torch
from torch import nn

from rank_search.deploy.engines import make_engine
from rank_search.deploy.engines.onnx_export import traced_onnx
from rank_search.errors import EngineError
from rank_search.space import RankPlan, compress

ENGINES = [
    "eager",
    "onnxruntime",
    pytest.param(
        "openvino",
        marks=pytest.mark.skipif(importlib.util.find_spec("openvino") is None, reason="openvino is an extra"),
    ),
]


def small_net() -> nn.Module:
    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(3, 16, 3), nn.ReLU(), nn.Conv2d(16, 16, 3), nn.Flatten(), nn.Linear(256, 4)).eval()
    plan = RankPlan.from_json({"0": "dense", "2": {"form": "tucker2", "ranks": [8, 8]}, "4": "dense"})
    return compress(net, plan).eval()


@pytest.mark.parametrize("name", ENGINES)
@pytest.mark.parametrize("batch", [1, 3])
def test_an_engine_says_what_pytorch_says(name: str, batch: int) -> None:
    net, inputs = small_net(), torch.randn(batch, 3, 8, 8)
    runner = make_engine(name).prepare(net, inputs)
    with torch.inference_mode():
        assert torch.allclose(runner.run(), net(inputs), rtol=1e-4, atol=1e-5)
    assert runner.seconds(3) > 0


@pytest.mark.parametrize("name", ENGINES)
def test_a_network_in_half_precision_is_timed_in_the_type_of_its_layers(name: str) -> None:
    """Layers are timed in float32: a whole network in another type would be compared with something else."""
    net, inputs = small_net().half(), torch.randn(1, 3, 8, 8).half()
    runner = make_engine(name).prepare(net, inputs)
    assert runner.run().dtype == torch.float32
    assert next(net.parameters()).dtype == torch.float16


@pytest.mark.parametrize("device", [5, None, "tpu", "cuda:99" if not torch.cuda.is_available() else "tpu"])
def test_a_device_that_is_not_there_is_named(device: object) -> None:
    with pytest.raises(EngineError, match=r"the engine eager cannot run on device .* here: use cpu"):
        make_engine({"eager": {"device": device}})


def test_what_an_exporter_prints_of_a_graph_is_not_shown(
    capfd: pytest.CaptureFixture[str],
) -> None:
    class Odd(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            os.write(2, b"a graph of a thousand lines\n")
            return torch.special.bessel_j0(x)

    with pytest.raises(EngineError, match="cannot be exported to ONNX"):
        traced_onnx(Odd(), torch.randn(2, 3), "a test")
    assert "thousand lines" not in capfd.readouterr().err
