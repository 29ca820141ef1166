"""One network with every form, exported once to every format."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from every_form import SHAPE, drawn
from form_plan import PLAN
from torch import nn

from rank_search.deploy.export import Exported, export
from rank_search.deploy.export.formats import FORMATS
from rank_search.space import compress


@pytest.fixture(scope="session")
def dense() -> nn.Module:
    return drawn()


@pytest.fixture(scope="session")
def small(dense: nn.Module) -> nn.Module:
    return compress(dense, PLAN)


@pytest.fixture(scope="session")
def exports(dense: nn.Module, small: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Exported]:
    """By format; with int8 for ONNX."""
    folder, found = tmp_path_factory.mktemp("exports"), {}
    generator = torch.Generator().manual_seed(1)
    calibration = torch.randn(24, *SHAPE, generator=generator)
    for name in FORMATS:
        target: Path = folder / name
        found[name] = export(
            nn.DataParallel(small) if name == "pt2" else small,
            torch.zeros(2, *SHAPE),
            target,
            name,
            dense=dense,
            calibration=calibration,
            int8=name == "onnx",
            facts={"name": "every form", "source": "drawn"},
            judge=lambda predict: {"spread": float(predict(calibration).std())},
        )
    return found
