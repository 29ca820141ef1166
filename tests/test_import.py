"""Importing the package, and the names of a first script, loads nothing that they do not need yet."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = (
    *("ray", "mlflow", "optuna", "sklearn", "pandas", "pyarrow", "matplotlib", "tensorly", "torchvision", "cmaes"),
    *("scikit_posthocs", "mnist1d", "rich", "onnx", "onnxruntime", "openvino", "scipy.optimize", "scipy.interpolate"),
    "scipy.stats",
)
FIRST = "rs.load_data, rs.load_model, rs.train, rs.RankSpace, rs.Budget, rs.Task, rs.search, rs.save, rs.load"


@pytest.mark.parametrize(
    ("code", "unwanted"),
    [
        ("import rank_search", (*HEAVY, "torch", "numpy", "scipy")),
        (f"import rank_search as rs; {FIRST}", HEAVY),
        ("import rank_search.cli", (*HEAVY, "torch", "numpy", "scipy")),
    ],
)
def test_an_import_loads_nothing_heavy_that_waits_for_its_use(code: str, unwanted: tuple[str, ...]) -> None:
    check = f"{code}; import sys; print(*sorted({{*{unwanted!r}}} & {{*sys.modules}}))"
    told = subprocess.run([sys.executable, "-c", check], capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 0, told.stderr
    found = {*told.stdout.split()} - ({"rich"} if "cli" in code else set())  # typer's own
    assert not found
