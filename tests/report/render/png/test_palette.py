from __future__ import annotations

from rank_search.report.render.png.palette import COLORS, looks


def test_colours_differ_for_six_searchers_and_looks_for_more() -> None:
    styles = looks(f"searcher{n:02}" for n in range(20))
    assert len({look.color for look in list(styles.values())[:6]}) == len(COLORS) == 6
    assert len(set(styles.values())) == 20


def test_more_than_ten_differ_in_marker_and_no_two_have_colour_and_line_in_common() -> None:
    styles = list(looks(f"searcher{n:02}" for n in range(24)).values())
    assert len({(look.color, look.line) for look in styles}) == 24
    assert len({(look.color, look.marker) for look in styles}) == 24
    assert {look.line for look in styles[:6]} == {"-"}
