"""Every block of README.md and docs/ runs, page by page and in order, or says before it why it cannot run here."""

from __future__ import annotations

import ast
import contextlib
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from given import GIVEN
from snippets import PAGES, SHELLS, Snippet, snippets, words_of

import rank_search as rs
from rank_search import cli
from rank_search.run.config import load_config
from rank_search.run.regret.config import is_regret, load_regret_config
from rank_search.searching import searchers

REASONS = {
    "a cluster": r"ray-address|RayWorkers|ray_address",
    "Ray for a minute; an example does": r"tune\.Tuner",
    "half a minute or more": r"rank-search (bench|record|search|report)|make quickstart",
    "an installation": r"pip install|make (test|lint|docs)",
    "Docker": r"docker compose",
    "a download": r"torchvision\.datasets",
    "files of your own": r"CONFIG|NAME|FOLDER|\bRUN\b|my\.pt|\.npz",
    "another package": r"syne_tune",
}
"""Why a block may be left alone, and what must then stand in it."""
ALL = [snippet for page in PAGES for snippet in snippets(page)]
RUN = ("python", *SHELLS)
LANGUAGES = ("python", "sh", "bash", "yaml", "toml", "text")


def test_every_block_names_its_language_and_the_reasons_are_few_and_true() -> None:
    for snippet in ALL:
        assert snippet.language in LANGUAGES, f"{snippet} has the language {snippet.language!r}"
        if snippet.reason is not None:
            assert snippet.reason in REASONS, f"{snippet}: not run: {snippet.reason}; allowed: {', '.join(REASONS)}"
            assert re.search(REASONS[snippet.reason], snippet.code), f"{snippet} runs without {snippet.reason}"
    assert {snippet.reason for snippet in ALL} - {None} == {*REASONS}, "a reason that no block gives"
    assert sum(snippet.reason is None for snippet in ALL if snippet.language in RUN) >= 25


@pytest.mark.parametrize("snippet", [snippet for snippet in ALL if snippet.language == "python"], ids=str)
def test_a_block_of_python_is_python_and_names_what_is_public(snippet: Snippet) -> None:
    for node in ast.walk(ast.parse(snippet.code)):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "rs":
            assert node.attr in rs.__all__, f"{snippet}: rs.{node.attr}"


@pytest.mark.parametrize("snippet", [snippet for snippet in ALL if snippet.language == "yaml"], ids=str)
def test_a_block_of_yaml_is_a_config_or_a_part_of_one(
    snippet: Snippet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    given = yaml.safe_load(snippet.code)
    assert isinstance(given, dict), snippet
    for other in snippets(snippet.page):
        if other.title:
            Path(other.title).write_text(other.code)
    whole = given if {"tasks", "budgets"} <= {*given} or "regret" in given else {**base(), **given}
    Path("config.yaml").write_text(yaml.safe_dump(whole))
    if is_regret("config.yaml"):
        load_regret_config("config.yaml", [])
    else:
        load_config("config.yaml", [])


def base() -> dict[str, Any]:
    """The quickstart as plain data, for the sections that a fragment does not have."""
    loaded: dict[str, Any] = load_config("quickstart").model_dump(mode="json")
    return loaded


@pytest.fixture(scope="module", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RANK_SEARCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture
def _as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The page has a folder of its own; what it imports and registers is gone afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    modules, names = {*sys.modules}, {*searchers.names()}
    yield
    for name in {*searchers.names()} - names:
        searchers.unregister(name)
    for name, module in list(sys.modules.items()):
        place = getattr(module, "__file__", None)
        if name not in modules and ((place is None and name.startswith("my_")) or str(place).startswith(str(tmp_path))):
            del sys.modules[name]


@pytest.mark.usefixtures("_as_before")
@pytest.mark.parametrize(
    "page", sorted({snippet.page for snippet in ALL if snippet.reason is None and snippet.language in RUN})
)
def test_the_blocks_of_a_page_run_in_order(page: str, monkeypatch: pytest.MonkeyPatch) -> None:
    namespace: dict[str, Any] = {"__name__": f"docs_{Path(page).stem}", "rs": rs, **GIVEN.get(page, dict)()}
    for snippet in snippets(page):
        if snippet.title:
            Path(snippet.title).write_text(snippet.code)
        if snippet.reason is not None or snippet.title:
            continue
        if snippet.language == "python":
            code = compile("\n" * snippet.line + snippet.code, str(PAGES[page]), "exec")
            with contextlib.redirect_stdout(io.StringIO()):
                exec(code, namespace)
        elif snippet.language in SHELLS:
            for words in words_of(snippet.code):
                run(words, snippet, monkeypatch)


def run(words: list[str], snippet: Snippet, monkeypatch: pytest.MonkeyPatch) -> None:
    """One command; those of rank-search in this process, which has imported it already."""
    if words[0] == "rank-search":
        monkeypatch.setattr(sys, "argv", words)
        output, errors = io.StringIO(), io.StringIO()
        with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors), pytest.raises(SystemExit) as stop:
            cli.main()
        assert not stop.value.code, f"{snippet}: {' '.join(words)}\n{output.getvalue()}{errors.getvalue()}"
        return
    program = [sys.executable, *words[1:]] if words[0] == "python" else words
    told = subprocess.run(
        program,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert told.returncode == 0, f"{snippet}: {' '.join(words)}\n{told.stdout}{told.stderr}"
