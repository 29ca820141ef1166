"""What is chosen for an engineer who says nothing but the network and the budget."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.errors import InvalidInputError, told
from rank_search.nests import Nest, call
from rank_search.running import evaluating
from rank_search.space.layers.selection import select
from rank_search.space.layers.trace import trace
from rank_search.space.tables.build import forms_without_layer, make_forms
from rank_search.task import Recipe
from rank_search.task.objectives.objective import predictions

FORMS = ("tucker2", "svd_spatial", "svd_grouped", "svd")
"""All that are decomposed in seconds: ``cp`` takes minutes for a ResNet-18."""
REPAIR_INPUTS = 512
VALIDATION = 0.2  # of the images is held out

FEW = 800
"""Training images below which the refit alone is as good as a fine-tune after it, or better (docs/results.md)."""


def forms_for(model: nn.Module, example: Nest, exclude: Iterable[str] = ()) -> list[str]:
    """Those of :data:`FORMS` that fit any layer of the network; all if none does, so that the space says why."""
    traced = trace(model, example)
    left_out = select([*traced.layers, *traced.skipped], None, [*exclude])
    unused = forms_without_layer(make_forms(FORMS), traced, left_out)
    return [name for name in FORMS if name not in unused] or [*FORMS]


def outputs_of(model: nn.Module, example: Nest) -> Tensor:
    """The network's predictions on an example.

    Raises:
        InvalidInputError: if it does not run on it.
    """
    try:
        with evaluating(model):
            found = call(model, example)
    except Exception as error:
        raise InvalidInputError(
            f"{type(model).__name__} does not run on such inputs: {told(error)}; give the shape and type that it takes"
        ) from error
    return predictions(found)


def objective_without_labels(outputs: Tensor, is_judged: bool = True) -> str:
    """``agreement`` where the outputs are scores of classes, else ``embedding``.

    Args:
        outputs: of one sample or more.
        is_judged: whether there is data, so that the objective counts.

    Raises:
        InvalidInputError: for one number a sample, of which neither says anything.
    """
    if is_judged and (outputs.ndim < 2 or outputs[0].numel() < 2):
        raise InvalidInputError(
            f"the network's outputs are {list(outputs.shape)}, one number a sample: without targets nothing says how "
            "good a smaller network is; give rank_search.compress_model (inputs, targets) and objective='regression'"
        )
    return "agreement" if outputs.ndim == 2 and outputs.shape[1] > 1 and outputs.is_floating_point() else "embedding"


def recipe(epochs: int | None, images: int, **changes: Any) -> Recipe:
    """The fine-tune: the dense network answers, labels are not asked for, norms stay as the refit left them.

    Args:
        epochs: None: 5, but none on fewer than :data:`FEW` images.
        images: to train on.
        changes: of other keys.
    """
    settings: dict[str, Any] = {
        "epochs": 5 if images >= FEW else 0,
        "lr": 0.005,
        "distill_weight": 1.0,
        "temperature": 4.0,
        "fix_norms": True,
    }
    return Recipe(**{**settings, **({} if epochs is None else {"epochs": epochs}), **changes})


def is_classes(targets: Any) -> bool:
    """Whether targets are a whole number for every sample."""
    return isinstance(targets, Tensor) and targets.ndim == 1 and targets.dtype in (torch.int64, torch.int32)
