"""A whole network as an ONNX model, by PyTorch's exporter, or the operator that it stops at."""

from __future__ import annotations

import importlib
import io
import logging
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import nn

from rank_search.errors import EngineError, told
from rank_search.nests import Nest
from rank_search.running import evaluating

EXTRAS = {"onnx": "onnx", "onnxscript": "onnx", "onnxruntime": "onnx", "openvino": "openvino"}
"""The extra of rank-search that brings a package."""

OPERATOR = re.compile(r"(aten\.[\w.]+)|<OpOverload\(op='([\w.]+)'")
"""How the exporter's messages name one."""


def needed(package: str, what: str) -> ModuleType:
    """Imports an optional package.

    Raises:
        EngineError: if it is not installed; says which extra has it.
    """
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise EngineError(
            f"{what} needs {package}, which is not installed: pip install 'rank-search[{EXTRAS[package]}]'"
        ) from error


def traced_onnx(model: nn.Module, inputs: Nest, what: str) -> bytes:
    """The network as an ONNX model to be timed: by PyTorch's older exporter where it can, which takes a tenth as long.

    Args:
        model, inputs, what: as in :func:`export_onnx`.

    Raises:
        EngineError: as there.
    """
    needed("onnx", what)
    given = inputs if isinstance(inputs, tuple) else tuple(inputs) if isinstance(inputs, list) else (inputs,)
    if not isinstance(inputs, Mapping):
        try:
            stream = io.BytesIO()
            with evaluating(model), _quiet():
                torch.onnx.export(model, given, stream, dynamo=False, verbose=False)  # type: ignore[arg-type]
            return stream.getvalue()
        except Exception:  # whatever it is, the other exporter says it better
            pass
    return export_onnx(model, inputs, what=what)


def export_onnx(
    model: nn.Module, inputs: Nest, path: Path | None = None, dynamic_batch: bool = False, what: str = "ONNX export"
) -> bytes:
    """The network as a serialised ONNX model (weights inside, below 2 GB).

    Args:
        model: left as it was; exported in eval mode.
        inputs: as the model is called; ``[N, ...]`` each.
        path: where to write it, too.
        dynamic_batch: whether the first extent of every input stays free.
        what: for whom, in messages.

    Raises:
        EngineError: if a package is missing or the network cannot be exported; names the operator where it is known.
    """
    needed("onnx", what)
    needed("onnxscript", what)
    args: tuple[Any, ...] = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    kwargs = dict(inputs) if isinstance(inputs, Mapping) else None
    dynamic: Any = None
    if dynamic_batch:
        batch = torch.export.Dim("batch")
        dynamic = {k: {0: batch} for k in kwargs} if kwargs is not None else tuple({0: batch} for _ in args)
    try:
        with evaluating(model), _quiet():
            program = torch.onnx.export(
                model,
                () if kwargs is not None else args,
                kwargs=kwargs,
                dynamo=True,
                verbose=False,
                dynamic_shapes=dynamic,
            )
            assert program is not None
            content = bytes(program.model_proto.SerializeToString())
    except Exception as error:
        raise EngineError(f"{type(model).__name__} cannot be exported to ONNX: {_why(error)}") from error
    if path is not None:
        path.write_bytes(content)
    return content


def _why(error: BaseException) -> str:
    """The operator that the exporter stopped at, else what it said."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    for cause in causes:
        found = OPERATOR.search(str(cause))
        if found:
            return f"the operator {next(filter(None, found.groups()))} has no ONNX equal"
    return told(causes[-1])


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress on the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings(), redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
