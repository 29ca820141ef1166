"""Writes the page of a run folder."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from rank_search.errors import InvalidInputError, RunError
from rank_search.files import read_json, write_text
from rank_search.recorded import read_recording
from rank_search.records.schema import CONFIG_FILE, REGRET_FILE, RUN_FILE
from rank_search.report.regret import read_regret, regret_report
from rank_search.report.render.html.page import html_page, regret_page
from rank_search.report.sections import report_of

PAGE_FILE = "report.html"


def write_html(folder_of_run: Path | str, path: Path | str | None = None) -> Path:
    """Writes the page of a run, or of a benchmark of regret.

    Args:
        folder_of_run: that has ended at least one cell; a missing config is no error.
        path: of the page; ``report.html`` in the run folder unless told.

    Returns:
        The path.

    Raises:
        RunError: if a file of the run folder is missing or malformed.
        StorageError: if the page could not be written.
    """
    folder = Path(folder_of_run)
    path = folder / PAGE_FILE if path is None else Path(path)
    config = _config(folder)
    title = _name(config) or folder.absolute().name
    about = _about(folder, config, title)
    if (folder / REGRET_FILE).is_file():
        frame = read_regret(folder)
        recordings = {name: read_recording(name) for name in dict.fromkeys(map(str, frame["task"]))}
        page = regret_page(regret_report(frame, recordings), title=title, about=about)
    else:
        page = html_page(report_of(folder), title=title, about=about)
    write_text(path, page)
    return path


def _about(folder: Path, config: str, title: str) -> dict[str, str]:
    """The config, what the run folder says of itself, and how to run it again: headings and texts."""
    said = {}
    if config:
        said["Config"] = config
    found = _record(folder)
    unknown = [] if "versions" in found else ["versions of libraries: not recorded by this run folder"]
    said["Versions"] = "\n".join([*_lines(found), *unknown, f"page made by rank-search {version('rank-search')}"])
    if config:
        where = re.sub(r"[^\w.-]+", "-", title) or "again"
        said["How to reproduce"] = (
            f"# with the config above saved as {CONFIG_FILE}, or the one in the run folder\n"
            f"rank-search bench {CONFIG_FILE} --output runs/{where}\n"
            f"rank-search report runs/{where}"
        )
    return said


def _config(folder: Path) -> str:
    path = folder / CONFIG_FILE
    if not path.is_file():
        return ""
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {' '.join(str(error).split())}; restore it, or delete it") from None


def _name(config: str) -> str:
    """Of the run, as its config gives it; empty if it does not."""
    try:
        found = yaml.safe_load(config)
    except yaml.YAMLError:
        return ""
    return str(found.get("name") or "") if isinstance(found, Mapping) else ""


def _record(folder: Path) -> Mapping[str, Any]:
    path = folder / RUN_FILE
    try:
        found = read_json(path) if path.is_file() else {}
    except InvalidInputError as error:
        raise RunError(str(error)) from None
    return found if isinstance(found, Mapping) else {}


def _lines(found: Mapping[str, Any], before: str = "") -> list[str]:
    """``key: value``, of mappings in a mapping ``key value: ...``."""
    said = []
    for key, value in found.items():
        name = f"{before} {key}".strip()
        said += _lines(value, name) if isinstance(value, Mapping) else [f"{name}: {value}"]
    return said
