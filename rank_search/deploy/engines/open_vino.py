"""OpenVINO on a CPU."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from rank_search.deploy.engines.engine import Engine, Runner
from rank_search.deploy.engines.onnx_chain import chain_to_onnx
from rank_search.deploy.engines.onnx_export import in_single_precision, needed, traced_onnx
from rank_search.errors import EngineError, told
from rank_search.nests import Nest, leaves


class OpenVino(Engine):
    """OpenVINO's CPU plug-in, from ONNX.

    Args:
        threads, dtype: as in :class:`Engine`.
    """

    name: ClassVar[str] = "openvino"
    width: ClassVar[int] = 8
    blocks_channels: ClassVar[bool] = True

    def __init__(self, threads: int = 1, dtype: str = "float32") -> None:
        super().__init__(threads, dtype)
        needed("openvino", f"the engine {self.name}")
        needed("onnx", f"the engine {self.name}")

    def prepare(self, model: nn.Module, inputs: Nest) -> Runner:
        model, inputs = in_single_precision(model, inputs)
        return self.load(traced_onnx(model, inputs, f"the engine {self.name}"), inputs)

    def prepare_chain(self, modules: nn.Sequential, inputs: torch.Tensor) -> Runner:
        content = chain_to_onnx(modules, tuple(inputs.shape))
        return self.prepare(modules, inputs) if content is None else self.load(content, inputs)

    def load(self, content: bytes, inputs: Nest) -> Runner:
        """A runner of a serialised ONNX model.

        Raises:
            EngineError: if OpenVINO refuses it.
        """
        openvino: Any = needed("openvino", f"the engine {self.name}")
        settings = {"INFERENCE_NUM_THREADS": self.threads, "INFERENCE_PRECISION_HINT": "f32", "NUM_STREAMS": 1}
        try:
            core = openvino.Core()
            compiled = core.compile_model(core.read_model(content, b""), "CPU", settings)
            runner = _OpenVinoRunner(openvino, compiled, inputs, self.threads)
            runner.call()
        except Exception as error:
            raise EngineError(f"OpenVINO cannot run the network: {told(error)}") from error
        return runner

    def versions(self) -> dict[str, str]:
        openvino: Any = needed("openvino", f"the engine {self.name}")
        return {**super().versions(), "openvino": str(openvino.__version__)}


class _OpenVinoRunner(Runner):
    def __init__(self, openvino: Any, compiled: Any, inputs: Nest, threads: int) -> None:
        self._request, self.threads = compiled.create_infer_request(), threads
        self._held = [np.ascontiguousarray(tensor.detach().cpu().numpy()) for tensor in leaves(inputs)]
        for place, array in enumerate(self._held):
            self._request.set_input_tensor(place, openvino.Tensor(array, shared_memory=True))
        self._outputs = len(compiled.outputs)

    def run(self) -> Nest:
        self.call()
        found = [
            torch.from_numpy(np.array(self._request.get_output_tensor(place).data)) for place in range(self._outputs)
        ]
        return found[0] if len(found) == 1 else tuple(found)

    def call(self) -> None:
        self._request.infer()
