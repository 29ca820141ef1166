"""A benchmark of regret from its config to its tables, on the recording of the tests."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from rank_search.errors import ConfigError, RunError
from rank_search.recorded import load_recorded, read_recording
from rank_search.report.regret import read_regret, regret_report
from rank_search.run.config import load_config
from rank_search.run.regret import load_regret_config, run_regret
from rank_search.run.regret.answers import answers_of
from rank_search.run.regret.search_cell import evaluation_samples
from rank_search.run.regret.yardstick import Yardstick
from rank_search.searching import search
from rank_search.space import Budget
from rank_search.task import Limits

pytestmark = pytest.mark.usefixtures("single_thread")


def written(path: Path, recorded: Path, **changes: Any) -> Path:
    """A config of regret over the recording."""
    config = {
        "name": "small",
        "regret": {str(recorded): [{"macs": 0.8}, {"macs": 0.9}]},
        "searchers": ["random", "evolution", {"name": "knapsack", "seeds": 1}],
        "seeds": 2,
        "evaluations": [1, 4, 20],
        "run": {"workers": 1},
    }
    path.write_text(yaml.safe_dump({**config, **changes}))
    return path


def test_the_yardstick_is_what_sorting_the_table_gives(recorded_folder: Path) -> None:
    task = load_recorded(recorded_folder, Budget(macs=0.8))
    recording = task.recording
    plans = recording.plans.loc[recording.plans["macs"] <= int(0.8 * task.space.dense_cost["macs"])]
    by_loss = plans.sort_values("val_loss")
    found = Yardstick.of(task)
    assert (found.best, found.plans) == (float(by_loss["val_loss"].iloc[0]), len(plans))
    assert found.median == pytest.approx(float(np.median(plans["val_loss"])))
    assert found.best_test == float(by_loss["test_loss"].iloc[0])
    assert found.regret(found.best) == 0
    assert found.regret(found.median) == pytest.approx(1)


def test_an_evaluation_is_as_many_samples_as_the_meter_charges(recorded_folder: Path) -> None:
    assert evaluation_samples(load_recorded(recorded_folder, Budget(macs=0.8))) == 50 + 2 * 32


def test_regrets_are_those_of_the_incumbents_and_the_same_on_ray(recorded_folder: Path, tmp_path: Path) -> None:
    config = load_regret_config(written(tmp_path / "c.yaml", recorded_folder))
    here = read_regret(run_regret(config, tmp_path / "here", in_process=True))
    there = read_regret(run_regret(config, tmp_path / "there"))
    columns = [c for c in here.columns if c not in ("cpu_seconds", "simulated_seconds")]
    assert here[columns].equals(there[columns])
    assert len(here) == 2 * (2 + 2 + 1)
    for _, row in here.iterrows():
        task = load_recorded(recorded_folder, Budget(macs=float(row["budget"].partition("=")[2])))
        yardstick = Yardstick.of(task)
        found = search(task, row["searcher"], Limits(evaluations=20), seed=int(row["seed"]))
        for count in (1, 4, 20):
            if row["searcher"] == "knapsack":
                loss = task.judge(found.plan).score
            else:
                incumbents = [trial.incumbent for trial in found.trials]
                loss = incumbents[min(count, len(incumbents)) - 1] or 0.0
            assert row[f"regret_{count}"] == pytest.approx(yardstick.regret(loss), abs=1e-9), (row, count)
            assert task.recording.column("val_loss")[int(row[f"plan_{count}"])] == loss
        assert row["regret_20"] == pytest.approx(0, abs=1e-9) or row["searcher"] == "knapsack"  # 16 plans


def test_the_report_names_the_first_and_every_failure(recorded_folder: Path, tmp_path: Path) -> None:
    arms = ["random", {"name": "knapsack", "seeds": 1}, {"name": "batude", "options": {"epochs": 1, "lr": 1e9}}]
    config = load_regret_config(written(tmp_path / "c.yaml", recorded_folder, searchers=arms))
    frame = read_regret(run_regret(config, tmp_path / "run", in_process=True))
    found = regret_report(frame, {str(recorded_folder): read_recording(recorded_folder)})
    mean = frame.groupby("searcher")["regret_20"].mean()
    assert found.tables[0].columns[0].cells[0] in mean.index[mean == mean.min()]  # several may have found the best
    assert "First by mean regret after the work of 20 evaluations" in found.words[0]
    assert found.words[1].startswith("2 blocks (tasks x budgets) are too few to rank 3 searchers: ")
    assert not any("First by mean rank" in line for line in found.words)
    assert [table.columns[0].header.strip() for table in found.tables] == ["searcher", "searcher", "proxy"]
    assert sum("Kendall's tau between the mean ranks" in line for line in found.words) == 1


def test_the_answers_of_a_benchmark_are_those_that_its_report_ranks(recorded_folder: Path, tmp_path: Path) -> None:
    config = load_regret_config(written(tmp_path / "c.yaml", recorded_folder, evaluations=[1, 4, 100]))
    folder = run_regret(config, tmp_path / "run", in_process=True)
    frame = read_regret(folder)
    assert answers_of(folder, recorded_folder) == sorted(set(frame["plan_4"]))
    with pytest.raises(RunError, match="lacks a search on"):
        answers_of(folder, tmp_path)
    with pytest.raises(RunError, match="holds no benchmark of regret"):
        answers_of(tmp_path, recorded_folder)
    frame[[name for name in frame.columns if not name.startswith("plan_")]].to_csv(folder / "regret.csv", index=False)
    with pytest.raises(RunError, match="lacks the answers"):
        answers_of(folder, recorded_folder)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"regret": {"nowhere": [{"macs": 0.5}]}}, "unknown recorded task 'nowhere'"),
        ({"searchers": ["random", "random"]}, "'random' stands twice"),
        ({"regret": {"digits": [{"latency_ms": 0.5}]}}, "'digits' recorded params, macs and no latency_ms"),
        ({"evaluations": [4, 4]}, "rising whole numbers"),
        ({"seeds": 0}, "seeds"),
        ({"searchers": [{"name": "random", "sedes": 3}]}, "unknown key 'searchers.0.sedes' .did you mean 'seeds'"),
    ],
)
def test_a_wrong_config_is_one_line(recorded_folder: Path, tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        load_regret_config(written(tmp_path / "c.yaml", recorded_folder, **changes))
    assert "\n" not in str(caught.value)


def test_a_folder_with_something_in_it_is_left_alone(recorded_folder: Path, tmp_path: Path) -> None:
    config = load_regret_config(written(tmp_path / "c.yaml", recorded_folder))
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "mine.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        run_regret(config, tmp_path / "run", in_process=True)
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["mine.txt"]
    with pytest.raises(ConfigError, match="benchmark of regret"):
        load_config(written(tmp_path / "c.yaml", recorded_folder))


def test_the_command_prints_the_regrets_and_reads_them_again(recorded_folder: Path, tmp_path: Path) -> None:
    config = written(tmp_path / "c.yaml", recorded_folder)
    command = [str(Path(sys.executable).parent / "rank-search")]
    ran = subprocess.run(
        [*command, "bench", str(config), "--output", str(tmp_path / "run"), "--in-process"],
        check=False, capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert "normalised regret" in ran.stdout
    again = subprocess.run([*command, "report", str(tmp_path / "run")], check=False, capture_output=True, text=True)
    assert again.stdout == ran.stdout
    assert f"report:  {tmp_path / 'run' / 'report.html'}" in ran.stdout.splitlines()
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert f"numpy: {np.__version__}" in page  # run.json is there, and the page shows it
