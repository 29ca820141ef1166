"""What a compression gained, in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def gain_line(row: Mapping[str, Any]) -> str:
    """``3.3 x fewer MACs, 2.7 x fewer parameters, 2.05 times as fast as dense (4.81 ms for a run, dense 9.88 ms)``.

    Args:
        row: a finished one of the results.
    """
    share = row["latency_ms"] / row["dense_latency_ms"]
    if share < NO_FASTER:
        faster = f"{1 / share:.2f} times as fast as dense"
    elif share <= 1 / NO_FASTER:
        faster = "as fast as dense within the noise"
    else:
        faster = f"{share:.2f} times the time of dense"
    return (
        f"{1 / row['kept_macs']:.1f} x fewer MACs, {1 / row['kept_params']:.1f} x fewer parameters, {faster} "
        f"({row['latency_ms']:.3g} ms for {row['timed']}, dense {row['dense_latency_ms']:.3g} ms)"
    )


def no_faster(row: Mapping[str, Any]) -> str | None:
    """What to do about a network that takes as long as the dense one; None if it does not."""
    if row["latency_ms"] < NO_FASTER * row["dense_latency_ms"]:
        return None
    return "it is not faster here: --engine chooses ranks that are fast there, --budget latency_ms=0.5 bounds the time"


NO_FASTER = 0.95
"""Of the dense network's time; what lies between it and its inverse are times that repeated timings differ by."""
