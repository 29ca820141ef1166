"""Tables as LaTeX: ``tabular`` with the rules of booktabs, to be put into a paper's ``table``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import zip_longest
from pathlib import Path

from rank_search.report.render.table_files import write_tables
from rank_search.report.sections import Report
from rank_search.report.tables.table import Table

SIGNS = {
    "\\": r"\textbackslash{}",
    **{sign: f"\\{sign}" for sign in "&%$#_{}"},
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "–": "--",
    "…": r"\dots{}",
}


def write_latex(report: Report, folder: Path) -> list[Path]:
    """Writes a ``.tex`` per table; the paper says ``\\usepackage{booktabs}`` and ``\\input``."""
    return write_tables(report, folder, "tex", latex_of)


def latex_of(table: Table) -> str:
    """One ``tabular``, its title as a comment; a rule where the group changes."""
    return "\n".join(_lines(table)) + "\n"


def escaped(text: str) -> str:
    """Text that LaTeX sets as it is."""
    return "".join(SIGNS.get(sign, sign) for sign in " ".join(text.split()))


def _lines(table: Table) -> Iterator[str]:
    yield f"% {' '.join(table.title.split())}"
    yield r"% needs \usepackage{booktabs}"
    yield f"\\begin{{tabular}}{{{''.join('r' if column.numeric else 'l' for column in table.columns)}}}"
    yield r"\toprule"
    for headers in zip_longest(*(column.header.rstrip("\n").split("\n") for column in table.columns), fillvalue=""):
        yield _row(headers)
    yield r"\midrule"
    before = table.groups[0] if table.groups else ""
    for group, *cells in zip(table.groups, *(column.cells for column in table.columns), strict=True):
        if group != before:
            yield r"\midrule"
        before = group
        yield _row(cells)
    yield r"\bottomrule"
    yield r"\end{tabular}"


def _row(cells: Iterable[str]) -> str:
    texts = [escaped(cell) for cell in cells]
    first = f"{{}}{texts[0]}" if texts[0].startswith(("[", "*")) else texts[0]  # after \\ these would be its options
    return f"{' & '.join([first, *texts[1:]])} \\\\"
