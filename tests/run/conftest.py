"""A bench that takes seconds: a narrow digits net, trained for two epochs, few evaluations."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from small_bench import SMALL


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache of trained networks for all tests of the run floor."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def _own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK_SEARCH_CACHE", str(cache))


@pytest.fixture
def small_config(tmp_path: Path) -> Callable[..., Path]:
    """Writes the small config, with top-level keys replaced, and returns its path."""

    def write(**changes: Any) -> Path:
        path = tmp_path / "small.yaml"
        path.write_text(yaml.safe_dump({**SMALL, **changes}, sort_keys=False))
        return path

    return write
