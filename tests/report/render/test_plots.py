from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from PIL import Image
from run_folder import Row, Write, done, failed, steps

from rank_search.errors import RunError
from rank_search.report import read_results, write_plots
from rank_search.report.render.accuracy_plot import accuracy_figure
from rank_search.report.render.incumbent_plot import incumbent_curve, incumbent_figure
from rank_search.report.render.palette import COLORS, looks
from rank_search.report.render.ranks_plot import largest_ranks, ranks_figure
from rank_search.report.tables import leaderboard
from rank_search.space.plan import Choice


def small_run() -> list[Row]:
    rows = [failed("digits", "macs=0.5", "tpe", 0, "out of memory"), failed("lost", "macs=0.5", "tpe", 0, "no data")]
    for budget, kept in (("macs=0.5", 0.49), ("macs=0.3", 0.29)):
        rows += [done("digits", budget, "tpe", seed, 0.90 + 0.01 * seed, kept_macs=kept) for seed in (1, 2, 3)]
        rows += [done("digits", budget, "uniform", seed, 0.85, kept_macs=kept, evaluations=0) for seed in (0, 1)]
    return rows


def labels(figure: Figure) -> list[str]:
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def texts(figure: Figure) -> str:
    """All text of a figure that is not an axis tick."""
    shown = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    return "\n".join(text.get_text() for text in shown)


def frames(*runs: list[Row]) -> list[pd.DataFrame]:
    columns = ["incumbent_score", "evaluations"]
    return [pd.DataFrame(run)[columns].replace("", np.nan).astype(float) for run in runs]


def test_every_picture_is_a_png_of_reasonable_size(write_run: Write) -> None:
    folder = write_run(small_run())
    paths = write_plots(folder)
    assert [path.relative_to(folder / "plots").as_posix() for path in paths] == [
        "accuracy_against_cost_digits.png",
        "incumbent_digits_macs=0.5.png",
        "ranks_digits_macs=0.5.png",
        "incumbent_digits_macs=0.3.png",
        "ranks_digits_macs=0.3.png",
    ]
    assert sorted((folder / "plots").iterdir()) == sorted(paths)
    for path in paths:
        with Image.open(path) as image:
            image.load()
            assert image.format == "PNG"
            assert 800 <= image.width <= 3000
            assert 400 <= image.height <= 3000
            assert len(image.convert("RGB").getcolors(1 << 24)) > 20


def test_names_that_are_no_file_names_are_made_so(write_run: Write) -> None:
    folder = write_run([done("data/digits v1", "macs=0.5,params=0.4", "tpe", 0, 0.9, cell="a")])
    assert {path.name for path in write_plots(folder)} == {
        "accuracy_against_cost_data-digits-v1.png",
        "incumbent_data-digits-v1_macs=0.5,params=0.4.png",
        "ranks_data-digits-v1_macs=0.5,params=0.4.png",
    }


def test_a_run_without_a_finished_cell_has_no_pictures(write_run: Write) -> None:
    assert write_plots(write_run([failed("t", "macs=0.5", "tpe", 0, "no data")])) == []


def test_a_missing_plan_is_named(write_run: Write) -> None:
    folder = write_run(small_run())
    (folder / "cells" / "digits-macs=0.5-tpe-1" / "plan.json").unlink()
    with pytest.raises(RunError, match=r"digits-macs=0\.5-tpe-1/plan\.json does not exist"):
        write_plots(folder)


