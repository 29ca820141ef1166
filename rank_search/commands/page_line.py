"""The page of a report, and the line that says where it is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rank_search.report.sections import Report


def page_line(report: Report, folder: Path) -> str:
    """Writes the page of a report, and returns a line that says where, or why not: a run is not lost for its page."""
    from rank_search.report.render.html import write_page

    try:
        (path,) = write_page(report, folder)
    except Exception as error:
        return f"report:  no page was written: {' '.join(str(error).split()) or type(error).__name__}"
    return f"report:  {path}"
