from __future__ import annotations

import io
import math

import pytest
from rich.console import Console
from run_folder import Row, Write, done, failed

from rank_search.errors import InvalidInputError
from rank_search.report import read_results, render
from rank_search.report.tables import leaderboard


def run_of_two_tasks() -> list[Row]:
    rows = [
        failed("digits", "macs=0.5", "tpe", 2, "the loss is\nnot finite"),
        failed("digits", "macs=0.3", "cp", 0, ""),
    ]
    rows += [done("digits", "macs=0.3", "random", seed, 0.80) for seed in range(3)]
    rows += [done("digits", "macs=0.5", "random", seed, 0.90 + 0.01 * seed, kept_macs=0.48) for seed in range(3)]
    rows += [done("digits", "macs=0.5", "tpe", seed, 0.93, evaluations=10 + seed) for seed in range(2)]
    # Validation and test disagree: without a test set, "late" must win by validation accuracy.
    without_test = {"test_accuracy": "", "dense_test_accuracy": ""}
    rows += [done("bare", "params=0.4", "early", 0, 0.5, **without_test)]
    rows += [done("bare", "params=0.4", "late", 0, 0.6, **without_test)]
    return rows


def printed(rows: list[Row], write_run: Write, width: int = 100) -> list[str]:
    console = Console(width=width, file=io.StringIO())
    render(leaderboard(read_results(write_run(rows))), console)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().splitlines()


def test_order_is_task_then_dense_then_budget_then_accuracy(write_run: Write) -> None:
    board = leaderboard(read_results(write_run(run_of_two_tasks())))
    assert list(zip(board["task"], board["budget"], board["searcher"], strict=True)) == [
        ("bare", "", "dense"),
        ("bare", "params=0.4", "late"),
        ("bare", "params=0.4", "early"),
        ("digits", "", "dense"),
        ("digits", "macs=0.5", "tpe"),
        ("digits", "macs=0.5", "random"),
        ("digits", "macs=0.3", "random"),
        ("digits", "macs=0.3", "cp"),
    ]


def test_numbers_of_a_row_are_means_over_the_seeds_done(write_run: Write) -> None:
    board = leaderboard(read_results(write_run(run_of_two_tasks()))).set_index(["task", "budget", "searcher"])
    random = board.loc[("digits", "macs=0.5", "random")]
    assert random["test_accuracy"] == pytest.approx(0.91)
    assert random["val_accuracy"] == pytest.approx(0.92)
    assert random["accuracy_before"] == pytest.approx(0.81)
    # 0.90, 0.91, 0.92 have standard deviation 0.01.
    for accuracy in ("accuracy_before", "val_accuracy", "test_accuracy"):
        assert random[f"{accuracy}_half_width"] == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
    assert (random["kept_macs"], random["kept_params"]) == (pytest.approx(0.48), pytest.approx(0.4))
    assert (random["samples_forward"], random["samples_trained"], random["search_seconds"]) == (4000, 500, 12.5)
    tpe = board.loc[("digits", "macs=0.5", "tpe")]
    assert (tpe["seeds_done"], tpe["seeds_failed"], tpe["evaluations"]) == (2, 1, 10.5)
    assert tpe["failures"] == ("digits-macs=0.5-tpe-2: the loss is not finite",)


def test_dense_row_costs_everything_and_has_its_own_accuracies(write_run: Write) -> None:
    board = leaderboard(read_results(write_run(run_of_two_tasks())))
    bare, digits = (row for _, row in board.loc[board["searcher"] == "dense"].iterrows())
    assert (digits["kept_macs"], digits["kept_params"]) == (1.0, 1.0)
    assert digits["val_accuracy"] == pytest.approx(0.97, abs=1e-12)
    assert digits["test_accuracy"] == pytest.approx(0.96, abs=1e-12)
    assert math.isnan(digits["test_accuracy_half_width"])
    assert math.isnan(digits["accuracy_before"])
    assert bare["val_accuracy"] == pytest.approx(0.97, abs=1e-12)
    assert math.isnan(bare["test_accuracy"])


def test_a_dense_net_per_seed_has_an_interval(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "tpe", seed, 0.9, dense_test_accuracy=0.95 + 0.01 * seed) for seed in range(3)]
    dense = leaderboard(read_results(write_run(rows))).iloc[0]
    assert dense["test_accuracy"] == pytest.approx(0.96)
    assert dense["test_accuracy_half_width"] == pytest.approx(4.302653 * 0.01 / math.sqrt(3), rel=1e-6)
    assert math.isnan(dense["val_accuracy_half_width"])


def test_one_seed_has_a_mean_and_no_half_width(write_run: Write) -> None:
    row = leaderboard(read_results(write_run([done("t", "macs=0.5", "tpe", 7, 0.9)]))).iloc[1]
    assert (row["seeds_done"], row["test_accuracy"]) == (1, 0.9)
    assert math.isnan(row["test_accuracy_half_width"])


def test_a_searcher_without_a_finished_seed_has_a_row_of_nan(write_run: Write) -> None:
    row = leaderboard(read_results(write_run([failed("t", "macs=0.5", "tpe", 0, "out of memory")]))).iloc[1]
    assert (row["seeds_done"], row["seeds_failed"]) == (0, 1)
    assert math.isnan(row["val_accuracy"])
    assert math.isnan(row["kept_macs"])


def test_a_test_accuracy_that_only_some_seeds_have_is_an_error_that_names_the_row(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "tpe", 0, 0.9), done("t", "macs=0.5", "tpe", 1, 0.9, test_accuracy="")]
    results = read_results(write_run(rows))
    with pytest.raises(InvalidInputError, match=r"test_accuracy of tpe on t at macs=0\.5: .* number 2 is nan"):
        leaderboard(results)


def test_missing_columns_are_named(write_run: Write) -> None:
    results = read_results(write_run([done("t", "macs=0.5", "tpe", 0, 0.9)]))
    with pytest.raises(InvalidInputError, match="lack the columns kept_macs, status;"):
        leaderboard(results.drop(columns=["status", "kept_macs"]))


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
