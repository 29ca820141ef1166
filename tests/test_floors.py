"""The house: a floor imports only floors below it, the core names no searcher, ray and mlflow stay on their floor."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ["space", "task", "searching", "run", "report"]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("floor", FLOORS)
def test_a_floor_imports_only_floors_below_it(floor: str) -> None:
    above = FLOORS[FLOORS.index(floor) + 1 :]
    files = sorted((ROOT / "rank_search" / floor).rglob("*.py"))
    assert files
    for path in files:
        for name in imported(path):
            parts = name.split(".")
            assert parts[:2] not in [["rank_search", other] for other in above], f"{path.name} imports {name}"


def test_the_core_imports_no_searcher_and_nothing_but_run_imports_ray_or_mlflow() -> None:
    for path in sorted((ROOT / "rank_search").rglob("*.py")):
        for name in imported(path):
            assert not name.startswith(("rank_search.baselines", "rank_search.searchers")), f"{path}: {name}"
            if path.parent.name != "run":
                assert name.split(".")[0] not in ("ray", "mlflow"), f"{path}: {name}"


@pytest.mark.parametrize(
    "code",
    ["import rank_search", "import rank_search; rank_search.RankSpace, rank_search.search", "import rank_search.run"],
)
def test_importing_the_package_imports_neither_ray_nor_mlflow(code: str) -> None:
    check = f"{code}; import sys; sys.exit(len({{'ray', 'mlflow'}} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", check], check=False).returncode == 0


def test_help_imports_not_even_torch() -> None:
    check = (
        "import sys; sys.argv = ['rank-search', '--help']\n"
        "from rank_search.cli import main\n"
        "try:\n    main()\nexcept SystemExit as stop:\n    assert not stop.code\n"
        "sys.exit(len({'ray', 'mlflow', 'torch'} & set(sys.modules)))"
    )
    answer = subprocess.run([sys.executable, "-c", check], check=False, capture_output=True, text=True)
    assert answer.returncode == 0, answer.stderr
    for command in ("list", "inspect", "search", "bench", "report"):
        assert command in answer.stdout
