from __future__ import annotations

import numpy as np
import pytest
from drawn_texts import assert_apart, tick_labels
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray
from probability_traces import GOOD, TWO_ROUNDS, Line, cp, form, layer, trace, tucker2

from rank_search.report.figures.probabilities import layer_probabilities, probabilities
from rank_search.report.render.png.palette import DENSE_FILL
from rank_search.report.render.png.probabilities import SCALE, SHADES, draw_probabilities


def draw(lines: list[Line]) -> Figure:
    return draw_probabilities(probabilities("cifar10", "macs=0.3", "relaxation", 0, layer_probabilities(lines)))


def panels(figure: Figure) -> list[Axes]:
    """All but the colour bar."""
    return [axes for axes in figure.axes if axes.images]


def titles(figure: Figure) -> list[str]:
    return [axes.get_title(loc="left") for axes in panels(figure)]


def details(figure: Figure) -> list[str]:
    return ["".join(text.get_text() for text in axes.texts) for axes in panels(figure)]


def image(axes: Axes) -> NDArray[np.float64]:
    (found,) = axes.images
    assert found.origin == "lower"
    return np.asarray(found.get_array())


def marks(axes: Axes) -> list[tuple[float, float]]:
    (line,) = axes.lines
    assert line.get_marker() == "o"
    return [(x, y) for x, y in zip(line.get_xdata(), line.get_ydata(), strict=True) if np.isfinite(y)]


def shades(axes: Axes) -> list[tuple[float, float]]:
    spans = [patch for patch in axes.patches if isinstance(patch, Rectangle)]
    return [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in spans]


def note(figure: Figure) -> str:
    return "\n".join(text.get_text() for text in figure.texts)


def test_the_image_has_the_probability_of_every_rank_in_every_round() -> None:
    out, inner = panels(draw(TWO_ROUNDS))
    np.testing.assert_array_equal(image(out), np.transpose([[0, 0, 0, 0, 0.2, 0.4, 0.3], [0, 0, 0.7, 0, 0, 0.3, 0]]))
    np.testing.assert_array_equal(image(inner), np.transpose([[0, 0.5, 0, 0.4, 0], [0, 0.05, 0.95, 0, 0]]))
    assert out.images[0].get_extent() == [0.5, 2.5, -0.5, 6.5]
    assert inner.images[0].get_extent() == [0.5, 2.5, -0.5, 4.5]
    assert out.get_xlim() == inner.get_xlim() == (0.5, 2.5)
    assert out.get_ylim() == (-0.5, 6.5)
    assert inner.get_yticks().tolist() == [0, 2, 4]


def test_the_most_probable_rank_of_every_round_is_marked() -> None:
    out, inner = panels(draw(TWO_ROUNDS))
    assert marks(out) == [(1, 5), (2, 2)]
    assert marks(inner) == [(1, 1), (2, 2)]


def test_titles_name_layer_and_mode_and_the_first_panel_tells_the_entropy_of_the_last_round() -> None:
    figure = draw(TWO_ROUNDS)
    assert titles(figure) == ["a, out", "a, in"]
    assert details(figure) == ["entropy 0.31", ""]
    assert "cifar10 at macs=0.3: probabilities of ranks, relaxation (seed 0)" in note(figure)


def test_one_colour_bar_from_white_at_zero_to_the_darkest_at_one() -> None:
    figure = draw(TWO_ROUNDS)
    (bar,) = [axes for axes in figure.axes if not axes.images]
    assert bar.get_ylim() == (0.0, 1.0)
    assert bar.get_ylabel() == "Probability"
    for axes in panels(figure):
        assert axes.images[0].norm is SCALE
        assert axes.images[0].cmap is SHADES
    assert SHADES(SCALE(0.0)) == (1.0, 1.0, 1.0, 1.0)
    luminance = SHADES(SCALE(np.linspace(0.0, 1.0, 101)))[:, :3] @ (0.2126, 0.7152, 0.0722)
    assert (np.diff(luminance) < 0).all()


