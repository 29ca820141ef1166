"""ONNX Runtime on a CPU."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
import torch
from torch import nn

from rank_search.deploy.engines.engine import Engine, Runner
from rank_search.deploy.engines.onnx_chain import chain_to_onnx
from rank_search.deploy.engines.onnx_export import in_single_precision, needed, traced_onnx
from rank_search.errors import EngineError, InvalidInputError, told
from rank_search.nests import Nest, leaves

LEVELS = ("disable", "basic", "extended", "all")


class OnnxRuntime(Engine):
    """ONNX Runtime's CPU provider; it handles channels in blocks of 16 and reorders those that do not fill a block.

    Args:
        threads, dtype: as in :class:`Engine`.
        optimisation: of the graph: ``disable``, ``basic``, ``extended`` or ``all``.
    """

    name: ClassVar[str] = "onnxruntime"
    width: ClassVar[int] = 16
    blocks_channels: ClassVar[bool] = True

    def __init__(self, threads: int = 1, dtype: str = "float32", optimisation: str = "all") -> None:
        super().__init__(threads, dtype)
        if optimisation not in LEVELS:
            raise InvalidInputError(f"optimisation={optimisation!r} is not allowed: use {', '.join(LEVELS)}")
        self._optimisation = optimisation
        self._runtime = needed("onnxruntime", f"the engine {self.name}")
        needed("onnx", f"the engine {self.name}")

    def prepare(self, model: nn.Module, inputs: Nest) -> Runner:
        model, inputs = in_single_precision(model, inputs)
        return self.load(traced_onnx(model, inputs, f"the engine {self.name}"), inputs)

    def prepare_chain(self, modules: nn.Sequential, inputs: torch.Tensor) -> Runner:
        content = chain_to_onnx(modules, tuple(inputs.shape))
        return self.prepare(modules, inputs) if content is None else self.load(content, inputs)

    def load(self, content: bytes | str, inputs: Nest) -> Runner:
        """A runner of an ONNX model: its bytes, or the path of a file.

        Raises:
            EngineError: if ONNX Runtime refuses it.
        """
        options = self._runtime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads = self.threads, 1
        options.log_severity_level = 3
        level = {"disable": "ORT_DISABLE_ALL", "all": "ORT_ENABLE_ALL"}.get(
            self._optimisation, f"ORT_ENABLE_{self._optimisation.upper()}"
        )
        options.graph_optimization_level = getattr(self._runtime.GraphOptimizationLevel, level)
        try:
            session = self._runtime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
            runner = _OnnxRunner(session, inputs, self.threads)
            runner.call()
        except Exception as error:
            raise EngineError(f"ONNX Runtime cannot run the network: {told(error)}") from error
        return runner

    def options(self) -> dict[str, Any]:
        return {**super().options(), "optimisation": self._optimisation}

    def versions(self) -> dict[str, str]:
        return {**super().versions(), "onnxruntime": str(self._runtime.__version__)}

    def __getstate__(self) -> dict[str, Any]:
        return {key: value for key, value in vars(self).items() if key != "_runtime"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _runtime=needed("onnxruntime", f"the engine {self.name}"))


class _OnnxRunner(Runner):
    """A session with its inputs and outputs bound, so that no call copies them."""

    def __init__(self, session: Any, inputs: Nest, threads: int) -> None:
        self._session, self.threads = session, threads
        self._binding = session.io_binding()
        arrays = [np.ascontiguousarray(tensor.detach().cpu().numpy()) for tensor in leaves(inputs)]
        for wanted, array in zip(session.get_inputs(), arrays, strict=True):
            self._binding.bind_cpu_input(wanted.name, array)
        for output in session.get_outputs():
            self._binding.bind_output(output.name)

    def run(self) -> Nest:
        self.call()
        outputs = [torch.from_numpy(array) for array in self._binding.copy_outputs_to_cpu()]
        return outputs[0] if len(outputs) == 1 else tuple(outputs)

    def call(self) -> None:
        self._session.run_with_iobinding(self._binding)
