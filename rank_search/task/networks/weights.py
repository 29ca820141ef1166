"""Weights from files: read, compared with the model key by key, and only then loaded."""

from __future__ import annotations

import copy
import re
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.errors import InvalidInputError, WeightsError, one_line
from rank_search.files import read_tensors

SUFFIXES = (".safetensors", ".pt", ".pth")
SHOWN = 3
"""How many keys a message lists before it only counts."""


def load_weights(model: nn.Module, path: str | Path) -> None:
    """Loads a file of weights into a model, completely or not at all.

    A prefix ``module.`` that all keys share (left by data-parallel training) is dropped. Counters of seen batches
    (``num_batches_tracked``), which no prediction depends on, may be missing; nothing else may.

    Args:
        model: the module to change; its dtypes and devices stay.
        path: ``.safetensors``, or ``.pt`` / ``.pth`` with a state dict, alone or under the key ``state_dict`` or
            ``model``.

    Raises:
        WeightsError: if the file is missing or unreadable, a key is missing, unexpected or of another shape, or a value
            is not finite; the model is then as it was.
    """
    path = Path(path).expanduser()
    wanted = model.state_dict()
    found = _without_prefix(_read(path), wanted)
    _check_keys(path, wanted, found)
    merged = model.state_dict()  # also carries the module versions that load_state_dict asks for
    for key, value in found.items():
        merged[key] = _fitted(path, key, wanted[key], value) if isinstance(wanted[key], Tensor) else value
    before = copy.deepcopy(wanted)
    try:
        model.load_state_dict(merged)
    except Exception as error:  # hooks of unusual modules may refuse what the comparison above accepts
        model.load_state_dict(before)
        raise WeightsError(f"{path} does not fit the model: {one_line(error) or type(error).__name__}") from error


def check_finite(model: nn.Module) -> None:
    """Looks for NaN and infinity in all parameters and saved buffers.

    Raises:
        WeightsError: naming the first tensor that has any, and how many.
    """
    for key, value in model.state_dict().items():
        if isinstance(value, Tensor) and (bad := _non_finite(value)):
            raise WeightsError(f"{key!r} of the model has {bad} of {value.numel()} values that are NaN or infinite")


def _read(path: Path) -> Mapping[str, Any]:
    if path.suffix not in SUFFIXES:
        raise WeightsError(f"{path} has the suffix {path.suffix!r}; weights are read from {', '.join(SUFFIXES)} files")
    if not path.is_file():
        raise WeightsError(f"{path} {'is not a file' if path.exists() else 'does not exist'}; give a file of weights")
    if path.suffix == ".safetensors":
        try:
            return read_tensors(path)[0]
        except InvalidInputError as error:
            raise WeightsError(str(error)) from None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, about files that it then refuses
            content = torch.load(path, map_location="cpu", weights_only=True)
    except OSError as error:
        raise WeightsError(f"cannot read {path}: {error.strerror or one_line(error)}") from None
    except Exception as error:  # whatever an unpickler may raise on a broken or foreign file
        raise WeightsError(f"{path} {_why_unreadable(path, str(error))}") from None
    for key in ("state_dict", "model"):
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not all(isinstance(key, str) for key in content):
        raise WeightsError(f"{path} holds a {type(content).__name__}; expected a state dict, names to tensors")
    return content


def _without_prefix(found: Mapping[str, Any], wanted: Mapping[str, Any]) -> Mapping[str, Any]:
    prefix = "module."
    if not all(key.startswith(prefix) for key in found) or any(key.startswith(prefix) for key in wanted):
        return found
    return {key.removeprefix(prefix): value for key, value in found.items()}


def _check_keys(path: Path, wanted: Mapping[str, Any], found: Mapping[str, Any]) -> None:
    missing = [key for key in wanted if key not in found and key.rpartition(".")[2] != "num_batches_tracked"]
    unexpected = [key for key in found if key not in wanted]
    parts = [f"{_listed(keys)} {kind}" for kind, keys in (("missing", missing), ("unexpected", unexpected)) if keys]
    if parts:
        raise WeightsError(f"{path} does not fit the model: {', and '.join(parts)}; is it of another model?")


def _listed(keys: list[str]) -> str:
    more = ", ..." if len(keys) > SHOWN else ""
    return f"{len(keys)} key{'s' if len(keys) > 1 else ''} ({', '.join(keys[:SHOWN])}{more})"


def _fitted(path: Path, key: str, wanted: Tensor, found: Any) -> Tensor:
    if not isinstance(found, Tensor):
        raise WeightsError(f"{path}: {key!r} is of type {type(found).__name__}; expected a tensor")
    if found.shape != wanted.shape:
        raise WeightsError(f"{path}: {key!r} has shape {list(found.shape)}; the model's is {list(wanted.shape)}")
    dense = found.layout == torch.strided and not found.is_quantized
    if not dense or found.is_floating_point() < wanted.is_floating_point():
        form = "quantised" if found.is_quantized else f"{found.layout} {found.dtype}".replace("torch.", "")
        raise WeightsError(f"{path}: {key!r} is stored as {form}; expected a dense tensor of floating-point numbers")
    cast = found.detach().to(wanted.dtype)  # may overflow: checked as the model would have it
    if bad := _non_finite(cast):
        raise WeightsError(f"{path}: {key!r} has {bad} of {cast.numel()} values that are NaN or infinite")
    return cast


def _non_finite(tensor: Tensor) -> int:
    if tensor.layout != torch.strided or tensor.is_meta or tensor.is_quantized:
        return 0  # a file cannot hold them: check_saveable says so
    return int((~torch.isfinite(tensor)).sum())


def _why_unreadable(path: Path, said: str) -> str:
    """What a file is that torch does not read as tensors, by what torch says of it and by its first bytes."""
    save = "save its tensors, torch.save(model.state_dict(), ...)"
    if found := PICKLED.search(said):
        return (
            f"holds a whole pickled module or other Python objects ({found[1]}), not tensors: where its code is, load "
            f"it with torch.load(..., weights_only=False) and {save}; pickles are not loaded here, they can run code"
        )
    if "TorchScript" in said:
        return f"is a TorchScript program, not tensors: load it with torch.jit.load(...) and {save}"
    with path.open("rb") as file:
        start = file.read(len(ZIP))
    if start == ZIP:
        return "is damaged or incomplete: it begins as a file of torch.save and ends otherwise; copy it again"
    what = "torch.save has not written it, or it is damaged" if start else "it is empty"
    return f"is not a readable file of plain tensors ({what}); {save}"


PICKLED = re.compile(r"GLOBAL (\S+)")
"""How torch names an object that it refuses to make."""
ZIP = b"PK\x03\x04"
