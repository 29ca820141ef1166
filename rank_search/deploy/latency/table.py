"""Measured times of layers: what was measured, with what, where; kept on disk as JSON."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from filelock import FileLock

from rank_search.errors import EngineError, InvalidInputError, StorageError
from rank_search.files import read_json, write_json

FORMAT = 1


Times = dict[str, dict[tuple[int, ...], float]]
"""Nanoseconds by a layer and form (:meth:`Geometry.key`), then by ranks."""


class LatencyTable:
    """Measured times, for one engine with its options on one device.

    Args:
        fingerprint: of the engine, with the batch.
        times: measured before.
        fit: what whole networks taught: ``scale`` of the layers' sum and ``rest`` in nanoseconds; None before that.
    """

    def __init__(
        self, fingerprint: Mapping[str, Any], times: Times | None = None, fit: Mapping[str, Any] | None = None
    ) -> None:
        self.fingerprint, self.times = dict(fingerprint), dict(times or {})
        self.fit = None if fit is None else dict(fit)

    def __len__(self) -> int:
        return sum(map(len, self.times.values()))

    def of(self, key: str) -> dict[tuple[int, ...], float]:
        """The times of a layer in a form, by ranks; to be added to."""
        return self.times.setdefault(key, {})

    @classmethod
    def read(cls, path: Path, fingerprint: Mapping[str, Any]) -> LatencyTable:
        """Reads a table that was measured with this engine, here.

        Raises:
            EngineError: if it was measured with another engine, version or device; says what differs.
            InvalidInputError: if the file is missing or cut off.
        """
        try:
            content = read_json(path)
        except InvalidInputError as error:
            raise InvalidInputError(f"{error}; delete it, it is measured again then") from None
        keys = {"format", "fingerprint", "times"}
        if not isinstance(content, dict) or not keys <= set(content) or not isinstance(content["fingerprint"], dict):
            raise InvalidInputError(f"{path} is no table of latencies: delete it, it is measured again then")
        if content["format"] != FORMAT:
            raise InvalidInputError(
                f"{path} has the format {content['format']}, this version reads {FORMAT}: delete it"
            )
        own, theirs = _flat(fingerprint), _flat(content["fingerprint"])
        different = [key for key in sorted({*own, *theirs}) if own.get(key) != theirs.get(key)]
        if different:
            facts = "; ".join(f"{key} was {theirs.get(key)}, is {own.get(key)} here" for key in different)
            raise EngineError(
                f"the times in {path} are of another set-up ({facts}): go on where they were measured, or start a new "
                "run that measures its own"
            )
        try:
            return cls(content["fingerprint"], _read(content["times"]), content.get("fit"))
        except (TypeError, ValueError, AttributeError):
            raise InvalidInputError(f"{path} is damaged: delete it, it is measured again then") from None

    def write(self, path: Path) -> None:
        """Writes it, whole or not at all."""
        content = {"format": FORMAT, "fingerprint": self.fingerprint, "fit": self.fit, "times": _plain(self.times)}
        write_json(path, content)

    @property
    def name(self) -> str:
        """A file name that no other fingerprint has."""
        text = json.dumps(self.fingerprint, sort_keys=True)
        return f"{self.fingerprint.get('engine', 'engine')}-{hashlib.sha256(text.encode()).hexdigest()[:16]}.json"


@contextmanager
def shared_with(table: LatencyTable, folder: Path) -> Iterator[None]:
    """Starts from the times that earlier runs left in a folder, and leaves it those that this one adds."""
    path = folder / table.name
    table.times = _merged(_times_of(path), table.times)
    try:
        yield
    finally:
        with suppress(OSError, StorageError):  # a cache that cannot be written is no cache
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(f"{path}.lock"):
                LatencyTable(table.fingerprint, _merged(_times_of(path), table.times)).write(path)


def _times_of(path: Path) -> Times:
    """What is in a shared file; one that is damaged holds nothing."""
    try:
        return _read(read_json(path)["times"])
    except (InvalidInputError, OSError, KeyError, TypeError, ValueError, AttributeError):
        return {}


def _merged(one: Times, other: Times) -> Times:
    return {key: {**one.get(key, {}), **other.get(key, {})} for key in {**one, **other}}


def _plain(times: Times) -> dict[str, dict[str, float]]:
    return {
        key: {",".join(map(str, ranks)): time for ranks, time in found.items()} for key, found in times.items() if found
    }


def _read(times: Any) -> Times:
    return {
        str(key): {tuple(int(r) for r in ranks.split(",") if r): _time(time) for ranks, time in found.items()}
        for key, found in times.items()
    }


def _time(value: Any) -> float:
    """
    Raises:
        ValueError: if it is no time.
    """
    if not 0 < float(value) < 1e15:
        raise ValueError(f"{value} ns")
    return float(value)


def _flat(facts: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in facts.items():
        flat |= _flat(value, f"{prefix}{key} ") if isinstance(value, Mapping) else {f"{prefix}{key}": value}
    return flat
