"""Writing files so that a reader never meets half of one: write beside the target, flush, then rename."""

from __future__ import annotations

import errno
import json
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rank_search.errors import InvalidInputError, StorageError

if TYPE_CHECKING:
    from torch import Tensor


DISK_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def storage_errors(path: Path, verb: str = "write") -> Iterator[None]:
    """Turns an ``OSError`` of the operating system into one readable ``StorageError`` that names the path.

    Args:
        path: of the file or folder.
        verb: what cannot be done to it.
    """
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            reason, remedy = "the disk is full", "free some space or choose another folder, then run again"
        else:
            reason, remedy = error.strerror or str(error), "choose a folder that can be written to, then run again"
        raise StorageError(f"cannot {verb} {path}: {reason}; {remedy}") from error


def write_atomically(path: Path, write: Callable[[Path], None]) -> None:
    """Calls ``write`` with a temporary path in the target's folder, then renames it to ``path``.

    Raises:
        StorageError: if the folder cannot be made or the file not written; nothing half-written is left behind.
    """
    with storage_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
        os.close(handle)
        temporary = Path(name)
        try:
            write(temporary)
            with temporary.open("rb+") as written:
                os.fsync(written.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    write_atomically(path, lambda temporary: _write_bytes(temporary, text.encode()))


def write_json(path: Path, value: Any) -> None:
    """Writes strict JSON (NaN is refused), keys in the order given."""
    write_text(path, json.dumps(value, indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Reads a JSON file.

    Raises:
        InvalidInputError: if the file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text())
    except FileNotFoundError:
        raise InvalidInputError(f"{path} does not exist") from None
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path} is not valid JSON: {error}") from None
    except OSError as error:
        raise InvalidInputError(f"cannot read {path}: {error.strerror}") from None


def write_tensors(path: Path, tensors: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Writes a safetensors file; ``metadata`` travels in its header, so one rename makes both visible.

    Raises:
        InvalidInputError: if something is no dense tensor that the format has; nothing is written then.
        StorageError
    """
    from safetensors.torch import save

    for key, tensor in tensors.items():
        reason = why_not_stored(tensor)
        if reason is not None:
            raise InvalidInputError(f"{path}: {key!r} is {reason}; only dense tensors are stored")

    content = save(
        {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()},
        dict(metadata) if metadata else None,
    )
    write_atomically(path, lambda temporary: _write_bytes(temporary, content))


def why_not_stored(value: Any) -> str | None:
    """Why a safetensors file cannot hold a value; None if it can."""
    import torch

    if not isinstance(value, torch.Tensor):
        return f"a {type(value).__name__}, no tensor"
    if type(value) not in (torch.Tensor, torch.nn.Parameter):
        return f"a {type(value).__name__}, no plain tensor"
    if value.is_quantized:
        return "a quantised tensor"
    if value.layout != torch.strided:
        return f"a {str(value.layout).removeprefix('torch.')} tensor"
    if value.is_meta:
        return "on the meta device: it has no values"
    if value.dtype in (torch.complex128, torch.complex32):
        return f"of dtype {str(value.dtype).removeprefix('torch.')}"
    return None


def read_tensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Reads a safetensors file and its metadata.

    Raises:
        InvalidInputError: if the file is missing or is not a safetensors file.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            return {key: file.get_tensor(key) for key in file.keys()}, dict(file.metadata() or {})  # noqa: SIM118
    except FileNotFoundError:
        raise InvalidInputError(f"{path} does not exist") from None
    except (SafetensorError, OSError) as error:
        raise InvalidInputError(f"{path} is not a readable safetensors file: {error}") from None


def _write_bytes(path: Path, content: bytes) -> None:
    path.write_bytes(content)
