"""What an export is: files, how far they are from the network, what they cost and how long they take."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rank_search.deploy.export.folding import Folding
from rank_search.deploy.export.parity import Parity

DENSE, COMPRESSED, INT8 = "dense", "compressed", " int8"


@dataclass(frozen=True)
class Variant:
    """One row of the table: the dense or the compressed network, as it is or in int8.

    Args:
        name: ``dense``, ``dense int8``, ``compressed`` or ``compressed int8``.
        bytes: of its file.
        milliseconds: of one call on the example, the least of several rounds, all variants in turn.
        kept_time: of the dense network's; None without one.
        relative: the largest difference from its own network in torch, of the largest output.
        measures: what the judge said of it, by name.
    """

    name: str
    bytes: int
    milliseconds: float
    kept_time: float | None
    relative: float
    measures: Mapping[str, float]


@dataclass(frozen=True)
class Exported:
    """An export's folder, and all that its card says.

    Args:
        folder: where it is.
        format: ``onnx``, ``pt2``, ``torchscript`` or ``safetensors``.
        engine: what it was run and timed with: options, versions, device.
        batch: samples of the example.
        parity: of the compressed network's file.
        folding: of its batch norms.
        int8: ``static``, ``dynamic``, or None.
        variants: rows of the table.
        costs: per metric the compressed and the dense network's, counted on the networks.
        plan: form and ranks by layer.
        files: SHA-256 by file name.
        facts: what the caller knows: where the weights are from, accuracies.
    """

    folder: Path
    format: str
    engine: Mapping[str, Any]
    batch: int
    parity: Parity
    folding: Folding
    int8: str | None
    variants: tuple[Variant, ...]
    costs: Mapping[str, Mapping[str, int]]
    plan: Mapping[str, Any]
    files: Mapping[str, str]
    facts: Mapping[str, Any]

    def variant(self, name: str) -> Variant:
        """A row by its name."""
        return next(variant for variant in self.variants if variant.name == name)

    def to_dict(self) -> dict[str, Any]:
        """Plain data, without the folder."""
        return {key: value for key, value in asdict(self).items() if key != "folder"}
