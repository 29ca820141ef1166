"""What a compression gained: faster, as fast, or slower, and never two of these."""

from __future__ import annotations

from typing import Any

import pytest

from rank_search.report.render.gain_line import gain_line, no_faster


def row(milliseconds: float) -> dict[str, Any]:
    return {
        "kept_macs": 0.5,
        "kept_params": 0.25,
        "latency_ms": milliseconds,
        "dense_latency_ms": 10.0,
        "timed": "a run of 1 in eager",
    }


@pytest.mark.parametrize(
    ("milliseconds", "said", "hinted"),
    [
        (5.0, "2.00 times as fast as dense", False),
        (9.4, "1.06 times as fast as dense", False),
        (9.8, "as fast as dense within the noise", True),
        (10.0, "as fast as dense within the noise", True),
        (10.5, "as fast as dense within the noise", True),
        (10.6, "1.06 times the time of dense", True),
        (20.0, "2.00 times the time of dense", True),
    ],
)
def test_the_sentence_and_the_hint_agree(milliseconds: float, said: str, hinted: bool) -> None:
    line = gain_line(row(milliseconds))
    assert line.startswith(f"2.0 x fewer MACs, 4.0 x fewer parameters, {said} (")
    assert (no_faster(row(milliseconds)) is not None) is hinted
