"""Python started in the source tree finds the whole package there, whether or not it is installed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
WITHOUT_EDITABLE_INSTALL = """
import sys
sys.meta_path[:] = [finder for finder in sys.meta_path if not finder.__module__.startswith("__editable__")]
"""
WHOLE = """
import importlib
from importlib import resources
from pathlib import Path
for name in ("baselines.knapsack", "searchers.batude", "space.tables", "configs"):
    found = Path(importlib.import_module(f"rank_search.{name}").__file__)
    assert found.is_relative_to(Path.cwd()), found
assert resources.files("rank_search.configs").joinpath("quickstart.yaml").read_text()
"""


def test_python_in_the_source_tree_finds_searchers_baselines_and_configs_without_an_editable_install() -> None:
    code = WITHOUT_EDITABLE_INSTALL + WHOLE
    answer = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
