"""Markdown, LaTeX and CSV: the same cells, and no sign that means something there."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import pandas as pd
from run_folder import failed
from seeded_runs import rows_of, write_evaluated

from rank_search.report import leaderboard, read_results, report_of
from rank_search.report.render.csv_tables import csv_of
from rank_search.report.render.latex import escaped as latex_escaped
from rank_search.report.render.latex import latex_of
from rank_search.report.render.markdown import escaped as markdown_escaped
from rank_search.report.render.markdown import markdown_of, markdown_table
from rank_search.report.tables.table import Column, Table

NASTY = "a_b|c & 100% <x> $5 #1 {z} ~^ \\ *star* `code`\nline"
TABLE = Table(
    "A title",
    (
        Column("name\n", ("my_tpe", "x|y"), numeric=False),
        Column("after, on\ntest", ("97.8 ± 0.6", "–")),
    ),
    ("one", "two"),
)


def test_a_markdown_table_has_one_header_line_and_as_many_cells_in_every_row() -> None:
    assert markdown_table(TABLE).split("\n") == [
        "| name | after, on test |",
        "|:---|---:|",
        "| my\\_tpe | 97.8 ± 0.6 |",
        "| x\\|y | – |",
    ]
    assert "\n" not in markdown_escaped(NASTY)
    unescaped = re.findall(r"(?<!\\)[|*_`{}#~]", markdown_escaped(NASTY))
    assert unescaped == []
    assert "<" not in markdown_escaped(NASTY)


def test_a_latex_table_has_booktabs_rules_and_a_rule_between_groups() -> None:
    assert latex_of(TABLE).split("\n") == [
        "% A title",
        r"% needs \usepackage{booktabs}",
        r"\begin{tabular}{lr}",
        r"\toprule",
        r"name & after, on \\",
        r" & test \\",
        r"\midrule",
        r"my\_tpe & 97.8 $\pm$ 0.6 \\",
        r"\midrule",
        r"x\textbar{}y & -- \\",
        r"\bottomrule",
        r"\end{tabular}",
        "",
    ]


def test_signs_of_latex_are_escaped() -> None:
    found = latex_escaped(NASTY)
    assert found == (
        r"a\_b\textbar{}c \& 100\% \textless{}x\textgreater{} \$5 \#1 \{z\} \textasciitilde{}\textasciicircum{} "
        r"\textbackslash{} *star* `code` line"
    )


def test_csv_has_the_numbers_in_full_precision(tmp_path: Path) -> None:
    folder = write_evaluated(tmp_path / "run", rows_of({"a": [0.9, 0.8, 0.7], "b": [1 / 3, 0.7, 0.7]}))
    board = leaderboard(read_results(folder))
    (section,) = report_of(folder).sections
    read = pd.read_csv(io.StringIO(csv_of(section.tables[0])))
    assert read["test"].tolist() == board["test"].tolist()
    assert read["test_half_width"].dropna().tolist() == board["test_half_width"].dropna().tolist()
    assert {"test_bootstrap_low", "kept_macs", "latency_share"} <= {*read.columns}


def test_csv_of_a_table_without_numbers_has_its_cells() -> None:
    assert list(csv.reader(io.StringIO(csv_of(TABLE)))) == [
        ["name", "after, on test"],
        ["my_tpe", "97.8 ± 0.6"],
        ["x|y", "–"],
    ]


def test_the_markdown_report_has_all_that_the_report_says(tmp_path: Path) -> None:
    rows = [*rows_of({"a": [0.9, 0.8], "b_b": [0.7, 0.7]}), failed("digits", "macs=0.5", "cp", 0, "out | of\nmemory")]
    report = report_of(write_evaluated(tmp_path / "run", rows))
    text = markdown_of(report)
    assert [line for line in text.split("\n") if line.startswith("#")] == [
        *("# run", "## Summary", "## digits", "## All tasks", "## Legend", "## Failures")
    ]
    assert "- digits-macs=0.5-cp-0: out \\| of memory" in text
    assert all(f"**{markdown_escaped(table.title)}**" in text for table in report.all_tables)
    assert all(f"- {markdown_escaped(sentence)}" in text for sentence in report.summary)
