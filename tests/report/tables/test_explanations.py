from __future__ import annotations

from pathlib import Path

import pandas as pd
from run_folder import done_regression
from seeded_runs import rows_of, write_evaluated

from rank_search.recorded import read_recording
from rank_search.report import report_of
from rank_search.report.regret import regret_report
from rank_search.report.tables.explanations import COLUMNS, explained
from rank_search.report.tables.table import Column, Table


def headers(table: Table) -> list[str]:
    return [" ".join(column.header.split()) for column in table.columns]


def test_every_column_of_a_report_is_explained(tmp_path: Path) -> None:
    rows = rows_of({"a": [0.9, 0.8], "b": [0.7, 0.7], "c": [0.6, 0.5]}, kept_latency_ms=0.4, kept_bytes=0.3)
    rows += [done_regression("prices", "macs=0.5", name, seed, 3.0) for name in "abc" for seed in (0, 1)]
    tables = report_of(write_evaluated(tmp_path / "run", rows)).all_tables
    for table in tables:
        assert [name for name, _ in explained(table)] == headers(table), table.name
    kinds = {kind for kind in COLUMNS for table in tables if table.name.startswith(kind)}
    assert kinds == {"leaderboard", "charged", "pairs", "hypervolume", "mean_ranks"}


def test_every_column_of_a_benchmark_of_regret_is_explained() -> None:
    lines = [("digits", "macs=0.5", name, seed, "done", "", 0.1 + seed, 0.1, 3) for name in "ab" for seed in (0, 1)]
    names = ["task", "budget", "searcher", "seed", "status", "reason", "regret_64", "test_regret_64", "plan_64"]
    frame = pd.DataFrame(lines, columns=names)
    for table in regret_report(frame, {"digits": read_recording("digits")}).tables:
        assert [name for name, _ in explained(table)] == headers(table), table.name


def test_of_other_tables_and_columns_nothing_is_said() -> None:
    column = Column("searcher\n", ("a",), numeric=False)
    assert explained(Table("", (column,), ("",), "pairsish")) == ()
    assert explained(Table("", (column,), ("",))) == ()
    known = Table("", (column, Column("mine", ("1",))), ("",), "leaderboard_x")
    assert [name for name, _ in explained(known)] == ["searcher"]


def test_time_that_was_predicted_is_told_from_time_that_was_measured() -> None:
    columns = tuple(Column(header, ("1",)) for header in ("predicted\ntime", "kept\ntime", "kept\nMACs"))
    predicted, measured, cost = (said for _, said in explained(Table("", columns, ("",), "leaderboard_x")))
    assert "tables" in predicted
    assert "measured" in measured
    assert cost.startswith("cost of")
