"""A training that is kept on disk epoch by epoch, so that whoever is killed repeats one at most."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from rank_search.errors import InvalidInputError
from rank_search.listening import tell
from rank_search.states import load_state, save_state
from rank_search.task.training import Training


def train_on(
    training: Training,
    file: Path | None,
    belongs_to: Mapping[str, Any],
    charge: Callable[[int], None] = lambda samples: None,
    after_epoch: Callable[[], None] = lambda: None,
) -> None:
    """Trains to the end of the recipe, on from what an earlier process has left in ``file``.

    Args:
        training: at its beginning.
        file: rewritten after every epoch; one that belongs to another training, or cannot be read, is started over.
        belongs_to: what the training is of: plain values that are compared.
        charge: called once with the samples that were trained on before.
        after_epoch: called when the file is written.

    Raises:
        LimitReached, EvaluationError, StorageError
    """
    if file is not None:
        left = _left(file, belongs_to)
        if left is not None:
            charge(int(left["samples"]))
            training.load_state_dict(left)
    while not training.done:
        tell("fine-tuning", training.epochs, training.recipe.epochs)
        training.run()
        tell("fine-tuning", training.epochs, training.recipe.epochs)
        if file is not None:
            save_state(file, {"belongs_to": belongs_to, "training": training.state_dict()})
            after_epoch()


def _left(file: Path, belongs_to: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The state in the file, if it is of this training."""
    try:
        state = load_state(file)
    except InvalidInputError:
        return None
    return state["training"] if state.get("belongs_to") == belongs_to else None
