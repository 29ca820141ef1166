"""No two figures of a report have one file, and every name fits on disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_folder import DENSE, PLAN, Row, Write, done, steps

from rank_search.files import write_text
from rank_search.records.file_names import fitting
from rank_search.records.results import write_results
from rank_search.records.schema import PLAN_FILE
from rank_search.records.steps import write_steps
from rank_search.report import report_of, write_plots


def test_tasks_whose_names_look_alike_on_disk_have_figures_of_their_own(write_run: Write) -> None:
    folder = write_run([done(task, "macs=0.5", "tpe", 0, 0.9) for task in ("a+b", "a-b", "A-B")])
    stems = [named.stem for section in report_of(folder).sections for named in section.figures]
    assert len(stems) == len({stem.casefold() for stem in stems}) == 15
    assert [stem for stem in stems if stem.startswith("ranks")] == [
        "ranks_A-B_macs=0.5",
        "ranks_a-b_macs=0.5-2",
        "ranks_a-b_macs=0.5-3",
    ]


@pytest.mark.filterwarnings("ignore:constrained_layout")
def test_a_long_task_and_a_long_searcher_are_drawn_and_their_cells_found(tmp_path: Path) -> None:
    rows: list[Row] = [done("t" * 250, "macs=0.5", "ß" * 200, seed, 0.9) for seed in (0, 1)]
    write_results(tmp_path, rows)
    for row in rows:
        cell = tmp_path / "cells" / fitting(row["cell"])
        write_steps(cell, steps([0.9, 0.5], [1, 2]), DENSE, ["loss", "accuracy"])
        write_text(cell / PLAN_FILE, PLAN.to_json())
    plots = write_plots(tmp_path)
    assert len({*plots}) == 5
    assert all(path.exists() and len(path.name.encode()) <= 255 for path in plots)
