from __future__ import annotations

from rank_search.report.render.html.markup import Markup, element, joined, lines, text


def test_text_is_escaped_once_and_markup_is_left() -> None:
    assert element("p", "a < b & 'c'", Markup("<b>x</b>")) == "<p>a &lt; b &amp; &#x27;c&#x27;<b>x</b></p>"
    assert text(text("<")) == "&lt;"
    assert joined(["<", element("i")]) == "&lt;\n<i></i>"
    assert lines("a\n<") == "a<br>&lt;"


def test_attributes_are_escaped_named_and_left_out() -> None:
    made = element("td", class_='"x"', data_value=None, hidden=True, open=False, aria_label="a")
    assert made == '<td class="&quot;x&quot;" hidden aria-label="a"></td>'


def test_control_characters_and_colours_of_terminals_are_not_shown() -> None:
    assert text("\x1b[31mred\x1b[0m\x00\x07 text\tand\nlines") == "red text\tand\nlines"
