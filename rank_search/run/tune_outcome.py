"""What a result of a Ray Tune trial says a plan is worth."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rank_search.errors import EvaluationError, InvalidInputError
from rank_search.task.evaluation import Evaluation

BLIND = 3  # results without the metric, and none with it, after which it is taken for a wrong name
_OF_RAY = (
    *("config", "time_", "timestamp", "date", "pid", "hostname", "node_ip", "trial_id", "experiment_", "done"),
    *("training_iteration", "iterations_since_restore", "timesteps_", "episodes_total", "should_checkpoint"),
)
logger = logging.getLogger(__name__)


class Outcomes:
    """Reads one metric off results; lower scores are better.

    Args:
        metric: its name, ``a/b`` where results are nested.
        mode: ``min`` or ``max``.

    Attributes:
        with_metric, without: results that had the metric, and that had others only.
    """

    def __init__(self, metric: str, mode: Literal["min", "max"]) -> None:
        if not isinstance(metric, str) or not metric:
            raise InvalidInputError(f"metric={metric!r} is not allowed: it is the name of one value that trials report")
        if mode not in ("min", "max"):
            raise InvalidInputError(f"mode={mode!r} is not allowed: it is 'min' or 'max'")
        self.metric, self.mode = metric, mode
        self.with_metric = self.without = 0
        self._has: list[str] = []

    def read(self, result: Mapping[str, Any] | None, error: bool) -> Evaluation | EvaluationError:
        """The outcome of a trial; the error is returned, not raised."""
        if error:
            return EvaluationError("its trial ended with an error")
        if not result:
            return EvaluationError("its trial ended without a result")
        if self.metric not in result:
            self._missing(result)
            return EvaluationError(f"its trial reported no {self.metric!r}")
        self.with_metric += 1
        try:
            value = float(result[self.metric])
        except (TypeError, ValueError):
            return EvaluationError(f"its trial reported {self.metric}={result[self.metric]!r}, which is no number")
        if not math.isfinite(value):
            return EvaluationError(f"its trial reported {self.metric}={value}")
        score = value if self.mode == "min" else -value
        return Evaluation(score, {self.metric: value}, 1)

    def require_metric(self) -> None:
        """Raises once it is plain that no trial reports the metric.

        Raises:
            InvalidInputError: says what they report.
        """
        if not self.with_metric and self.without >= BLIND:
            raise InvalidInputError(self._why())

    def counts(self) -> list[int]:
        """Results with the metric and without."""
        return [self.with_metric, self.without]

    def load_counts(self, counts: Sequence[int]) -> None:
        """Goes on from :meth:`counts`."""
        self.with_metric, self.without = counts

    def _missing(self, result: Mapping[str, Any]) -> None:
        self._has = [name for name in result if not name.startswith(_OF_RAY)]
        self.without += 1
        if not self.with_metric and self.without == 1:
            logger.error(self._why())

    def _why(self) -> str:
        has = ", ".join(self._has) or "nothing"
        return f"no trial has reported the metric {self.metric!r} that the searcher needs; they report: {has}"
