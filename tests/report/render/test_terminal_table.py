from __future__ import annotations

import io

from rich.console import Console
from run_folder import RMSE, Row, Write, done, done_regression, failed
from two_tasks import run_of_two_tasks

from rank_search.report import leaderboard, read_results, render


def printed(rows: list[Row], write_run: Write, width: int = 100) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    render(leaderboard(read_results(write_run(rows))), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_printed_table_shows_every_number(write_run: Write) -> None:
    lines = printed(run_of_two_tasks(), write_run)
    row = next(line for line in lines if line.startswith("random") and "macs=0.5" in line)
    assert " ".join(row.split()) == "random macs=0.5 48.0 40.0 75 81.0 92.0 ± 2.5 91.0 ± 2.5 4 4.5 12.5"
    dense = next(line for line in lines[lines.index("digits") :] if line.startswith("dense"))
    assert " ".join(dense.split()) == "dense – 100.0 100.0 100 – 97.0 96.0 – – –"
    assert any(line.split()[:3] == ["tpe", "2/3", "macs=0.5"] for line in lines)


def test_failed_cells_are_listed_below_one_line_each(write_run: Write) -> None:
    lines = printed(run_of_two_tasks(), write_run)
    start = next(place for place, line in enumerate(lines) if line.startswith("2 cells failed"))
    assert lines[start + 1 :] == [
        "  digits-macs=0.5-tpe-2: the loss is not finite",
        "  digits-macs=0.3-cp-0: no reason was recorded",
    ]


def test_no_failed_cell_no_list(write_run: Write) -> None:
    assert not any("failed" in line for line in printed([done("t", "macs=0.5", "tpe", 0, 0.9)], write_run))


def test_100_columns_hold_two_metrics_and_long_reasons_without_a_wrapped_or_cut_cell(write_run: Write) -> None:
    budgets = ("macs=0.35,params=0.45", "macs=0.35,params=0.42")
    rows = [
        done("t", budget, "relaxation", seed, 0.7 + 0.1 * seed, evaluations=12345, samples_forward=98_765_000)
        for budget in budgets
        for seed in range(2)
    ]
    rows.append(failed("t", budgets[0], "relaxation", 9, "out of memory " * 30))
    lines = printed(rows, write_run)
    assert max(map(len, lines)) <= 100
    cells = [line for line in lines if line.startswith("relaxation")]
    assert len(cells) == 2
    assert not any("…" in line for line in cells)
    assert "75.0 ± 63.5" in cells[0]
    assert {line.split("=0.35,")[1][:6] for line in cells} == {"p=0.45", "p=0.42"}
    assert lines[-1].endswith("…")


def test_a_console_that_is_too_narrow_cuts_no_number(write_run: Write) -> None:
    lines = printed(run_of_two_tasks(), write_run, width=60)
    row = next(line for line in lines if line.startswith("random"))
    assert " ".join(row.split()).endswith(" 48.0 40.0 75 81.0 92.0 ± 2.5 91.0 ± 2.5 4 4.5 12.5")


def test_markup_in_names_is_printed_as_it_is(write_run: Write) -> None:
    lines = printed([done("[red]t", "macs=0.5", "[bold]", 0, 0.9)], write_run)
    assert lines[0] == "[red]t"
    assert any(line.startswith("[bold] ") for line in lines)


def test_the_table_of_a_classification_task_in_full(write_run: Write) -> None:
    rows = [done("digits", "macs=0.5", "tpe", seed, 0.93 + 0.03 * seed, kept_macs=0.48) for seed in range(2)]
    rows += [done("digits", "macs=0.3", "cp", 0, 0.8)]
    assert [line.rstrip() for line in printed(rows, write_run)] == [
        "digits",
        "                     kept    kept  kept  before    after, on    after, on  evals  samples  search",
        "searcher  budget     MACs  params  time  tuning   validation         test             (k)     (s)",
        "─────────────────────────────────────────────────────────────────────────────────────────────────",
        "dense     –         100.0   100.0   100       –         97.0         96.0      –        –       –",
        "",
        "tpe       macs=0.5   48.0    40.0    75    84.5  95.5 ± 19.1  94.5 ± 19.1      4      4.5    12.5",
        "",
        "cp        macs=0.3   49.0    40.0    75    70.0         81.0         80.0      4      4.5    12.5",
        "",
        "Kept cost and accuracy in %; time: of a run of 1 in eager. Accuracy: mean ± half width of the 95",
        "% Student-t interval over seeds (before the fine-tune: mean).",
        "Samples: those the search saw, forward and in training, in thousands.",
    ]


def test_another_measure_stands_in_title_headers_and_legend_with_four_digits(write_run: Write) -> None:
    rows = [done_regression("prices", "macs=0.5", "tpe", seed, 3.0 + seed) for seed in range(3)]
    rows += [done_regression("prices", "macs=0.5", "cp", 0, 1234.56), failed("prices", "macs=0.5", "x", 0, "", RMSE)]
    lines = printed(rows, write_run)
    assert lines[0] == "prices: rmse, lower is better"
    first, second = (" ".join(line.split()) for line in lines[1:3])
    assert first == "kept kept kept rmse rmse rmse evals samples search"
    assert second == "searcher budget MACs params time before on validation on test (k) (s)"
    cells = [" ".join(line.split()) for line in lines]
    assert "dense – 100.0 100.0 100 – 1.250 1.500 – – –" in cells
    # The errors 3, 4 and 5 have standard deviation 1; half the interval is 4.302653 / sqrt(3) = 2.484.
    assert "tpe macs=0.5 49.0 40.0 75 8.000 4.500 ± 2.484 4.000 ± 2.484 4 4.5 12.5" in cells
    assert "cp macs=0.5 49.0 40.0 75 2469 1235 1235 4 4.5 12.5" in cells
    assert [line.split()[0] for line in lines[4:9] if line.strip()] == ["dense", "tpe", "cp", "x"]
    legend = " ".join(lines)
    assert "Kept cost in %; time: " in legend
    assert "Rmse: mean ± half width" in legend
    assert "ccuracy" not in legend


def test_a_third_metric_has_a_column_of_its_own_where_the_task_has_it(write_run: Write) -> None:
    rows = [
        done("digits", "macs=0.5", "tpe", 0, 0.9),
        done("small", "bytes=0.3", "tpe", 0, 0.9, kept_bytes=0.29),
    ]
    lines = [" ".join(line.split()) for line in printed(rows, write_run)]
    digits, small = lines.index("digits"), lines.index("small")
    assert lines[digits + 2].startswith("searcher budget MACs params time tuning")
    assert lines[small + 2].startswith("searcher budget MACs params bytes time tuning")
    assert "dense – 100.0 100.0 100.0 100 – 97.0 96.0 – – –" in lines[small:]
    assert "tpe bytes=0.3 49.0 40.0 29.0 75 80.0 91.0 90.0 4 4.5 12.5" in lines[small:]


def test_tasks_of_two_measures_share_one_legend(write_run: Write) -> None:
    rows = [done("digits", "macs=0.5", "tpe", 0, 0.9), done_regression("prices", "macs=0.5", "tpe", 0, 3.0)]
    lines = printed(rows, write_run)
    assert "digits" in lines
    assert "prices: rmse, lower is better" in lines
    legend = " ".join(lines)
    assert legend.count("Student-t interval") == 1
    assert "Kept cost and accuracy in %; time: " in legend
    assert "Accuracy, rmse: mean ± half width" in legend


def test_another_fraction_in_percent_says_so_in_its_title(write_run: Write) -> None:
    cell = done("t", "macs=0.5", "tpe", 0, 0.9)
    lines = printed(
        [{key.replace("accuracy", "iou"): value for key, value in cell.items()} | {"measure": "iou"}], write_run
    )
    assert lines[0] == "t: iou in %, higher is better"
    assert "tpe macs=0.5 49.0 40.0 75 80.0 91.0 90.0 4 4.5 12.5" in [" ".join(line.split()) for line in lines]
