"""What a search must leave as it was, as digests: a cell starts from the same bytes whatever ran before it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np
from torch import Tensor, nn

from rank_search.digests import digest_of, digest_of_text
from rank_search.nests import held
from rank_search.space import RankSpace
from rank_search.space.tables.options import LayerOptions
from rank_search.task.task import Task


def task_digest(task: Task) -> dict[str, str]:
    """A digest of each part of a task that searches share, by what it is called in messages.

    Parts that are computed when they are first asked for (errors of options) are there once they are.
    """
    found = {
        "the weights of the dense network": digest_of(_state(task.model)),
        "the training mode of the dense network": digest_of_text([module.training for module in task.model.modules()]),
        "which weights of the dense network are frozen": digest_of_text(
            [p.requires_grad for p in task.model.parameters()]
        ),
        "the modules and hooks of the dense network": digest_of_text(list(_modules(task.model))),
        "the recipe": digest_of_text(asdict(task.recipe)),
        "the objective": digest_of_text([type(task.objective), sorted(vars(task.objective).items(), key=str)]),
        "the budget": digest_of_text(task.budget),
        "what the space costs": digest_of_text([task.space.metric_names, task.space.fixed_cost, task.space.dense_cost]),
    }
    if task.data is not None:
        texts, tensors = task.data.fingerprint()
        found["the data"] = digest_of_text([texts, digest_of(tensors), digest_of(_arrays(task.data))])
    for options in task.space.layers:
        found |= _of_options(options)
    found["decompositions that are kept in memory"] = digest_of_text(_caches(task.space))
    return found


def changed(before: Mapping[str, str], after: Mapping[str, str]) -> list[str]:
    """The parts that are not what they were; a part that is new was only computed."""
    return [part for part, digest in before.items() if after.get(part) != digest]


def _of_options(options: LayerOptions) -> dict[str, str]:
    name = options.layer.name
    tables = [options.form, options.ranks, options.costs]
    weights = [options.weight.plain, *([options.weight.whitening.moment] if options.weight.whitening else [])]
    found = {
        f"the table of options of layer {name!r}": digest_of_text([options.layer, digest_of(tables)]),
        f"the weight that is decomposed of layer {name!r}": digest_of(weights),
    }
    for row, distances in options.distances.items():
        found[f"the distances of layer {name!r} from option {row}"] = digest_of([distances])
    if "errors" in vars(options):
        found[f"the errors of the options of layer {name!r}"] = digest_of([options.errors])
    return found


def _caches(space: RankSpace) -> str:
    """``""`` while all that the caches hold is what was put in."""
    caches = {id(options.weight.cache): options.weight.cache for options in space.layers}
    return ", ".join(sorted(key for cache in caches.values() for key in cache.altered()))


def _state(model: nn.Module) -> list[Tensor]:
    buffers = [buffer for _, buffer in model.named_buffers()]  # those that are not saved, too
    return [*model.parameters(), *buffers]


def _modules(model: nn.Module) -> Iterable[str]:
    for name, module in model.named_modules():
        hooks = len(module._forward_hooks), len(module._forward_pre_hooks), len(module._backward_hooks)
        yield f"{name} {type(module).__qualname__} {hooks} {'forward' in vars(module)}"


def _arrays(data: Any) -> Iterator[Tensor | np.ndarray[Any, Any]]:
    """All tensors and arrays of a data set, the validation set and a user's own among them."""
    return held(data, (Tensor, np.ndarray), inside=lambda value: hasattr(value, "__dict__"))
