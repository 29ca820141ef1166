"""Several answers as a table, with what their measure rests on."""

from __future__ import annotations

from typing import Any

from rank_search.report.render.curve_table import curve_table


def row(budget: float, value: float, measure: str = "accuracy", unit: str = "%") -> dict[str, Any]:
    return {
        "budget": f"macs={budget}",
        "kept_macs": budget,
        "kept_params": budget,
        "latency_ms": 1.0,
        "dense_latency_ms": 2.0,
        "timed": "a run of 1 in eager",
        "measure": measure,
        "unit": unit,
        f"dense_val_{measure}": 1.0,
        f"val_{measure}": value,
    }


def test_a_share_has_its_samples_in_the_caption_and_an_interval_in_each_row() -> None:
    table = curve_table([row(0.5, 12 / 13), row(0.3, 1 / 13)], True, 13)
    assert table.title == "time: of a run of 1 in eager; accuracy: on 13 held-out images, with its 95 % interval"
    assert table.columns[-1].cells == ("", "66.7% to 98.6%", "1.4% to 33.3%")


def test_what_is_no_share_has_its_samples_alone_and_what_is_not_measured_neither() -> None:
    table = curve_table([row(0.5, 0.98, "cosine", "")], True, 13)
    assert table.title.endswith("; cosine: on 13 held-out images")
    assert [column.header for column in table.columns][-1] == "cosine\nvalidation"
    assert curve_table([row(0.5, 1.0)], False, 8).title == "time: of a run of 1 in eager"
    assert curve_table([row(0.5, 1.0)], True).title == "time: of a run of 1 in eager"
