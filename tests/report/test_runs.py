from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from run_folder import Row, done, failed
from seeded_runs import rows_of, write_evaluated

from rank_search.errors import InvalidInputError, RunError
from rank_search.report import report_of
from rank_search.report.runs import read_runs

CONFIG: dict[str, Any] = {
    "tasks": {"digits": {"data": {"name": "digits"}, "space": {"forms": ["svd"], "metrics": []}}},
    "searchers": [{"name": "tpe", "label": "", "options": {}, "workers": 1}],
    "limits": {"evaluations": 8},
}


def config(task: dict[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    digits = {**CONFIG["tasks"]["digits"], **(task or {})}
    return {**CONFIG, "tasks": {"digits": digits}, **changes}


@pytest.fixture
def two(tmp_path: Path) -> Any:
    def write(first: list[Row], second: list[Row], *configs: Any) -> tuple[Path, Path]:
        one, other = configs or (None, None)
        return write_evaluated(tmp_path / "one", first, one), write_evaluated(tmp_path / "other", second, other)

    return write


def test_budgets_searchers_and_seeds_are_united_and_figures_read_from_both(two: Any) -> None:
    first = [done("digits", "macs=0.5", "tpe", seed, 0.9, kept_bytes=0.5) for seed in (0, 1)]
    second = [done("digits", "macs=0.5", "tpe", 2, 0.8), done("digits", "macs=0.3", "random", 0, 0.7)]
    both = two(first, second, config(), config({"space": {"forms": ["svd"], "metrics": ["bytes"]}}))
    results = read_runs(both)
    assert results[["budget", "searcher", "seed"]].to_numpy().tolist() == [
        ["macs=0.5", "tpe", 0],
        ["macs=0.5", "tpe", 1],
        ["macs=0.5", "tpe", 2],
        ["macs=0.3", "random", 0],
    ]
    report = report_of(*both)
    assert report.title == "one, other"
    assert {figure.stem for figure in report.all_figures} >= {"ranks_digits_macs=0.3", "ranks_digits_macs=0.5"}


def test_a_cell_that_both_have_is_there_once_whatever_its_times(two: Any) -> None:
    rows = rows_of({"tpe": [0.9, 0.8]})
    again = [{**row, "search_seconds": 99.0, "latency_ms": 1.7} for row in rows]
    assert len(read_runs(two(rows, again))) == len(rows)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"test_accuracy": 0.7}, r"has test_accuracy 0\.9 in .*one and 0\.7 in .*other"),
        ({"kept_macs": 0.4}, "has kept_macs 0.49"),
        ({"evaluations": 5}, "has evaluations 4"),
    ],
)
def test_the_same_seed_with_other_numbers_is_an_error(two: Any, changes: dict[str, Any], said: str) -> None:
    row = done("digits", "macs=0.5", "tpe", 0, 0.9)
    with pytest.raises(RunError, match=f"tpe on digits at macs=0.5, seed 0, {said}"):
        read_runs(two([row], [row | changes]))


@pytest.mark.parametrize(
    "changes",
    [
        {"limits": {"evaluations": 16}},
        {"searchers": [{"name": "tpe", "label": "", "options": {"startup": 3}, "workers": 1}]},
    ],
)
def test_a_searcher_that_was_defined_or_limited_otherwise_has_its_runs_name(two: Any, changes: dict[str, Any]) -> None:
    rows = [done("digits", "macs=0.5", name, 0, 0.9) for name in ("tpe", "random")]
    second = [done("digits", "macs=0.5", "tpe", 0, 0.8)]
    found = read_runs(two(rows, second, config(), config(**changes)))
    assert found["searcher"].tolist() == ["tpe (one)", "random", "tpe (other)"]


