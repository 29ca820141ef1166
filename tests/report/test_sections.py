from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from probability_traces import GOOD, TWO_ROUNDS
from rank_traces import TWO_LAYERS
from run_folder import RMSE, Row, Write, done, done_regression, failed

from rank_search.errors import RunError
from rank_search.report import report_of
from rank_search.report.figures.incumbents import Incumbents
from rank_search.report.figures.measure_against_cost import MeasureAgainstCost
from rank_search.report.figures.probabilities import Probabilities
from rank_search.report.figures.rank_paths import RankPaths
from rank_search.report.figures.ranks import Ranks
from rank_search.report.sections import Report


def small_run() -> list[Row]:
    rows = [failed("digits", "macs=0.5", "tpe", 0, "out of memory"), failed("lost", "macs=0.5", "tpe", 0, "no data")]
    for budget, kept in (("macs=0.5", 0.49), ("macs=0.3", 0.29)):
        rows += [done("digits", budget, "tpe", seed, 0.90 + 0.01 * seed, kept_macs=kept) for seed in (1, 2, 3)]
        rows += [done("digits", budget, "uniform", seed, 0.85, kept_macs=kept, evaluations=0) for seed in (0, 1)]
    return rows


def stems(report: Report) -> list[str]:
    return [named.stem for section in report.sections for named in section.figures]


def figures(report: Report, kind: type) -> list[Any]:
    return [named.figure for section in report.sections for named in section.figures if isinstance(named.figure, kind)]


