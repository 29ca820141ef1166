"""Every ``rank-search`` command of the docs is one that there is, with options, configs and keys that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import typer
from snippets import PAGES, ROOT, SHELLS, commands, snippets, words_of

from rank_search.cli import app
from rank_search.run.config import load_config
from rank_search.run.regret.config import is_regret, load_regret_config
from rank_search.run.single import parse_budgets

STANDS_FOR = {"CONFIG": "quickstart", "NAME": "digits", "FOLDER": "folder", "OUTPUT": "output", "RUN": "run"}
"""Words in capitals that a reader fills in, and what a test does."""
COMMANDS = [
    pytest.param(page, words, id=f"{page}:{line}: {' '.join(words[1:3])}")
    for page in PAGES
    for line, words in commands(page)
]


def filled(words: list[str]) -> list[str]:
    """The words with values for what stands in capitals, optional ones given, dots left out."""
    bare = [re.sub(r"^\[(?=--)", "", word) for word in words[1:] if word != "..."]
    bare = [word.removesuffix("]") if "[" not in word and "{" not in word else word for word in bare]
    while bare and bare[-1] == "--set":
        bare.pop()
    for name, value in STANDS_FOR.items():
        bare = [re.sub(rf"\b{name}\b", value, word) for word in bare]
    return bare


@pytest.mark.parametrize(("page", "words"), COMMANDS)
def test_a_command_has_options_a_config_and_keys_that_exist(
    page: str, words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    for snippet in snippets(page):
        if snippet.title:
            Path(snippet.title).write_text(snippet.code)
    name, *rest = filled(words)
    group = typer.main.get_command(app)
    context = group.make_context("rank-search", [name, *rest], resilient_parsing=True)
    command = group.get_command(context, name)  # type: ignore[attr-defined]
    assert command is not None, f"there is no command {name}"
    if not rest:  # the command's name alone, in a sentence
        return
    params = command.make_context(name, rest, parent=context).params
    settings = list(params.get("settings") or [])
    config = params.get("config")
    if name == "bench" and is_regret(config):
        load_regret_config(config, settings)
    elif config and not (config.endswith(".yaml") and not Path(config).exists()):
        load_config(config, settings)
    if params.get("budget"):
        parse_budgets(params["budget"])


def test_scripts_and_make_targets_that_the_docs_name_exist() -> None:
    targets = re.findall(r"^([\w-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
    for page, path in PAGES.items():
        text = path.read_text()
        for script in re.findall(r"python ((?:benchmarks|examples)/\w+\.py)", text):
            assert (ROOT / script).is_file(), f"{page}: {script}"
        for target in re.findall(r"`make ([\w-]+)", text):
            assert target in targets, f"{page}: make {target}"
        for snippet in snippets(page):
            if snippet.language in SHELLS:
                for words in words_of(snippet.code):
                    assert words[0] != "make" or words[1] in targets, f"{snippet}: make {words[1]}"