def test_ranks_are_of_the_first_seed_that_is_done(write_run: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = write_run(small_run())
    plan = folder / "cells" / "digits-macs=0.5-tpe-1" / "plan.json"
    plan.write_text(json.dumps({"conv": {"form": "tucker2", "ranks": [8, 6]}, "fc": "dense"}))
    seen: dict[str, Any] = {}

    def spy(task: str, budget: str, plans: Any, largest: Any) -> Figure:
        seen[budget] = plans
        return ranks_figure(task, budget, plans, largest)

    monkeypatch.setattr("rank_search.report.render.plots.ranks_figure", spy)
    write_plots(folder)
    assert list(seen["macs=0.5"]) == ["tpe\nseed 1", "uniform\nseed 0"]
    assert seen["macs=0.5"]["tpe\nseed 1"]["conv"] == Choice("tucker2", (8, 6))


def test_pyplot_and_global_settings_are_left_alone(write_run: Write) -> None:
    before = dict(matplotlib.rcParams)
    write_plots(write_run([done("t", "macs=0.5", "tpe", 0, 0.9)]))
    assert dict(matplotlib.rcParams) == before
    command = (
        "import sys, rank_search.report; print([m for m in ('matplotlib.pyplot', 'ray', 'mlflow') if m in sys.modules])"
    )
    root = Path(__file__).parents[2]
    shown = subprocess.run([sys.executable, "-c", command], cwd=root, capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"


def test_accuracy_points_are_means_with_intervals_and_the_dense_net_is_dashed(write_run: Write) -> None:
    results = read_results(write_run(small_run()))
    board = leaderboard(results)
    figure = accuracy_figure("digits", board.loc[board["task"] == "digits"], looks(results["searcher"]))
    (axes,) = figure.axes
    assert labels(figure) == ["dense net, 96.0 %", "tpe", "uniform"]
    tpe = next(bar for bar in axes.containers if bar.get_label() == "tpe")
    line, _, (bars,) = tpe.lines
    assert line.get_xdata() == pytest.approx([29.0, 49.0])
    assert line.get_ydata() == pytest.approx([92.0, 92.0])
    lower, upper = bars.get_segments()[0][:, 1]
    assert (upper - lower) / 2 == pytest.approx(4.302653 * 1.0 / 3**0.5, rel=1e-6)
    dense = next(line for line in axes.lines if line.get_linestyle() == "--")
    assert set(dense.get_ydata()) == {96.0}
    assert axes.get_xlabel() == "Kept MACs (% of the dense net)"
    assert axes.get_ylabel() == "Test accuracy after fine-tuning (%)"
    left, right = axes.get_xlim()
    assert left < 29.0 < 49.0 < right
    assert axes.get_ylim()[1] > 96.0
    assert "2-3 seeds" in texts(figure)


def test_accuracy_without_a_test_set_is_of_validation_and_one_seed_has_no_bars(write_run: Write) -> None:
    row = done("t", "macs=0.5", "tpe", 0, 0.9, test_accuracy="", dense_test_accuracy="")
    figure = accuracy_figure("t", leaderboard(read_results(write_run([row]))), looks(["tpe"]))
    (axes,) = figure.axes
    assert axes.get_ylabel() == "Validation accuracy after fine-tuning (%)"
    assert labels(figure) == ["dense net, 97.0 %", "tpe"]
    assert not axes.collections
    assert "One seed per point" in texts(figure)


def test_budgets_of_other_metrics_are_lines_of_their_own(write_run: Write) -> None:
    rows = [done("t", budget, "tpe", 0, 0.9) for budget in ("macs=0.5", "macs=0.3", "macs=0.5,params=0.4")]
    figure = accuracy_figure("t", leaderboard(read_results(write_run(rows))), looks(["tpe"]))
    assert labels(figure) == ["dense net, 96.0 %", "tpe (macs)", "tpe (macs, params)"]


def test_incumbent_curve_is_the_mean_of_step_functions() -> None:
    # Seed 0 scores at 1, 2 and 5 evaluations; seed 1 fails at first, scores at 2 and ends at 3.
    first = steps([8.0, 4.0, 2.0], [1, 2, 5])
    second = steps(["", 6.0, 7.0], [1, 2, 3])
    curve = incumbent_curve(frames(first, second))
    assert curve is not None
    assert curve.seeds == 2
    assert curve.evaluations.tolist() == [2, 3, 5]
    assert curve.mean.tolist() == [5.0, 5.0, 4.0]
    assert curve.low.tolist() == [4.0, 4.0, 2.0]
    assert curve.high.tolist() == [6.0, 6.0, 6.0]


def test_proposals_that_cost_no_evaluation_count_for_the_evaluation_before() -> None:
    curve = incumbent_curve(frames(steps([9.0, 5.0, 3.0, 4.0], [0, 1, 1, 2])))
    assert curve is not None
    assert curve.evaluations.tolist() == [1, 2]
    assert curve.mean.tolist() == [3.0, 3.0]


def test_searchers_without_a_score_are_named_and_others_end_where_they_end() -> None:
    runs = {
        "knapsack": frames(steps([0.1], [0])),
        "random": frames(steps([3.0, 2.0, 1.0], [1, 2, 3]), steps(["", "", ""], [1, 2, 3])),
        "tpe": frames(steps([3.0, 1.0], [1, 2]), steps([2.0, 1.0], [1, 2])),
    }
    figure = incumbent_figure("digits", "macs=0.5", runs, looks(runs))
    (axes,) = figure.axes
    assert labels(figure) == ["random (1 of 2 seeds)", "tpe"]
    assert [line.get_xdata()[-1] for line in axes.lines] == [3, 2]
    assert {line.get_drawstyle() for line in axes.lines} == {"steps-post"}
    assert len(axes.collections) == 1  # one band: a single scored seed has none
    assert "no evaluation gave a score: knapsack." in texts(figure)
    assert axes.get_xlabel() == "Evaluations spent (count)"
    assert axes.get_yscale() == "linear"


def test_scores_of_many_sizes_get_a_logarithmic_axis() -> None:
    runs = {"tpe": frames(steps([300.0, 2.0], [1, 2]))}
    assert incumbent_figure("t", "macs=0.5", runs, looks(runs)).axes[0].get_yscale() == "log"


def test_ranks_are_written_in_their_cells() -> None:
    plans = {
        "tpe": {"conv": Choice("tucker2", (16, 12)), "fc": Choice("dense")},
        "cp only": {"conv": Choice("cp", (24,)), "extra": Choice("svd", (3,))},
    }
    figure = ranks_figure("digits", "macs=0.5", plans, largest_ranks(plans.values()))
    axes = figure.axes[0]
    cells = {text.get_position(): text.get_text() for text in axes.texts}
    assert cells == {
        (0, 0): "tucker2 16,12",
        (0, 1): "dense",
        (0, 2): "–",
        (1, 0): "cp 24",
        (1, 1): "–",
        (1, 2): "svd 3",
    }
    assert [label.get_text() for label in axes.get_yticklabels()] == ["conv", "fc", "extra"]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["tpe", "cp only"]


def test_colour_is_the_rank_over_the_largest_of_layer_and_form() -> None:
    plans = [
        {"a": Choice("tucker2", (4, 9))},
        {"a": Choice("tucker2", (8, 3))},
        {"a": Choice("cp", (5,))},
    ]
    assert largest_ranks(plans) == {("a", "tucker2"): (8, 9), ("a", "cp"): (5,)}


def test_texts_of_twenty_layers_neither_overlap_nor_leave_the_picture() -> None:
    plan = {f"layer{n}.0.conv1": Choice("tucker2", (128, 128)) for n in range(20)}
    plans = {f"searcher_{n}\nseed 0": plan for n in range(6)}
    figure = ranks_figure("cifar10_resnet20", "macs=0.5,params=0.4", plans, largest_ranks([plan]))
    figure.draw_without_rendering()
    axes = figure.axes[0]
    shown = [*axes.texts, *axes.get_xticklabels(), *axes.get_yticklabels(), *figure.texts]
    boxes = [text.get_window_extent() for text in shown]
    width, height = figure.get_size_inches() * figure.dpi
    assert all(box.x0 >= 0 and box.y0 >= 0 and box.x1 <= width and box.y1 <= height for box in boxes)
    assert sum(one.overlaps(other) for one in boxes for other in boxes) == len(boxes)  # each only itself


def test_colours_differ_for_six_searchers_and_looks_for_more() -> None:
    styles = looks(f"searcher{n:02}" for n in range(20))
    assert len({look.color for look in list(styles.values())[:6]}) == len(COLORS) == 6
    assert len(set(styles.values())) == 20
