"""The hypervolume of what a method reached under several budgets."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def hypervolume(points: Sequence[tuple[float, float]], reference: tuple[float, float]) -> float:
    """The area between the points and the reference: what they dominate (Zitzler and Thiele, PPSN 1998), by moocore.

    Args:
        points: cost and error of each, lower is better.
        reference: cost and error that count as nothing; a point beyond it adds nothing.

    Returns:
        The area, in the unit of the cost times that of the error.
    """
    import moocore

    return float(moocore.hypervolume(np.asarray(points, dtype=np.float64), ref=np.asarray(reference, dtype=np.float64)))