def test_the_form_with_most_mass_in_the_last_round_is_drawn_in_all_rounds() -> None:
    figure = draw(
        trace(
            {"a": layer(0.1, tucker2=tucker2({1: 0.8}, {2: 0.8}), cp=cp({7: 0.1}))},
            {"a": layer(0.1, tucker2=tucker2({1: 0.3}, {2: 0.3}), cp=cp({7: 0.2, 9: 0.4}))},
        )
    )
    (axes,) = panels(figure)
    assert titles(figure) == ["a, rank"]
    assert details(figure) == ["cp, entropy 0.50"]
    np.testing.assert_array_equal(image(axes)[[7, 9]], [[0.1, 0.2], [0.0, 0.4]])
    assert image(axes).sum() == pytest.approx(0.7)
    assert marks(axes) == [(1, 7), (2, 9)]
    assert shades(axes) == []


def test_a_form_without_any_rank_in_a_round_has_no_mark_there() -> None:
    lines = trace(
        {"a": layer(0.2, cp=cp({3: 0.8}))},
        {"a": layer(0.2, cp=cp({3: 0.8}), tucker2=tucker2({}, {}))},
        {"a": layer(0.2, tucker2=tucker2({3: 0.8}, {2: 0.8}))},
    )
    figure = draw(lines)
    assert details(figure) == ["tucker2, entropy 0.50", "tucker2"]
    out, inner = panels(figure)
    np.testing.assert_array_equal(image(out)[3], [0.0, 0.0, 0.8])
    assert marks(out) == [(3, 3)]
    assert marks(inner) == [(3, 2)]


def test_rounds_in_which_dense_has_most_mass_are_grey_and_without_a_mark() -> None:
    dense = {"a": layer(0.6, tucker2=tucker2({5: 0.4}, {2: 0.4})), "b": layer(0.4, cp=cp({7: 0.6}))}
    ranks = {"a": layer(0.4, tucker2=tucker2({5: 0.6}, {2: 0.6})), "b": layer(0.4, cp=cp({7: 0.6}))}
    figure = draw(trace(dense, dense, ranks, dense))
    out, inner, other = panels(figure)
    assert shades(out) == shades(inner) == [(0.5, 2.5), (3.5, 4.5)]
    assert shades(other) == []
    assert marks(out) == [(3, 5)]
    assert len(marks(other)) == 4
    assert image(out)[5].tolist() == [0.4, 0.4, 0.6, 0.4]
    assert "Grey: leaving the layer dense has the most probability." in note(figure)
    assert "Grey" not in note(draw(trace(ranks)))


def test_white_under_the_grey_is_the_grey_of_dense_layers() -> None:
    (axes,) = panels(draw(trace({"a": layer(1.0, cp=cp({7: 0.0}))})))
    (span,) = axes.patches
    *color, alpha = span.get_facecolor()
    assert span.get_zorder() > axes.images[0].get_zorder()
    np.testing.assert_allclose(alpha * np.array(color) + (1 - alpha), to_rgba(DENSE_FILL)[:3])


def test_rounds_are_ordered_the_later_line_of_one_counts_and_gaps_show_the_round_before() -> None:
    lines = trace(*({"a": layer(cp=cp({rank: 1.0}))} for rank in (1, 2, 3, 4)), rounds=(5, 8, 5, 4))
    found = layer_probabilities(lines)["a"]
    assert found.rounds.tolist() == [4, 5, 8]
    assert found.modes["rank"].argmax(axis=0).tolist() == [4, 3, 2]
    (axes,) = panels(draw(lines))
    assert image(axes).argmax(axis=0).tolist() == [4, 3, 3, 3, 2]
    assert axes.images[0].get_extent() == [3.5, 8.5, -0.5, 9.5]
    assert marks(axes) == [(4, 4), (5, 3), (8, 2)]


def test_grey_lasts_until_the_next_recorded_round() -> None:
    dense, ranks = ({"a": layer(share, cp=cp({7: 1 - share}))} for share in (0.9, 0.1))
    (axes,) = panels(draw(trace(dense, ranks, dense, rounds=(2, 5, 6))))
    assert shades(axes) == [(1.5, 4.5), (5.5, 6.5)]


def test_layers_that_join_late_are_drawn_from_there_on_the_same_axis() -> None:
    one, other = {"a": layer(cp=cp({7: 1.0}))}, {"b": layer(cp=cp({5: 1.0}))}
    first, second = panels(draw(trace(one, one | other, one | other)))
    assert first.images[0].get_extent()[:2] == [0.5, 3.5]
    assert second.images[0].get_extent()[:2] == [1.5, 3.5]
    assert first.get_xlim() == second.get_xlim() == (0.5, 3.5)


