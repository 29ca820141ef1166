from __future__ import annotations

import ast
import json
import subprocess
import sys
from pathlib import Path

import matplotlib
import pytest
from PIL import Image
from probability_traces import TWO_ROUNDS
from rank_traces import TWO_LAYERS
from run_folder import Write, done, done_regression, failed

from rank_search.errors import RunError
from rank_search.report import report_of, write_plots

ROOT = Path(__file__).parents[4]
REPORT = ROOT / "rank_search" / "report"


def test_every_figure_of_the_report_is_a_png_of_reasonable_size(write_run: Write) -> None:
    folder = write_run(
        [
            failed("digits", "macs=0.5", "tpe", 0, "out of memory"),
            *(done("digits", "macs=0.5", "tpe", seed, 0.90 + 0.01 * seed) for seed in (1, 2, 3)),
            *(done("digits", "macs=0.5", "uniform", seed, 0.85, evaluations=0) for seed in (0, 1)),
            *(done_regression("prices", "macs=0.3", "tpe", seed, 3.0 + seed) for seed in (0, 1)),
        ]
    )
    trace = "".join(json.dumps(line) + "\n" for line in (*TWO_LAYERS, *TWO_ROUNDS))
    (folder / "cells" / "digits-macs=0.5-tpe-1" / "trace.jsonl").write_text(trace)
    paths = write_plots(folder)
    assert [path.relative_to(folder / "plots").as_posix() for path in paths] == [
        "accuracy_against_cost_digits.png",
        "accuracy_against_params_digits.png",
        "accuracy_against_time_digits.png",
        "incumbent_digits_macs=0.5.png",
        "ranks_digits_macs=0.5.png",
        "rank_paths_digits_macs=0.5_tpe.png",
        "probabilities_digits_macs=0.5_tpe.png",
        "rmse_against_cost_prices.png",
        "rmse_against_params_prices.png",
        "rmse_against_time_prices.png",
        "incumbent_prices_macs=0.3.png",
        "ranks_prices_macs=0.3.png",
    ]
    assert [path.stem for path in paths] == [n.stem for section in report_of(folder).sections for n in section.figures]
    assert sorted((folder / "plots").iterdir()) == sorted(paths)
    for path in paths:
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert 800 <= image.width <= 3000
            assert 400 <= image.height <= 3000
            assert len(image.convert("RGB").getcolors(1 << 24)) > 20


def test_a_run_without_a_finished_cell_has_no_pictures(write_run: Write) -> None:
    assert write_plots(write_run([failed("t", "macs=0.5", "tpe", 0, "no data")])) == []


def test_a_missing_plan_is_named(write_run: Write) -> None:
    folder = write_run([done("digits", "macs=0.5", "tpe", 1, 0.9)])
    (folder / "cells" / "digits-macs=0.5-tpe-1" / "plan.json").unlink()
    with pytest.raises(RunError, match=r"digits-macs=0\.5-tpe-1/plan\.json does not exist"):
        write_plots(folder)


def test_pyplot_and_global_settings_are_left_alone(write_run: Write) -> None:
    before = dict(matplotlib.rcParams)
    write_plots(write_run([done("t", "macs=0.5", "tpe", 0, 0.9)]))
    assert dict(matplotlib.rcParams) == before
    command = (
        "import sys, rank_search.report; print([m for m in ('matplotlib.pyplot', 'ray', 'mlflow') if m in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", command], cwd=ROOT, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_only_the_png_renderers_import_matplotlib() -> None:
    importing = set()
    for path in REPORT.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            if any(name.split(".")[0] == "matplotlib" for name in names):
                importing.add(path.relative_to(REPORT).parent.as_posix())
    assert importing == {"render/png"}


def test_values_import_no_renderer() -> None:
    for path in (*(REPORT / "figures").rglob("*.py"), *(REPORT / "tables").rglob("*.py"), REPORT / "sections.py"):
        assert "rank_search.report.render" not in path.read_text(), path
