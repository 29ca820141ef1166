"""Writes the page of a report, or of a run folder."""

from __future__ import annotations

from pathlib import Path

from rank_search.files import write_text
from rank_search.records.schema import PAGE_FILE, REGRET_FILE
from rank_search.report.regret import regret_report_of
from rank_search.report.render.html.page import html_page
from rank_search.report.sections import Report, report_of


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
    report = regret_report_of(folder) if (folder / REGRET_FILE).is_file() else report_of(folder)
    write_text(path, html_page(report))
    return path


def write_page(report: Report, folder: Path) -> list[Path]:
    """Writes ``report.html``, which needs nothing but itself."""
    path = folder / PAGE_FILE
    write_text(path, html_page(report))
    return [path]
