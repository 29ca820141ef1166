"""``rank-search compress`` as a config, so that all else is that of a search: resumed, exported, repeated."""

from __future__ import annotations

import re
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
from pydantic import ValidationError

from rank_search.errors import ConfigError, InvalidInputError
from rank_search.run.compression.defaults import (
    REPAIR_INPUTS,
    VALIDATION,
    forms_for,
    objective_without_labels,
    outputs_of,
    recipe,
)
from rank_search.run.compression.image_folder import SIZES, absolute, image_section
from rank_search.run.config import LATENCY, Config
from rank_search.run.config_errors import explain
from rank_search.run.config_file import apply_settings
from rank_search.space import Budget
from rank_search.task import Recipe, load_model
from rank_search.task.data.load_images import list_images


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
    if not has_data:
        _check_no_data(labels, most_images, mean, std, epochs)
    timed = engine is not None or any(LATENCY in budget.metrics for budget in budgets)
    if batch != 1 and not timed:
        raise ConfigError(
            f"--batch {batch} is how many inputs are timed at once, and ranks are not chosen by time: give --engine or "
            "--budget latency_ms=..., too"
        )
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
    if images is None:
        data: dict[str, Any] = {"name": "noise", "shape": [*wanted]}
        objective = objective_without_labels(outputs, is_judged=False)
    else:
        data, objective = image_section(images, wanted, resize, labels, most_images, network, outputs)
        data |= {"seed": seed} if seed else {}
        data |= {key: [*values] for key, values in (("mean", mean), ("std", std)) if values is not None}
    section = {
        "model": {
            "name": model,
            **({"train": {"epochs": 0}} if weights is None else {"weights": absolute(weights)}),
        },
        "data": data,
        "objective": objective,
        "space": {"forms": forms or forms_for(network, example, exclude or []), "exclude": exclude or []},
        **({"target": {"engine": engine or "eager", "batch": batch}} if engine is not None or batch != 1 else {}),
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


def _check_no_data(labels: bool | None, most: int | None, mean: object, std: object, epochs: int | None) -> None:
    """Options that say something of images alone.

    Raises:
        ConfigError: naming the first of them that is given.
    """
    given = {
        "--no-labels" if labels is False else "--labels": labels is not None,
        "--most": most is not None,
        "--mean": mean is not None,
        "--std": std is not None,
        f"--epochs {epochs}": bool(epochs),
    }
    useless = [name for name, is_given in given.items() if is_given]
    if useless:
        raise ConfigError(f"{useless[0]} says something of images, and there are none: give --images, too")
