"""A whole network as an ONNX model, by PyTorch's exporter, or the operator that it stops at."""

from __future__ import annotations

import importlib
import io
import logging
import os
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.copying import copy_network
from rank_search.errors import EngineError, without_escapes
from rank_search.nests import Nest, leaves, mapped
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


def in_single_precision(model: nn.Module, inputs: Nest) -> tuple[nn.Module, Nest]:
    """The network and its inputs in float32, in which tables of times are; a copy if they are in another type."""
    values = [*model.parameters(), *model.buffers(), *leaves(inputs)]
    if all(value.dtype == torch.float32 for value in values if value.is_floating_point()):
        return model, inputs
    return copy_network(model).float(), mapped(inputs, lambda one: one.float() if one.is_floating_point() else one)


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
    args, kwargs, shapes = as_called(inputs)
    try:
        with evaluating(model), _quiet():
            program = torch.onnx.export(
                model,
                args,
                kwargs=kwargs,
                dynamo=True,
                verbose=False,
                dynamic_shapes=shapes if dynamic_batch else None,
            )
            assert program is not None
            content = bytes(program.model_proto.SerializeToString())
    except Exception as error:
        raise EngineError(f"{type(model).__name__} cannot be exported to ONNX: {why_not_exported(error)}") from error
    if path is not None:
        path.write_bytes(content)
    return content


def as_called(inputs: Nest) -> tuple[tuple[Any, ...], dict[str, Any] | None, Any]:
    """Inputs as exporters take them: by position, by name, and which extents are free if the batch is.

    Args:
        inputs: a nest of ``[N, ...]``; a mapping is given by name.
    """
    batch = torch.export.Dim("batch")

    def free(nest: Nest) -> Any:
        if isinstance(nest, Tensor):
            return {0: batch}
        if isinstance(nest, Mapping):
            return {key: free(value) for key, value in nest.items()}
        return type(nest)(map(free, nest)) if type(nest) in (tuple, list) else tuple(map(free, nest))

    if isinstance(inputs, Mapping):
        return (), dict(inputs), free(dict(inputs))
    args = tuple(inputs) if isinstance(inputs, tuple | list) else (inputs,)
    return args, None, free(args)


def why_not_exported(error: BaseException) -> str:
    """The operator that an exporter stopped at, else the first line of what it said."""
    causes = [error]
    while causes[-1].__cause__ is not None:
        causes.append(causes[-1].__cause__)
    for cause in causes:
        found = OPERATOR.search(str(cause))
        if found:
            return f"the operator {next(filter(None, found.groups()))} has no equal there"
    last = causes[-1]
    said = next((line.strip() for line in without_escapes(str(last)).splitlines() if line.strip()), "")
    return f"{type(last).__name__}: {said}" if said else type(last).__name__


@contextmanager
def _quiet() -> Iterator[None]:
    """Without the exporter's progress on the terminal."""
    loggers = [logging.getLogger(name) for name in ("torch.onnx", "onnxscript", "onnx_ir", "torch.export")]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with (
            warnings.catch_warnings(),
            redirect_stdout(io.StringIO()),
            redirect_stderr(io.StringIO()),
            _no_descriptor(2),
        ):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)


@contextmanager
def _no_descriptor(number: int) -> Iterator[None]:
    """Without what libraries write past Python, such as the whole graph of a network that cannot be traced."""
    try:
        kept = os.dup(number)
    except OSError:  # it is closed
        yield
        return
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, number)
        os.close(nowhere)
        yield
    finally:
        os.dup2(kept, number)
        os.close(kept)