def test_limits_part_only_searchers_that_can_have_felt_them(two: Any) -> None:
    """A limit of evaluations says nothing to a searcher that makes none, nor one of seconds that none has used up."""
    rows = [
        [done("digits", "macs=0.5", "tpe", seed, 0.9), done("digits", "macs=0.5", "knapsack", seed, 0.8, evaluations=0)]
        for seed in (0, 1)
    ]
    arms = [{"name": "tpe"}, {"name": "knapsack"}]

    def merged(**limits: Any) -> list[str]:
        both = two(*rows, config(searchers=arms), config(searchers=arms, limits=limits))
        return list(dict.fromkeys(read_runs(both)["searcher"]))

    assert merged(evaluations=16) == ["tpe (one)", "knapsack", "tpe (other)"]
    assert merged(evaluations=8, wall_seconds=12.6) == ["tpe", "knapsack"]  # every search took 12.5 s
    assert len(merged(evaluations=8, wall_seconds=12.5)) == 4
    assert len(merged(evaluations=8, samples_trained=10**6)) == 4  # both trained 500 samples


def test_a_failed_cell_does_not_say_that_it_felt_no_limit(two: Any) -> None:
    rows = [[failed("digits", "macs=0.5", "tpe", seed, "no")] for seed in (0, 1)]
    found = read_runs(two(*rows, config(), config(limits={"evaluations": 16})))
    assert found["searcher"].tolist() == ["tpe (one)", "tpe (other)"]


@pytest.mark.parametrize("tasks", [["mnist1d"], ["digits", "mnist1d"]])
def test_runs_of_other_tasks_are_refused_with_the_tasks_of_each(two: Any, tasks: list[str]) -> None:
    second = [done(task, "macs=0.5", "tpe", 1, 0.9) for task in tasks]
    with pytest.raises(RunError, match=f"one has task digits and .*other has tasks? {', '.join(tasks)}: several runs"):
        read_runs(two([done("digits", "macs=0.5", "tpe", 0, 0.9)], second))


def test_a_task_that_has_no_ended_cell_yet_is_a_task_of_the_run(two: Any) -> None:
    digits = CONFIG["tasks"]["digits"]
    planned = {**CONFIG, "tasks": {"digits": digits, "later": digits}}
    rows = [[done("digits", "macs=0.5", "tpe", 0, 0.9)], [done("later", "macs=0.5", "tpe", 0, 0.9)]]
    assert len(read_runs(two(*rows, planned, planned))) == 2


def test_workers_and_labels_change_no_searcher(two: Any) -> None:
    arm = {"name": "my_module:tpe", "options": {}, "label": "tpe", "workers": 4}
    same = {"name": "my_module:tpe", "options": {}, "label": "", "workers": 1}
    rows = [[done("digits", "macs=0.5", "tpe", seed, 0.9)] for seed in (0, 1)]
    found = read_runs(two(*rows, config(searchers=[arm]), config(searchers=[same])))
    assert found["searcher"].tolist() == ["tpe", "tpe"]


@pytest.mark.parametrize(
    ("changes", "task", "said"),
    [
        ({"dense_test_accuracy": 0.95}, {}, r"dense_test_accuracy \(0\.96, 0\.95\)"),
        ({"unit": ""}, {}, r"the measure \(accuracy/higher/%, accuracy/higher/\)"),
        ({}, {"data": {"name": "mnist"}}, r"data\.name \(digits, mnist\)"),
        ({}, {"space": {"forms": ["cp"], "metrics": []}}, r"space\.forms\[0\] \(svd, cp\)"),
        ({}, {"finetune": {"lr": 0.02}}, r"finetune \(not given, {'lr': 0\.02}\)"),
    ],
)
def test_tasks_of_one_name_that_differ_are_refused(
    two: Any, changes: dict[str, Any], task: dict[str, Any], said: str
) -> None:
    rows = [done("digits", "macs=0.5", name, 0, 0.9) for name in ("tpe", "random")]
    both = two(rows[:1], [rows[1] | changes], config(), config(task))
    with pytest.raises(RunError, match=f"task digits of .*one and of .*other differ in {said}: their numbers cannot"):
        read_runs(both)


def test_one_folder_twice_is_refused(two: Any) -> None:
    one, _ = two([done("t", "macs=0.5", "tpe", 0, 0.9)], [done("t", "macs=0.5", "tpe", 1, 0.9)])
    with pytest.raises(InvalidInputError, match="each once"):
        read_runs([one, one.parent / "x" / ".." / "one"])
    with pytest.raises(InvalidInputError, match="no run"):
        read_runs([])
