"""What a run folder says of itself: its config, the versions that it ran under, and how to run it again."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from rank_search.errors import InvalidInputError, RunError
from rank_search.files import read_json
from rank_search.records.schema import COMMAND, CONFIG_FILE, RESUMED, RUN_FILE, VERSIONS

CONFIG, VERSIONS_TITLE, AGAIN = "Config", "Versions", "How to reproduce"
Said = tuple[tuple[str, str], ...]


def about_runs(folders: Sequence[Path | str]) -> Said:
    """Headings and texts on one run or several; a file that is missing has none.

    Raises:
        RunError: if a file cannot be read.
    """
    paths = [Path(folder) for folder in folders]
    names = names_of(paths)
    found: list[tuple[str, str]] = []
    for path, name in zip(paths, names, strict=True):
        of = f" of {name}" if len(paths) > 1 else ""
        config, record = _config(path), _record(path)
        if config:
            found.append((f"{CONFIG}{of}", config))
        found.append((f"{VERSIONS_TITLE}{of}", _versions(record)))
        if config:
            found.append((f"{AGAIN}{of}", _again(config, record, name)))
    return tuple(found)


def names_of(folders: Sequence[Path]) -> list[str]:
    """The folders' own names; with what they are in, where two have the same."""
    names = [folder.absolute().name or str(folder) for folder in folders]
    if len(set(names)) == len(names):
        return names
    return [f"{folder.absolute().parent.name}/{name}" for folder, name in zip(folders, names, strict=True)]


def _versions(record: Mapping[str, Any]) -> str:
    lines = [f"{key}: {record[key]}" for key in ("id", "schema") if key in record]
    known = record.get(VERSIONS)
    if isinstance(known, Mapping):
        lines += [f"{name}: {value}" for name, value in known.items()]
    else:
        lines.append("versions of libraries: not recorded by this run folder")
    for changed in record.get(RESUMED) or ():
        lines.append("resumed under " + ", ".join(f"{name} {value}" for name, value in dict(changed).items()))
    return "\n".join([*lines, f"page made by rank-search {version('rank-search')}"])


def _again(config: str, record: Mapping[str, Any], name: str) -> str:
    """Commands that run it again: the search that it was, or a bench."""
    where = "runs/" + (re.sub(r"[^\w.-]+", "-", name) or "again")
    words = ["bench", CONFIG_FILE]
    if record.get(COMMAND) == "search":
        words = ["search", CONFIG_FILE, *_search_words(config)]
    return (
        f"# with the config above saved as {CONFIG_FILE}, or the one in the run folder\n"
        f"{shlex.join(['rank-search', *words, '--output', where])}\n"
        f"{shlex.join(['rank-search', 'report', where])}"
    )


def _search_words(config: str) -> list[str]:
    """The options of ``rank-search search`` that its config holds; none that is not there."""
    try:
        found = yaml.safe_load(config)
        ((task, _),), (arm,), (seed,) = found["tasks"].items(), found["searchers"], found["seeds"]
        budgets = [",".join(f"{metric}={bound}" for metric, bound in one.items()) for one in found["budgets"]]
        title = arm.get("label") or arm["name"]
    except (yaml.YAMLError, KeyError, TypeError, ValueError, AttributeError):
        return []
    options = [word for budget in budgets for word in ("--budget", budget)]
    return ["--task", str(task), "--searcher", str(title), *options, "--seed", str(seed)]


def _config(folder: Path) -> str:
    path = folder / CONFIG_FILE
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {' '.join(str(error).split())}; restore it, or delete it") from None


def _record(folder: Path) -> Mapping[str, Any]:
    path = folder / RUN_FILE
    try:
        found = read_json(path) if path.is_file() else {}
    except InvalidInputError as error:
        raise RunError(str(error)) from None
    return found if isinstance(found, Mapping) else {}
