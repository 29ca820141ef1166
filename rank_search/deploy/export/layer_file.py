"""Weights as safetensors, with a file that rebuilds the layers from torch alone."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import nn

from rank_search.copying import copy_network
from rank_search.deploy.export import standalone
from rank_search.deploy.export.torch_files import TorchFile
from rank_search.errors import EngineError
from rank_search.files import read_tensors, write_tensors, write_text
from rank_search.nests import Nest
from rank_search.space.compress import check_saveable, plan_of
from rank_search.space.forms.low_rank import GEOMETRY, LowRank
from rank_search.space.layers.layer import KINDS

LOADER = "load.py"


class LayerFile(TorchFile):
    """The network's state, and ``load.py`` beside it; nothing is folded, so that it can be trained on."""

    name: ClassVar[str] = "safetensors"
    file: ClassVar[str] = "model.safetensors"
    folds: ClassVar[bool] = False

    def write(self, network: nn.Module, inputs: Nest, path: Path, dynamic: bool) -> None:
        check_saveable(network)
        layers = {name: _described(name, m) for name, m in network.named_modules() if isinstance(m, LowRank)}
        header = {"format": "pt", "plan": plan_of(network).to_json(), "layers": json.dumps(layers)}
        write_tensors(path, network.state_dict(), header)
        write_text(path.parent / LOADER, Path(standalone.__file__).read_text(encoding="utf-8"))

    def function(self, path: Path, network: nn.Module) -> Callable[..., Any]:
        """What ``load.py`` makes of the dense network's structure."""
        layers = json.loads(read_tensors(path)[1]["layers"])
        bare = copy_network(network, {id(network.get_submodule(name)): nn.Identity() for name in layers})
        for value in bare.state_dict(keep_vars=True).values():
            if isinstance(value, torch.Tensor) and value.is_floating_point():
                value.data = torch.zeros_like(value.data, dtype=torch.float32)
        return standalone.load(path, bare)

    def loading(self, network: nn.Module) -> str:
        kind = type(network)
        return (
            f"from load import load  # {LOADER}, beside the weights; it needs torch and safetensors\n"
            f"from {kind.__module__} import {kind.__qualname__}  # your own class\n\n"
            f'network = load("{self.file}", {kind.__qualname__}(...))  # as the dense network was made\n'
            "outputs = network(inputs)\n"
        )


def _described(name: str, layer: LowRank) -> dict[str, Any]:
    """A factorised layer as plain data."""
    return {
        "factors": [_factor(name, module) for module in layer],
        "weight_shape": list(layer.weight.shape),
        "geometry": {key: vars(layer)[key] for key in GEOMETRY if key in vars(layer)},
    }


def _factor(name: str, module: nn.Module) -> dict[str, Any]:
    if type(module) not in KINDS:
        raise EngineError(
            f"the layer {name!r} has a {type(module).__name__} among its factors, which {LOADER} cannot build: export "
            "to onnx, pt2 or torchscript"
        )
    keys = [key for key in GEOMETRY if key != "transposed" and hasattr(module, key)]
    plain = {key: getattr(module, key) for key in keys if key != "output_padding" or module.transposed}
    return {"kind": type(module).__name__, **plain, "bias": module.bias is not None}