@pytest.mark.parametrize(("full", "reach"), [(64, 0), (89, 0), (90, 1), (512, 5)])
def test_a_rank_among_many_is_drawn_taller_without_hiding_more_probable_ones(full: int, reach: int) -> None:
    shares = {1: 0.2, 30: 0.5, 31: 0.1, full: 0.2}
    (axes,) = panels(draw(trace({"a": layer(svd=form({"rank": full}, shares))})))
    expected = [max(shares.get(near, 0.0) for near in range(row - reach, row + reach + 1)) for row in range(full + 1)]
    np.testing.assert_array_equal(image(axes)[:, 0], expected)
    assert marks(axes) == [(1, 30)]
    assert (2 * reach + 1) / (full + 1) >= 1 / 90


def test_a_layer_without_forms_has_no_panel() -> None:
    assert layer_probabilities(trace({"stem": layer(1.0, 0.0)})) == {}
    assert titles(draw(trace({"a": GOOD, "stem": layer(1.0, 0.0), "b": GOOD}))) == ["a, rank", "b, rank"]


def many(
    layers: int, name: str = "layer{}.0.conv1", modes: tuple[int, ...] = (2,), several: bool = False
) -> list[Line]:
    def entry(n: int, rank: int, dense: float) -> Line:
        shares = {rank: 0.6 - dense, rank + 1: 0.3}
        forms = (
            {"tucker2": tucker2(shares, shares, full=(128, 64))} if modes[n % len(modes)] == 2 else {"cp": cp(shares)}
        )
        return layer(dense, 0.25, **forms, **({"svd": form({"rank": 5}, {1: 0.01})} if several else {}))

    return trace(*({name.format(n): entry(n, rank, 0.2 * rank - 0.2) for n in range(layers)} for rank in (1, 2, 3, 4)))


@pytest.mark.parametrize(
    ("layers", "modes", "rows", "columns"),
    [
        (1, (1,), 1, 1),
        (1, (2,), 1, 2),
        (2, (2,), 1, 4),
        (4, (2,), 2, 4),
        (18, (2,), 6, 6),
        (54, (2,), 18, 6),
        (3, (1, 2), 1, 4),
        (19, (2,) * 18 + (1,), 7, 6),
    ],
)
def test_panels_fill_their_rows(layers: int, modes: tuple[int, ...], rows: int, columns: int) -> None:
    figure = draw(many(layers, modes=modes))
    assert len(panels(figure)) == sum(modes[n % len(modes)] for n in range(layers))
    grid = panels(figure)[0].get_subplotspec().get_gridspec()
    assert (grid.nrows, grid.ncols) == (rows, columns)


def test_panels_of_a_layer_stay_in_one_row() -> None:
    found = panels(draw(many(12, modes=(2, 1, 2, 2))))
    rows = [axes.get_subplotspec().rowspan.start for axes in found]
    names = [axes.get_title(loc="left").split(",")[0] for axes in found]
    assert len(set(zip(names, rows, strict=True))) == 12
    for axes in found:  # the lowest of every column names the axis
        spec = axes.get_subplotspec()
        below = [other for other in found if other.get_subplotspec().colspan == spec.colspan]
        assert (axes.get_xlabel() == "Round") == (axes is below[-1])


@pytest.mark.parametrize("layers", [1, 3, 19])
def test_texts_neither_overlap_nor_leave_the_picture(layers: int) -> None:
    lines = many(layers, "vision_model.encoder.layers.{}.self_attention.q_proj", (2, 2, 1), several=True)
    task, budget = "imagenet_vit_large_patch16_224", "macs=0.5,params=0.4"
    figure = draw_probabilities(probabilities(task, budget, "relaxation", 0, layer_probabilities(lines)))
    figure.set_dpi(150)
    figure.draw_without_rendering()
    shown = list(figure.texts)
    for axes in figure.axes:
        shown += [axes._left_title, axes.xaxis.label, axes.yaxis.label, *axes.texts, *axes.get_yticklabels()]
        shown += tick_labels(axes)
    assert_apart(figure, shown)


def test_long_names_are_shortened_from_the_left_and_keep_their_mode() -> None:
    found = titles(draw(many(3, "vision_model.encoder.layers.{}.mlp.fc_1")))
    assert all(title.startswith("…") for title in found)
    assert [title.split("_1")[1] for title in found] == [", out", ", in"] * 3
    assert titles(draw(many(1, "encoder.layers.{}.mlp.fc_1"))) == [
        f"encoder.layers.0.mlp.fc_1, {m}" for m in ("out", "in")
    ]
