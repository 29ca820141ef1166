from __future__ import annotations

import numpy as np
import pytest
from drawn_texts import all_texts, assert_apart
from matplotlib.backends.backend_agg import FigureCanvasAgg

from rank_search.report.figures.critical_difference import CriticalDifference, critical_difference_figure
from rank_search.report.render.png.critical_difference import draw_critical_difference
from rank_search.report.render.png.page import PAPER, SCREEN, Page
from rank_search.report.render.png.palette import looks
from rank_search.report.statistics.friedman import rank_blocks


def value(count: int, name: str = "searcher_{}") -> CriticalDifference:
    rng = np.random.default_rng(0)
    losses = {name.format(n): (rng.random(12) + 0.3 * n).tolist() for n in range(count)}
    found = critical_difference_figure(rank_blocks(losses), "regret", [])
    assert found is not None
    return found


@pytest.mark.parametrize("page", [SCREEN, PAPER])
@pytest.mark.parametrize("count", [3, 8, 25])
def test_every_name_has_its_rank_and_no_text_covers_another(count: int, page: Page) -> None:
    diagram = value(count)
    figure = draw_critical_difference(diagram, looks(diagram.ranks), page)
    FigureCanvasAgg(figure)
    for text in figure.axes[0].texts:
        text.set_fontsize(min(text.get_fontsize(), page.text))
    figure.draw_without_rendering()
    shown = all_texts(figure)
    for name, rank in diagram.ranks.items():
        assert name in shown
        assert f"{rank:.2f}" in shown
    assert_apart(figure, [text for text in figure.axes[0].texts if "searcher" in text.get_text()])


def test_bars_join_the_groups_and_the_scale_is_as_long_as_the_critical_difference() -> None:
    diagram = value(6)
    lines = draw_critical_difference(diagram, looks(diagram.ranks)).axes[0].lines
    spans = [(line.get_xdata()[0], line.get_xdata()[-1]) for line in lines if line.get_zorder() == 4]
    assert len(spans) == len(diagram.groups)
    for (start, end), group in zip(spans, diagram.groups, strict=True):
        assert start == pytest.approx(diagram.ranks[group[0]], abs=0.05)
        assert end == pytest.approx(diagram.ranks[group[-1]], abs=0.05)
    scale = next(line for line in lines if line.get_marker() == "|")
    assert np.ptp(scale.get_xdata()) == pytest.approx(diagram.difference)


def test_a_name_that_is_too_long_is_shortened() -> None:
    diagram = value(3, "x" * 40 + "{}")
    assert "x" * 21 + "…" in all_texts(draw_critical_difference(diagram, looks(diagram.ranks)))
