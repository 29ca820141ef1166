"""``rank-search compress`` as a config, so that all else is that of a search: resumed, exported, repeated."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError
from torch import nn

from rank_search.errors import ConfigError, InvalidInputError
from rank_search.run.compression.defaults import (
    REPAIR_INPUTS,
    VALIDATION,
    forms_for,
    objective_without_labels,
    outputs_of,
    recipe,
)
from rank_search.run.config import Config
from rank_search.run.config_errors import explain
from rank_search.run.config_file import apply_settings
from rank_search.space import Budget
from rank_search.task import Recipe, load_model
from rank_search.task.data.load_images import list_images

SIZES = {"cifar_resnet": ((3, 32, 32), None), "torchvision:": ((3, 224, 224), 256)}
"""Inputs of families of networks, and what the shorter side of an image is scaled to before the crop."""


def compression_config(
    model: str,
    weights: Path | None,
    images: Path | None,
    budgets: list[Budget],
    *,
    shape: tuple[int, ...] | None = None,
    labels: bool | None = None,
    most_images: int | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    forms: list[str] | None = None,
    exclude: list[str] | None = None,
    engine: str | None = None,
    batch: int = 1,
    epochs: int | None = None,
    threads: int | None = None,
    seed: int = 0,
    settings: list[str] | None = None,
) -> Config:
    """The config of a compression.

    Args:
        model, weights: as for :func:`load_model`.
        images: a folder (see ``load_images``); None: there is no data.
        budgets: what the network may cost.
        shape: of an input; None: that of the family.
        labels: whether folders of images are classes; None: if there are any, and as many as the network has outputs.
        most_images: read at most so many.
        mean, std: of images scaled to ``[0, 1]``, three numbers; None: ImageNet's.
        forms, exclude, engine, batch, epochs: as for :func:`compress_model`.
        threads: that compute; None: as many as torch takes.
        seed: of the search.
        settings: ``key=value``, in the end.

    Raises:
        RankSearchError: if anything does not fit; nothing is decomposed before.
    """
    family = next((known for known in SIZES if model.startswith(known)), None)
    wanted: tuple[int, ...] = (3, 224, 224)
    resize = None
    if family is not None:
        wanted, resize = SIZES[family]
    if shape is not None and shape != wanted:
        wanted, resize = shape, None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = load_model(model, weights)
    kind = next((parameter.dtype for parameter in network.parameters() if parameter.is_floating_point()), torch.float32)
    if kind != torch.float32:
        raise InvalidInputError(
            f"{model} is in {str(kind).removeprefix('torch.')}, and images become float32: use "
            "rank_search.compress_model with inputs of that type"
        )
    has_data = images is not None
    if not has_data and (mean is not None or std is not None):
        raise ConfigError("--mean and --std are of images, and there are none: give --images, too")
    count = 0 if images is None else len(list_images(images, labels).paths)
    count = count if most_images is None else min(count, most_images)
    trained = recipe(epochs if has_data else 0, count - round(VALIDATION * count))
    if trained.epochs and not any(parameter.requires_grad for parameter in network.parameters()):
        raise InvalidInputError(
            f"every parameter of {model} is frozen (requires_grad=False), so nothing can be fine-tuned: let it give "
            "them thawed, or use --epochs 0"
        )
    example = torch.zeros(1, *wanted)
    outputs = outputs_of(network, example)
    data, objective = _data(images, wanted, resize, labels, most_images, network, outputs)
    if has_data:
        data |= {key: [*values] for key, values in (("mean", mean), ("std", std)) if values is not None}
    section = {
        "model": {
            "name": model,
            **({"train": {"epochs": 0}} if weights is None else {"weights": _absolute(weights)}),
        },
        "data": data,
        "objective": objective,
        "space": {"forms": forms or forms_for(network, example, exclude or []), "exclude": exclude or []},
        **({} if engine is None else {"target": {"engine": engine, "batch": batch}}),
        "repair": "refit" if has_data else "none",
        "repair_inputs": REPAIR_INPUTS if has_data else 0,
        "evaluation": {"recalibration_samples": REPAIR_INPUTS if has_data else 0}
        | ({} if has_data else {"repair": "none"}),
        "keep_better": True,
        "finetune": {key: value for key, value in asdict(trained).items() if value != getattr(Recipe(), key)},
    }
    content: dict[str, Any] = {
        "name": "compress",
        "tasks": {re.sub(r"[^\w.+-]", "-", model): section},
        "budgets": [budget.to_dict() for budget in budgets],
        "searchers": ["knapsack"],
        "seeds": [seed],
        "run": {"threads": threads or torch.get_num_threads()},
    }
    apply_settings(content, settings or [])
    try:
        return Config.model_validate(content)
    except ValidationError as error:
        raise ConfigError(f"compress: {explain(error, Config)}") from None


def _data(
    images: Path | None,
    shape: tuple[int, ...],
    resize: int | None,
    labels: bool | None,
    most: int | None,
    network: nn.Module,
    outputs: torch.Tensor,
) -> tuple[dict[str, Any], str]:
    """The section of the data, and the objective."""
    if images is None:
        return {"name": "noise", "shape": [*shape]}, objective_without_labels(outputs, is_judged=False)
    without = objective_without_labels(outputs)
    if len(shape) != 3 or shape[0] != 3 or shape[1] != shape[2]:
        raise InvalidInputError(
            f"images become inputs 3,SIZE,SIZE, and {type(network).__name__} is given {','.join(map(str, shape))}: "
            "use rank_search.compress_model with inputs of your own"
        )
    classes = len(list_images(images, labels).classes)
    if classes and (outputs.ndim != 2 or outputs.shape[1] != classes):
        if labels:
            raise InvalidInputError(
                f"{images} has {classes} folders of classes, and the outputs of {type(network).__name__} are "
                f"{list(outputs.shape[1:])}: which is which cannot be known; use --no-labels"
            )
        classes = 0
    section: dict[str, Any] = {
        "name": "images",
        "root": _absolute(images),
        "labels": bool(classes),
        "size": shape[1],
    }
    if resize is not None:
        section["resize"] = resize
    if most is not None:
        section["images"] = most
    return section, "classification" if classes else without


def _absolute(path: Path) -> str:
    """Whatever folder the result is used from."""
    return str(path.expanduser().resolve())
