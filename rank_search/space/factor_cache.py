"""Analyses kept on disk by the hash of the weight, so that no process decomposes what another already has."""

from __future__ import annotations

import hashlib
from pathlib import Path

from torch import Tensor

from rank_search.errors import InvalidInputError
from rank_search.files import read_tensors, write_tensors
from rank_search.space.decomposition import Analysis, Decomposition, IntArray
from rank_search.space.layer import Layer


class FactorCache:
    """A folder of safetensors files, one per weight and form. Safe for many readers and writers at once.

    Args:
        folder: where the files are; made when first written to. None keeps nothing on disk.
    """

    def __init__(self, folder: Path | None) -> None:
        self.folder = folder

    def analyse(self, form: Decomposition, layer: Layer, weight: Tensor, ranks: IntArray) -> Analysis:
        """The stored analysis, or a new one that is stored; an unreadable file is replaced."""
        exact = weight.detach().cpu().double().contiguous()
        if self.folder is None:
            return form.analyse(layer, exact, ranks)
        path = self.folder / f"{self._key(form, exact, ranks)}.safetensors"
        if path.exists():
            try:
                return read_tensors(path)[0]
            except InvalidInputError:
                pass
        analysis = form.analyse(layer, exact, ranks)
        write_tensors(path, analysis)
        return analysis

    @staticmethod
    def _key(form: Decomposition, weight: Tensor, ranks: IntArray) -> str:
        digest = hashlib.sha256(f"{form.name} {form.version} {tuple(weight.shape)} {ranks.shape}".encode())
        digest.update(ranks.tobytes())
        digest.update(weight.numpy().tobytes())
        return f"{form.name.split(':')[-1]}-{digest.hexdigest()[:32]}"
