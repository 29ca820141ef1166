"""Holm's correction of many p values."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values, which hold for all tests together (Holm, Scandinavian Journal of Statistics 1979).

    Args:
        p_values: of every test; NaN for one that could not be made, which stays NaN and does not count.
    """
    found = [math.nan] * len(p_values)
    made = sorted((p, place) for place, p in enumerate(p_values) if not math.isnan(p))
    steps = np.maximum.accumulate([p * (len(made) - number) for number, (p, _) in enumerate(made)])
    for (_, place), adjusted in zip(made, steps, strict=True):
        found[place] = min(1.0, float(adjusted))
    return found
