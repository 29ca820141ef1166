"""The house: a floor imports only floors below it, the core names no searcher, ray and mlflow stay on their floor."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
FLOORS = ["space", "deploy", "task", "recorded", "searching", "records", "run", "report"]
ROOMS = {
    "space": ["layers", "forms", "metrics", "tables"],
    "report": ["statistics", "figures", "tables", "render"],
}
"""Rooms of a floor, each importing only those before it."""
RAY_WHEN_CALLED = Path("space/tune_space.py")
"""The one file below the run floor that imports ray: inside of the function that returns a search space of Ray's."""
METHODS = ["batude", "relaxation", "ortos"]


def imported(path: Path, anywhere: bool = True) -> Iterator[str]:
    """What a file imports: anywhere in it, or at its top level only."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree) if anywhere else tree.body:
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


@pytest.mark.parametrize(("floor", "room"), [(floor, room) for floor, rooms in ROOMS.items() for room in rooms])
def test_a_room_imports_only_rooms_before_it(floor: str, room: str) -> None:
    after = ROOMS[floor][ROOMS[floor].index(room) + 1 :]
    files = sorted((ROOT / "rank_search" / floor / room).rglob("*.py"))
    assert files
    for path in files:
        for name in imported(path):
            assert name.split(".")[:3] not in [["rank_search", floor, other] for other in after], f"{path}: {name}"


def test_the_solver_imports_numpy_and_scipy_only() -> None:
    files = sorted((ROOT / "rank_search" / "space" / "solver").rglob("*.py"))
    assert len(files) > 2
    allowed = ("numpy", "scipy", "rank_search.space.solver", "rank_search.arrays")
    for path in files:
        for name in imported(path):
            inside = name.startswith(allowed) or name.split(".")[0] in sys.stdlib_module_names
            assert inside, f"{path.name} imports {name}"
    assert {name.split(".")[0] for name in imported(ROOT / "rank_search" / "arrays.py")} <= {"__future__", "numpy"}


def test_no_import_goes_in_a_circle() -> None:
    """Of all modules of the package, at their top level: a topological order exists."""
    modules = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path for path in (ROOT / "rank_search").rglob("*.py")
    }
    modules = {name.removesuffix(".__init__"): path for name, path in modules.items()}
    graph = {
        name: {found for found in imported(path, anywhere=False) if found in modules} - {name}
        for name, path in modules.items()
    }
    packages = {name for name, path in modules.items() if path.name == "__init__.py"}
    for name, found in graph.items():  # a package's door collects its rooms: only what its modules import counts
        graph[name] = found if name not in packages else set()
    list(TopologicalSorter(graph).static_order())


@pytest.mark.parametrize("method", METHODS)
def test_no_method_imports_another(method: str) -> None:
    files = sorted((ROOT / "searchers" / method).rglob("*.py"))
    assert files
    for path in files:
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                assert node.level < 2, f"{path.name} imports from beside its package"
        for name in imported(path):
            assert not name.startswith("rank_search.searchers"), f"{path.name} imports {name}"
            assert not name.startswith("rank_search.baselines"), f"{path.name} imports {name}"


def test_the_core_imports_no_searcher_and_nothing_but_run_imports_ray_or_mlflow() -> None:
    for path in sorted((ROOT / "rank_search").rglob("*.py")):
        for name in imported(path):
            assert not name.startswith(("rank_search.baselines", "rank_search.searchers")), f"{path}: {name}"
        for name in imported(path, anywhere=path != ROOT / "rank_search" / RAY_WHEN_CALLED):
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