def put_trace(folder: Path, cell: str, lines: list[dict[str, Any]]) -> None:
    (folder / "cells" / cell / "trace.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_section_per_task_has_a_table_and_the_figures_of_its_finished_cells(write_run: Write) -> None:
    report = report_of(write_run(small_run()))
    assert [section.task for section in report.sections] == ["digits", "lost"]
    assert [[table.title for table in section.tables] for section in report.sections] == [
        [
            "digits",
            "digits: charged to the searches",
            "digits: pairs",
            "digits: hypervolume over 2 budgets of kept_macs and test accuracy; reference: 1 and the worst, 85.0 %",
        ],
        ["lost"],
    ]
    digits, lost = report.sections
    assert [(named.stem, type(named.figure)) for named in digits.figures] == [
        ("accuracy_against_cost_digits", MeasureAgainstCost),
        ("accuracy_against_params_digits", MeasureAgainstCost),
        ("accuracy_against_time_digits", MeasureAgainstCost),
        ("incumbent_digits_macs=0.5", Incumbents),
        ("ranks_digits_macs=0.5", Ranks),
        ("incumbent_digits_macs=0.3", Incumbents),
        ("ranks_digits_macs=0.3", Ranks),
    ]
    assert lost.figures == ()
    assert report.searchers == ("tpe", "uniform")
    assert report.failures == ("digits-macs=0.5-tpe-0: out of memory", "lost-macs=0.5-tpe-0: no data")


def test_reading_a_report_writes_nothing(write_run: Write) -> None:
    folder = write_run(small_run())
    before = sorted(folder.rglob("*"))
    report_of(folder)
    assert sorted(folder.rglob("*")) == before


def test_tasks_of_two_measures_have_figures_named_by_them(write_run: Write) -> None:
    rows = [
        done("digits", "macs=0.5", "tpe", 0, 0.9),
        done_regression("prices", "macs=0.5", "tpe", 0, 3.0),
        failed("prices", "macs=0.5", "cp", 0, "out of memory", RMSE),
    ]
    report = report_of(write_run(rows))
    assert stems(report) == [
        "accuracy_against_cost_digits",
        "accuracy_against_params_digits",
        "accuracy_against_time_digits",
        "incumbent_digits_macs=0.5",
        "ranks_digits_macs=0.5",
        "rmse_against_cost_prices",
        "rmse_against_params_prices",
        "rmse_against_time_prices",
        "incumbent_prices_macs=0.5",
        "ranks_prices_macs=0.5",
    ]
    assert [figure.y_label for figure in figures(report, MeasureAgainstCost)] == [
        *["Test accuracy after fine-tuning (%)"] * 3,
        *["Test rmse after fine-tuning"] * 3,
    ]
    assert [section.tables[0].title for section in report.sections] == ["digits", "prices: rmse, lower is better"]


def test_names_that_are_no_file_names_are_made_so(write_run: Write) -> None:
    folder = write_run([done("data/digits v1", "macs=0.5,params=0.4", "tpe", 0, 0.9, cell="a")])
    assert stems(report_of(folder)) == [
        "accuracy_against_cost_data-digits-v1",
        "accuracy_against_params_data-digits-v1",
        "accuracy_against_time_data-digits-v1",
        "incumbent_data-digits-v1_macs=0.5,params=0.4",
        "ranks_data-digits-v1_macs=0.5,params=0.4",
    ]


def test_a_run_without_a_finished_cell_has_tables_and_no_figures(write_run: Write) -> None:
    report = report_of(write_run([failed("t", "macs=0.5", "tpe", 0, "no data")]))
    assert stems(report) == []
    assert len(report.sections[0].tables) == 1


def test_a_missing_plan_is_named(write_run: Write) -> None:
    folder = write_run(small_run())
    (folder / "cells" / "digits-macs=0.5-tpe-1" / "plan.json").unlink()
    with pytest.raises(RunError, match=r"digits-macs=0\.5-tpe-1/plan\.json does not exist"):
        report_of(folder)


def test_ranks_are_of_the_first_seed_that_is_done(write_run: Write) -> None:
    folder = write_run(small_run())
    plan = folder / "cells" / "digits-macs=0.5-tpe-1" / "plan.json"
    plan.write_text(json.dumps({"conv": {"form": "tucker2", "ranks": [8, 6]}, "fc": "dense"}))
    first = figures(report_of(folder), Ranks)[0]
    assert first.columns == ("tpe\nseed 1", "uniform\nseed 0")
    assert first.texts[first.layers.index("conv")] == ("tucker2 8,6", "tucker2 16,12")
    assert first.shares[first.layers.index("conv")].tolist() == [0.5, 1.0]  # the largest ranks are of the whole task


def test_only_searchers_with_ranks_in_their_trace_have_their_paths(write_run: Write) -> None:
    budgets, searchers = ("macs=0.5", "macs=0.3"), ("batude", "other", "tpe")
    folder = write_run([done("t", b, s, seed, 0.9) for b in budgets for s in searchers for seed in (1, 2, 3)])
    for seed in (2, 3):
        put_trace(folder, f"t-macs=0.3-batude-{seed}", TWO_LAYERS)
    put_trace(folder, "t-macs=0.3-batude-1", [{"step": 0, "round": 2}])
    put_trace(folder, "t-macs=0.3-other-1", [{"step": 0, "probabilities": {"a": [1.0]}}])
    report = report_of(folder)
    assert stems(report)[5:] == ["incumbent_t_macs=0.3", "ranks_t_macs=0.3", "rank_paths_t_macs=0.3_batude"]
    (paths,) = figures(report, RankPaths)
    assert paths.title == "t at macs=0.3: ranks while training, batude (seed 2)"
    assert list(paths.layers) == ["a", "b"]


def test_only_searchers_with_probabilities_in_their_trace_have_theirs(write_run: Write) -> None:
    searchers = ("both", "relaxation", "tpe")
    folder = write_run([done("t", "macs=0.3", name, seed, 0.9) for name in searchers for seed in (1, 2, 3)])
    ranks = {"step": 0, "epoch": 1.0, "ranks": {"a": {"form": "cp", "modes": ["rank"], "ranks": [3], "full": [9]}}}
    for searcher, seed, lines in (
        ("both", 1, [*TWO_ROUNDS, ranks]),
        ("relaxation", 1, [{"step": 0, "round": 1}]),
        ("relaxation", 2, TWO_ROUNDS),
        ("relaxation", 3, TWO_ROUNDS),
        ("tpe", 1, [{"step": 0, "probabilities": {"a": GOOD}}]),
    ):
        put_trace(folder, f"t-macs=0.3-{searcher}-{seed}", lines)
    report = report_of(folder)
    assert stems(report)[5:] == [
        "rank_paths_t_macs=0.3_both",
        "probabilities_t_macs=0.3_both",
        "probabilities_t_macs=0.3_relaxation",
    ]
    assert [(figure.title, list(figure.layers)) for figure in figures(report, Probabilities)] == [
        ("t at macs=0.3: probabilities of ranks, both (seed 1)", ["a"]),
        ("t at macs=0.3: probabilities of ranks, relaxation (seed 2)", ["a"]),
    ]


def test_losses_before_the_fine_tune_are_answers_of_the_figure_of_progress(write_run: Write) -> None:
    """The column is of newer runs; without it the figure is as it was."""
    rows = [done("t", "macs=0.5", "rule", seed, 0.9, evaluations=0) for seed in (0, 1)]
    (before,) = figures(report_of(write_run(rows)), Incumbents)
    assert before.answers == {}
    assert before.message
    (figure,) = figures(report_of(write_run([row | {"loss_before": 0.5 + row["seed"]} for row in rows])), Incumbents)
    assert (figure.answers["rule"].mean, figure.answers["rule"].low, figure.answers["rule"].high) == (1.0, 0.5, 1.5)
