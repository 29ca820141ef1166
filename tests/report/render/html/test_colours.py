from __future__ import annotations

import colorsys

import pytest

from rank_search.report.render.html.colours import INK, SURFACE, contrast, dark, shade, themed
from rank_search.report.render.png.palette import COLORS
from rank_search.report.render.png.ranks import BLUES

LEAST_FOR_LINES, LEAST_FOR_TEXT = 3.0, 4.5  # WCAG 2.1, 1.4.11 and 1.4.3


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("colour", COLORS)
def test_lines_are_seen_in_both_themes(colour: str, theme: int) -> None:
    assert contrast(shade(colour.lower())[theme], SURFACE[theme]) >= LEAST_FOR_LINES


@pytest.mark.parametrize("theme", [0, 1])
@pytest.mark.parametrize("colour", [*BLUES, "#dddddd", "#ffffff"])
def test_text_on_the_cells_of_ranks_is_read_in_both_themes(colour: str, theme: int) -> None:
    drawn = (colour.lower(), dark(colour.lower()))[theme]
    assert contrast(INK[theme], drawn) >= LEAST_FOR_TEXT


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21.0)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


def test_a_dark_colour_keeps_its_hue_and_turns_its_lightness() -> None:
    def hue_and_lightness(colour: str) -> tuple[float, float]:
        hue, lightness, _ = colorsys.rgb_to_hls(*(int(colour[n : n + 2], 16) / 255 for n in (1, 3, 5)))
        return hue, lightness

    pale, strong = "#d0e1f2", "#1764ab"
    assert hue_and_lightness(dark(pale))[1] < hue_and_lightness(dark(strong))[1]
    for colour in (pale, strong):
        assert hue_and_lightness(dark(colour))[0] == pytest.approx(hue_and_lightness(colour)[0], abs=0.03)
    assert dark("#ffffff") == "#000000"


def test_black_is_ink_white_is_surface_and_all_else_falls_back_to_itself() -> None:
    assert (themed("#000000"), themed("#FFFFFF")) == ("currentColor", "var(--surface)")
    assert themed("#0072B2") == "var(--c0072b2,#0072b2)"
