"""The formats of a written report, by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from rank_search.report.render.csv_tables import write_csv
from rank_search.report.render.html.write_html import write_page
from rank_search.report.render.latex import write_latex
from rank_search.report.render.markdown import write_markdown
from rank_search.report.render.png.paper import write_pdf, write_png
from rank_search.report.sections import Report

Writer = Callable[[Report, Path], list[Path]]
"""Writes files into a folder that exists, and returns their paths. Endings are its own; no other format has them."""

FORMATS: dict[str, Writer] = {
    "md": write_markdown,
    "latex": write_latex,
    "csv": write_csv,
    "png": write_png,
    "pdf": write_pdf,
    "html": write_page,
}
