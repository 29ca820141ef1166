"""Patterns: what they leave out and why, and that a pattern must match something."""

from __future__ import annotations

import pytest

from rank_search.errors import LayerSelectionError
from rank_search.space.layers.selection import select

NAMES = ["stem", "layer1.0.conv1", "layer1.0.conv2", "layer1.1.conv1", "layer2.0.conv1", "fc"]


def test_without_patterns_nothing_is_left_out() -> None:
    assert select(NAMES, None, ()) == {}


def test_include_leaves_out_what_no_pattern_matches() -> None:
    assert list(select(NAMES, ["layer1.*", "fc"], ())) == ["stem", "layer2.0.conv1"]
    assert set(select(NAMES, ["layer?.0.conv[12]"], ()).values()) == {"matched by no include pattern"}
    assert list(select(NAMES, [], ())) == NAMES


def test_exclude_wins_over_include_and_names_its_pattern() -> None:
    reasons = select(NAMES, ["layer1.*"], ["*.conv2", "layer1.1.*"])
    assert reasons["layer1.0.conv2"] == "excluded by '*.conv2'"
    assert reasons["layer1.1.conv1"] == "excluded by 'layer1.1.*'"
    assert [name for name in NAMES if name not in reasons] == ["layer1.0.conv1"]


def test_any_iterable_of_patterns_will_do() -> None:
    assert list(select(iter(NAMES), (name for name in ["fc"]), {"stem"})) == NAMES[:-1]


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_pattern_that_matches_nothing_is_an_error_with_the_nearest_name(option: str) -> None:
    patterns = {"include": None, "exclude": (), option: ["stem", "layer1.0.convl"]}
    with pytest.raises(LayerSelectionError) as caught:
        select(NAMES, patterns["include"], patterns["exclude"] or ())
    message = str(caught.value)
    assert f"the {option} pattern 'layer1.0.convl' matches no layer" in message
    assert "did you mean 'layer1.0.conv" in message
    assert "(6 in all)" in message


@pytest.mark.parametrize("option", ["include", "exclude"])
def test_a_string_where_a_list_is_meant_is_an_error_that_shows_the_list(option: str) -> None:
    patterns: dict[str, str | None] = {"include": None, "exclude": "", option: "stem"}
    with pytest.raises(LayerSelectionError, match=rf"{option} is the text 'stem'.*\['stem'\]"):
        select(NAMES, patterns["include"], patterns["exclude"] or ())


def test_patterns_tell_capital_letters_apart() -> None:
    with pytest.raises(LayerSelectionError):
        select(NAMES, ["FC"], ())
