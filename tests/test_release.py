"""The source distribution holds what tests and docs need, and a wheel built from it works in a fresh environment."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest
import yaml

import rank_search

ROOT = Path(__file__).parent.parent
SOURCES = (".ci", "baselines", "benchmarks", "configs", "docs", "examples", "rank_search", "searchers", "tests")
LOOSE = (
    *("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "LICENSE", "Makefile", "MANIFEST.in", "README.md"),
    *("SECURITY.md", "mkdocs.yml", "pyproject.toml", ".gitignore", ".pre-commit-config.yaml"),
)
BUILD = "import sys, setuptools.build_meta as backend; print(getattr(backend, sys.argv[1])(sys.argv[2]))"
VERSION = rank_search.__version__
USE = """
import json, rank_search as rs
from pathlib import Path
from importlib.metadata import version
from rank_search.run.config import load_config
task = rs.load_recorded("digits", rs.Budget(macs=0.35))
found = rs.search(task, "random", rs.Limits(evaluations=4), seed=0)
print(json.dumps({
    "file": rs.__file__, "version": version("rank-search"), "named": rs.__version__,
    "tasks": [*load_config("quickstart").tasks], "evaluations": found.meter["evaluations"],
    "typed": Path(rs.__file__).with_name("py.typed").is_file(),
}))
"""


def told(words: list[str], folder: Path) -> str:
    """What a command prints; without the paths that would lead it to the source tree."""
    kept = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "VIRTUAL_ENV")}
    answer = subprocess.run(
        words,
        cwd=folder,
        env={**kept, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert answer.returncode == 0, f"{words}\n{answer.stdout}\n{answer.stderr}"
    return answer.stdout


def hidden(path: Path) -> bool:
    return "__pycache__" in path.parts or path.suffix == ".pyc"


@pytest.fixture(scope="module")
def sources(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the tree, which a build may write to."""
    pytest.importorskip("setuptools", "77", reason="setuptools 77 or newer is not installed")
    copy = tmp_path_factory.mktemp("release") / "tree"
    for name in SOURCES:
        shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.pyc"))
    for name in LOOSE:
        shutil.copy(ROOT / name, copy / name)
    return copy


@pytest.fixture(scope="module")
def unpacked(sources: Path) -> Path:
    """The source distribution, unpacked."""
    built = told([sys.executable, "-c", BUILD, "build_sdist", str(sources.parent)], sources).split()[-1]
    with tarfile.open(sources.parent / built) as archive:
        archive.extractall(sources.parent / "sdist", filter="data")
    return sources.parent / "sdist" / built.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(unpacked: Path) -> Path:
    built = told([sys.executable, "-c", BUILD, "build_wheel", str(unpacked.parent)], unpacked).split()[-1]
    return unpacked.parent / built


@pytest.fixture(scope="module")
def fresh(wheel: Path) -> Path:
    """The folder of programs of an environment that has the wheel, and all other packages of this one."""
    pytest.importorskip("pip", reason="pip is not installed")
    home = wheel.parent / "environment"
    venv.create(home, with_pip=False)
    programs = home / "bin"
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--python", str(programs / "python")]
    told([*pip, "install", "-q", "--no-index", "--no-deps", str(wheel)], wheel.parent)
    (own,) = home.glob("lib/python*/site-packages")
    others = [path for path in sys.path if Path(path).name in ("site-packages", "dist-packages")]
    (own / "others.pth").write_text("".join(f"{path}\n" for path in others))
    return programs


def test_the_source_distribution_holds_every_file(sources: Path, unpacked: Path) -> None:
    wanted = {path.relative_to(sources) for name in SOURCES for path in (sources / name).rglob("*") if path.is_file()}
    wanted = {path for path in wanted if not hidden(path)} | {Path(name) for name in LOOSE}
    missing = {path for path in wanted if not (unpacked / path).is_file()}
    assert not missing
    assert not [path for path in unpacked.rglob("*") if hidden(path)]


def test_the_wheel_holds_the_package_and_no_tests(wheel: Path) -> None:
    assert wheel.name.startswith(f"rank_search-{VERSION}-")
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names} == {"rank_search", f"rank_search-{VERSION}.dist-info"}
    assert not [name for name in names if "/test_" in name or name.startswith("rank_search/tests")]
    held = {name.removeprefix("rank_search/") for name in names}
    for name in ("rank_search", "baselines", "searchers", "configs"):
        for path in (ROOT / name).rglob("*"):
            if path.is_file() and not hidden(path):
                place = path.relative_to(ROOT if name != "rank_search" else ROOT / name).as_posix()
                assert place in held, f"the wheel lacks {place}"


def test_the_wheel_lists_loads_and_searches_in_a_fresh_environment(fresh: Path, tmp_path: Path) -> None:
    listed = told([str(fresh / "rank-search"), "list"], tmp_path)
    for name in ("knapsack", "batude", "tucker2", "onnxruntime", "quickstart", "mnist1d"):
        assert f"  {name}" in listed
    assert "broken" not in listed
    said = yaml.safe_load(told([str(fresh / "python"), "-c", USE], tmp_path).splitlines()[-1])
    assert said.pop("file").startswith(str(fresh.parent))
    assert said == {"version": VERSION, "named": VERSION, "tasks": ["digits"], "evaluations": 4, "typed": True}


def test_all_papers_name_the_same_version() -> None:
    assert f'\nversion = "{VERSION}"\n' in (ROOT / "pyproject.toml").read_text()
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == VERSION
    dated = re.search(r"^## (\S+) \((\d{4}-\d\d-\d\d)\)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert dated is not None
    assert dated.groups() == (VERSION, citation["date-released"])
    assert "\n## Unreleased\n" in (ROOT / "CHANGELOG.md").read_text()[: dated.start() + 1]
