from __future__ import annotations

from run_folder import Write, done, failed

from rank_search.report import leaderboard, read_results
from rank_search.report.tables.charged import charged_table


def test_charges_are_means_over_seeds_by_budget_and_searcher(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "tpe", seed, 0.9, evaluations=10 + seed, search_seconds=1000.4) for seed in (0, 1)]
    rows += [done("t", "macs=0.25", "tpe", 0, 0.8), failed("t", "macs=0.25", "gp", 0, "no")]
    table = charged_table("t", leaderboard(read_results(write_run(rows))))
    headers = [" ".join(column.header.split()) for column in table.columns]
    assert headers == [
        *("budget", "searcher", "seeds", "evaluations", "samples forward", "samples trained", "search seconds")
    ]
    assert list(zip(*(column.cells for column in table.columns), strict=True)) == [
        ("macs=0.5", "tpe", "2", "10.5", "4,000", "500", "1,000"),
        ("macs=0.25", "tpe", "1", "4", "4,000", "500", "12.5"),
        ("macs=0.25", "gp", "0", "–", "–", "–", "–"),
    ]
    assert table.numbers is not None
    assert table.numbers["evaluations"].tolist()[:2] == [10.5, 4.0]
