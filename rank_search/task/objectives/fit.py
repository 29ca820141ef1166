"""Whether an objective fits a network and its data, said before anything is searched."""

from __future__ import annotations

from torch import nn

from rank_search.errors import DataError, InvalidInputError
from rank_search.nests import call
from rank_search.running import device_of, evaluating
from rank_search.task.data.data import Data
from rank_search.task.evaluation import with_dense
from rank_search.task.objectives.objective import Objective

CHECKED = 32  # samples on which the objective is tried against the network's outputs


def check_fit(objective: Objective, data: Data, model: nn.Module) -> None:
    """Tries the objective on a few samples of the dense network; what else may fail is said by who runs it.

    Raises:
        InvalidInputError: if the objective does not fit the network's outputs and the targets.
        DataError: if it needs targets and the data has none.
    """
    batches = data.batches(data.validation.subset(CHECKED, seed=0), CHECKED)
    (batch,) = with_dense(iter([next(iter(batches)).to(device_of(model))]), objective, model)
    if batch.targets is None and objective.needs_targets:
        raise DataError(
            f"the objective {type(objective).__name__} needs targets, and this data has none: give "
            "(inputs, targets), or choose objective='agreement' (classes) or 'embedding' (vectors), which compare "
            "with the dense network"
        )
    try:
        with evaluating(model):
            outputs = call(model, batch.inputs)
    except Exception:
        return
    try:
        objective.totals(outputs, batch)
    except InvalidInputError:
        raise
    except Exception:
        return
