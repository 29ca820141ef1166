"""What errors of other libraries say, in one line of ours."""

from __future__ import annotations

import pytest

from rank_search.errors import one_line, told, without_escapes


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("two options, \x1b[1mdo those\x1b[0m.\n\t(1) a", "two options, do those. (1) a"),
        ("\x1b[36mray::f()\x1b[39m (pid=1)\x1b[38;5;9m red", "ray::f() (pid=1) red"),
        ("\x1b]8;;http://a\x07link\x1b]8;;\x1b\\ end", "link end"),
        ("bell\x07 and\x00 nul\x1b", "bell and nul"),
        ("ü, 你好: [1m stays", "ü, 你好: [1m stays"),
        ("", ""),
    ],
)
def test_a_quoted_text_is_whole_and_without_codes_for_terminals(said: str, line: str) -> None:
    assert one_line(said) == line
    assert told(RuntimeError(said)) == (f"RuntimeError: {line}" if line else "RuntimeError")


def test_lines_stay_where_only_codes_are_taken_out() -> None:
    assert without_escapes("a\x1b[0m\n\tb") == "a\n\tb"
