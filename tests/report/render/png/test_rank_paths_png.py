from __future__ import annotations

import pytest
from drawn_texts import assert_apart, tick_labels
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from rank_traces import TWO_LAYERS, Line, dense, layer, trace

from rank_search.report.figures.rank_paths import layer_paths, rank_paths
from rank_search.report.render.png.palette import DENSE_FILL
from rank_search.report.render.png.rank_paths import draw_rank_paths


def draw(lines: list[Line]) -> Figure:
    return draw_rank_paths(rank_paths("cifar10", "macs=0.3", "batude", 0, layer_paths(lines)))


def many(panels: int, name: str = "layer{}.0.conv1") -> list[Line]:
    falling = [
        {name.format(n): layer(100 - 2 * n % 64, 50 - k, full=(128, 128)) for n in range(panels)} for k in (1, 9)
    ]
    first = {name.format(n): dense(128, 128) for n in range(panels)}
    return trace(first, *falling, epochs=(0.0, 25.0, 50.0))


def shades(axes: Axes) -> list[tuple[float, float]]:
    """The grey spans of a panel, each from one epoch to another."""
    spans = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    assert all(patch.get_facecolor() == to_rgba(DENSE_FILL) for patch in spans)
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in spans]


def note(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def test_lines_are_the_ranks_of_every_mode_against_epochs() -> None:
    one, two = draw(TWO_LAYERS).axes
    assert [axes.get_title(loc="left") for axes in (one, two)] == ["a", "b"]
    assert [line.get_ydata().tolist() for line in one.lines] == [[16, 12, 16, 10], [8, 7, 8, 5]]
    assert [line.get_ydata().tolist() for line in two.lines] == [[32, 32, 20, 32], [16, 16, 9, 16]]
    for line in (*one.lines, *two.lines):
        assert line.get_xdata().tolist() == [0.0, 1.5, 3.0, 4.5]
        assert line.get_drawstyle() == "steps-post"
    looks = [[(line.get_color(), line.get_linestyle()) for line in axes.lines] for axes in (one, two)]
    assert looks[0] == looks[1]
    assert looks[0][0][0] != looks[0][1][0]
    assert looks[0][0][1] != looks[0][1][1]


def test_the_panel_reaches_from_zero_to_the_largest_full_rank_and_past_the_last_epoch() -> None:
    one, two = draw(TWO_LAYERS).axes
    assert one.get_ylim() == (0.0, 16.0)
    assert two.get_ylim() == (0.0, 32.0)
    assert two.get_yticks().tolist() == [0, 16, 32]
    assert one.get_xlim() == two.get_xlim() == (0.0, pytest.approx(4.5 * 1.04))
    assert all(float(tick).is_integer() for tick in one.get_xticks())


def test_dense_steps_are_grey_until_the_next_step_or_the_edge() -> None:
    figure = draw(TWO_LAYERS)
    one, two = figure.axes
    assert shades(one) == [(3.0, 4.5)]
    assert shades(two) == [(0.0, 3.0), (4.5, pytest.approx(4.5 * 1.04))]
    assert "Grey: the layer was left dense." in note(figure)


def test_without_a_dense_step_there_is_no_grey_and_no_note_of_it() -> None:
    figure = draw(trace({"a": layer(9, 8)}, {"a": layer(8, 8)}, epochs=(0.0, 1.0)))
    assert shades(figure.axes[0]) == []
    assert "Grey" not in note(figure)
    assert "cifar10 at macs=0.3: ranks while training, batude (seed 0)" in note(figure)


def test_the_legend_names_every_mode_once() -> None:
    matrix = layer(3, full=(10,), form="svd", modes=("rank",))
    figure = draw(trace({"a": layer(9, 8), "b": layer(9, 8), "fc": matrix}, epochs=(0.0,)))
    (legend,) = figure.legends
    assert legend.get_title().get_text() == "Mode"
    assert [text.get_text() for text in legend.get_texts()] == ["out", "in", "rank"]
    assert len({line.get_color() for axes in figure.axes for line in axes.lines}) == 3


def test_a_single_step_at_the_start_is_drawn() -> None:
    (axes,) = draw(trace({"a": dense(16, 8)}, epochs=(0.0,))).axes
    assert axes.get_xlim() == (0.0, 1.0)
    assert shades(axes) == [(0.0, 1.0)]


@pytest.mark.parametrize(
    ("panels", "rows", "columns"),
    [(1, 1, 1), (3, 1, 3), (4, 1, 4), (7, 2, 4), (13, 3, 5), (18, 3, 6), (35, 6, 6), (54, 9, 6)],
)
def test_panels_fill_their_rows(panels: int, rows: int, columns: int) -> None:
    figure = draw(many(panels))
    assert len(figure.axes) == panels
    grid = figure.axes[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (rows, columns)
    named = [place for place, axes in enumerate(figure.axes) if axes.get_xlabel() == "Epoch"]
    assert named == list(range(panels))[-columns:]  # the lowest of every column


@pytest.mark.parametrize("panels", [1, 2, 7, 18, 54])
def test_texts_neither_overlap_nor_leave_the_picture(panels: int) -> None:
    lines = many(panels, "vision_model.encoder.layers.{}.self_attention.q_proj")
    task, budget = "imagenet_vit_large_patch16_224", "macs=0.5,params=0.4"
    figure = draw_rank_paths(rank_paths(task, budget, "batude", 0, layer_paths(lines)))
    figure.set_dpi(150)
    figure.draw_without_rendering()
    shown = [*figure.texts, *(text for legend in figure.legends for text in legend.get_texts())]
    for axes in figure.axes:
        shown += [axes._left_title, axes.xaxis.label, *axes.get_yticklabels()]
        shown += tick_labels(axes)
    assert_apart(figure, shown)


def test_an_incomplete_row_is_no_further_away_than_others() -> None:
    figure = draw(many(13))
    figure.draw_without_rendering()
    first, second, third = (figure.axes[place].get_position() for place in (0, 5, 10))
    assert first.y0 - second.y1 == pytest.approx(second.y0 - third.y1)


def test_a_long_title_does_not_reach_the_legend() -> None:
    figure = draw_rank_paths(rank_paths("m" * 18, "macs=0.5", "batude", 0, layer_paths(many(1))))
    figure.draw_without_rendering()
    (legend,) = figure.legends
    title = next(text for text in figure.texts if text.get_text().startswith("mmm")).get_window_extent()
    assert title.x1 > legend.get_window_extent().x0
    assert not title.overlaps(legend.get_window_extent())


def test_long_names_are_shortened_from_the_left() -> None:
    names = [axes.get_title(loc="left") for axes in draw(many(6, "vision_model.encoder.layers.{}.mlp.fc_1")).axes]
    assert names[5].startswith("…")
    assert names[5].endswith("layers.5.mlp.fc_1")
    assert draw(many(1, "vision_model.encoder.layers.{}.mlp.fc_1")).axes[0].get_title(loc="left")[0] == "v"
