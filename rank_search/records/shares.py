"""How far a share of a few held-out samples can be trusted."""

from __future__ import annotations

COUNTED = ("accuracy", "agreement")
"""Measures that say of how many samples a network is right: each counts once, as right or wrong."""
CONFIDENCE = 0.95
WHOLE = 1e-6


def share_interval(measure: str, value: float | None, samples: int) -> tuple[float, float] | None:
    """The 95 % interval of Wilson of the share behind a measure, 0 to 1.

    Args:
        measure: its name.
        value: of ``samples``.
        samples: how many were judged.

    Returns:
        None where the measure is no share of samples, or the value is not a number of them: outputs of many places.
    """
    if measure not in COUNTED or value is None or samples < 1:
        return None
    right = round(value * samples)
    if abs(right - value * samples) > WHOLE * samples or not 0 <= right <= samples:
        return None
    from scipy.stats import binomtest  # half a second of import

    low, high = binomtest(right, samples).proportion_ci(CONFIDENCE, method="wilson")
    return float(low), float(high)


def interval_text(measure: str, value: float | None, samples: int) -> str:
    """``23.2% to 70.9%``; empty if there is none."""
    found = share_interval(measure, value, samples)
    return "" if found is None else " to ".join(f"{bound:.1%}" for bound in found)
