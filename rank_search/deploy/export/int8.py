"""Eight-bit ONNX models, by ONNX Runtime's quantiser."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rank_search.deploy.engines.onnx_export import needed
from rank_search.errors import EngineError, InvalidInputError, told
from rank_search.nests import Nest, check_nest, filled, leaves, mapped

CONVOLUTIONS = ("Conv", "ConvTranspose")
BATCH, MOST = 16, 512
"""Samples of a calibration batch, and in all."""


def quantise(path: Path, target: Path, calibration: Nest | None) -> str:
    """Writes an int8 model beside a float32 one.

    A network with convolutions gets static scales from the calibration inputs (QDQ); one without gets int8 weights, and
    scales of its activations as it runs. Weights are per channel and use 7 of their 8 bits: CPUs without VNNI add pairs
    of products in 16 bits, which would saturate. Activations are unsigned, the fast way on x86.

    Args:
        path: of the float32 ONNX model.
        target: of the int8 one.
        calibration: a nest of inputs ``[N, ...]`` as the data is; the first 512 are used.

    Returns:
        ``static`` or ``dynamic``.

    Raises:
        InvalidInputError: if there are convolutions and no calibration inputs.
        EngineError: if the quantiser refuses the model.
    """
    onnx: Any = needed("onnx", "int8")
    needed("onnxruntime", "int8")
    from onnxruntime import quantization

    graph = onnx.load(path).graph
    static = any(node.op_type in CONVOLUTIONS for node in graph.node)
    if static and calibration is None:
        raise InvalidInputError("int8 of a network with convolutions needs calibration inputs: give calibration=inputs")
    prepared = target.with_suffix(".prepared")
    try:
        with _quiet():
            if not static:
                quantization.quantize_dynamic(path, target, per_channel=True, reduce_range=True)
                return "dynamic"
            names = [given.name for given in graph.input]
            quantization.quant_pre_process(path, prepared, skip_symbolic_shape=True)
            quantization.quantize_static(
                prepared,
                target,
                _reader(quantization.CalibrationDataReader, names, calibration),
                per_channel=True,
                reduce_range=True,
                activation_type=quantization.QuantType.QUInt8,
            )
            return "static"
    except InvalidInputError:
        raise
    except Exception as error:
        raise EngineError(f"ONNX Runtime cannot quantise the network: {told(error)}") from error
    finally:
        prepared.unlink(missing_ok=True)


def _reader(base: Any, names: list[str], calibration: Nest) -> Any:
    """Batches of the calibration inputs as ONNX Runtime's quantiser asks for them."""
    count = min(check_nest(calibration, "the calibration inputs"), MOST)
    first = filled(calibration, count)

    def batches() -> Iterator[dict[str, Any]]:
        for start in range(0, count, BATCH):
            part = mapped(first, lambda tensor, start=start: tensor[start : start + BATCH])  # type: ignore[misc]
            yield {name: tensor.cpu().numpy() for name, tensor in zip(names, leaves(part), strict=True)}

    class Reader(base):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = batches()

        def get_next(self) -> dict[str, Any] | None:
            return next(self._batches, None)

    return Reader()


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the quantiser's advice on the root logger."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        yield
    finally:
        logging.disable(before)
