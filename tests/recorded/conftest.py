"""A recording of 16 plans of a narrow digits network, made by the command's own code in this process."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from tiny_recording import NAME, tiny_config

from rank_search.run.recorder import record


@pytest.fixture(scope="session")
def recorded_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the recording is; not to be written to."""
    base = tmp_path_factory.mktemp("recorded")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANK_SEARCH_CACHE", str(base / "cache"))
        return record(tiny_config(), NAME, base / NAME, finetuned=3, seeds=[0, 1], in_process=True)


@pytest.fixture
def own_recording(recorded_folder: Path, tmp_path: Path) -> Callable[[], Path]:
    """A copy that a test may damage."""

    def copied() -> Path:
        return Path(shutil.copytree(recorded_folder, tmp_path / "copy"))

    return copied
