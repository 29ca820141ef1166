"""Numbers for every sample."""

from __future__ import annotations

import math
from typing import Any, ClassVar

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from rank_search.task.batch import Batch
from rank_search.task.objectives.objective import Objective, Totals


class Regression(Objective):
    """Mean squared error; outputs and targets have one shape (``[N]`` and ``[N, 1]`` count as one).

    Reported is the root mean squared error; beside it the mean absolute error and R^2, the share of the targets'
    variance (each output's around its own mean, summed over outputs) that is explained.
    """

    measure: ClassVar[str] = "rmse"
    higher: ClassVar[bool] = False
    percent: ClassVar[bool] = False

    def loss(self, outputs: Any, batch: Batch) -> Tensor:
        return mse_loss(*self._pair(outputs, batch))

    def totals(self, outputs: Any, batch: Batch) -> Totals:
        found, wanted = (tensor.double().flatten(1) for tensor in self._pair(outputs, batch))
        difference = found - wanted
        return {
            "squared": difference.square().sum().cpu(),
            "absolute": difference.abs().sum().cpu(),
            "targets": wanted.sum(0).cpu(),
            "targets_squared": wanted.square().sum(0).cpu(),
            "samples": len(wanted),
        }

    def measures(self, totals: Totals) -> dict[str, float]:
        first, second, samples = torch.as_tensor(totals["targets"]), totals["targets_squared"], float(totals["samples"])
        count = samples * first.numel()
        mse = float(totals["squared"]) / count
        spread = float((second - first.square() / samples).sum())
        r2 = 1 - float(totals["squared"]) / spread if spread > 0 else math.nan
        return {"loss": mse, "rmse": math.sqrt(mse), "mae": float(totals["absolute"]) / count, "r2": r2}

    def distance(self, outputs: Any, dense_outputs: Any, temperature: float = 1.0) -> Tensor:
        return mse_loss(self.predictions(outputs), self.predictions(dense_outputs))

    def _pair(self, outputs: Any, batch: Batch) -> tuple[Tensor, Tensor]:
        found, wanted = given = self.predictions(outputs), self.targets(batch)
        one = found.ndim == 1 or (found.ndim == 2 and found.shape[1] == 1)
        if one and (wanted.ndim == 1 or (wanted.ndim == 2 and wanted.shape[1] == 1)):
            found, wanted = found.reshape(-1, 1), wanted.reshape(-1, 1)
        if found.shape != wanted.shape or found.ndim < 2:
            raise self.misfit(*given, "equal shapes")
        return found, wanted.to(found.dtype)
