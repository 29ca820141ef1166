"""ONNX, for every runtime that reads it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar

from torch import nn

from rank_search.deploy.engines.engine import Engine, Runner
from rank_search.deploy.engines.onnx_export import export_onnx, needed
from rank_search.deploy.export.format import Format
from rank_search.nests import Nest


class OnnxFile(Format):
    """An ONNX model, weights inside; run by any engine that has ``load(content, inputs)``."""

    name: ClassVar[str] = "onnx"
    file: ClassVar[str] = "model.onnx"
    engine: ClassVar[str] = "onnxruntime"

    def write(self, network: nn.Module, inputs: Nest, path: Path, dynamic: bool) -> None:
        onnx: Any = needed("onnx", "ONNX export")
        model = onnx.load_from_string(export_onnx(network, inputs, dynamic_batch=dynamic))
        for part in (*model.graph.node, *model.graph.value_info, *model.graph.initializer, *model.graph.input):
            part.ClearField("metadata_props")  # names of modules, and lines of code of the machine that exported it
        path.write_bytes(model.SerializeToString())

    def runner(self, path: Path, network: nn.Module, inputs: Nest, engine: Engine) -> Runner:
        loading: Any = engine
        runner: Runner = loading.load(path.read_bytes(), inputs)
        return runner

    def runs_in(self, engine: Engine) -> bool:
        return hasattr(engine, "load")

    def loading(self, network: nn.Module) -> str:
        return (
            "import numpy as np\nimport onnxruntime\n\n"
            f'session = onnxruntime.InferenceSession("{self.file}", providers=["CPUExecutionProvider"])\n'
            'inputs = {given.name: np.load(f"{given.name}.npy") for given in session.get_inputs()}\n'
            "outputs = session.run(None, inputs)\n"
        )
