"""Formats by name."""

from __future__ import annotations

from rank_search.deploy.export.format import Format
from rank_search.deploy.export.layer_file import LayerFile
from rank_search.deploy.export.onnx_file import OnnxFile
from rank_search.deploy.export.torch_files import Pt2, TorchScript
from rank_search.errors import UnknownNameError
from rank_search.plugins import nearest

FORMATS: dict[str, type[Format]] = {form.name: form for form in (OnnxFile, Pt2, TorchScript, LayerFile)}


def make_format(name: str) -> Format:
    """The format of that name.

    Raises:
        UnknownNameError
    """
    if name not in FORMATS:
        raise UnknownNameError(f"there is no format {name!r}{nearest(name, FORMATS)}; use {', '.join(FORMATS)}")
    return FORMATS[name]()
