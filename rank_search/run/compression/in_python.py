"""A trained network, inputs and a budget in; a small network out, from Python."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from numbers import Integral
from pathlib import Path
from typing import Any, TypeAlias, overload

import torch
from torch import nn
from torch.utils.data import DataLoader

from rank_search.copying import copy_network
from rank_search.deploy.engines import EngineSpec
from rank_search.deploy.latency import Latency, refined
from rank_search.errors import InvalidInputError
from rank_search.files import write_text
from rank_search.nests import Nest
from rank_search.records.schema import PLAN_FILE
from rank_search.records.shares import share_interval
from rank_search.run.compression.defaults import (
    REPAIR_INPUTS,
    forms_for,
    is_classes,
    objective_without_labels,
    outputs_of,
    recipe,
)
from rank_search.run.compression.given_budgets import OneBudget, given_budgets
from rank_search.run.compression.given_data import given_data
from rank_search.run.compression.image_folder import image_folder
from rank_search.run.finalists import Finalist
from rank_search.run.stages import worth_of_stages
from rank_search.running import evaluating
from rank_search.searching import search
from rank_search.space import RankPlan, RankSpace, save
from rank_search.task import Data, Recipe, Task
from rank_search.task.objectives.choose import ObjectiveSpec

Given: TypeAlias = "Data | DataLoader[Any] | str | Path | Nest | tuple[Nest, Nest] | None"
NOT_KEPT = " (not kept)"
"""At the end of the name of a stage that the network has not gone through."""


@dataclass(frozen=True)
class Compressed:
    """A compressed network and how it came about.

    Attributes:
        network: in eval mode, an ordinary module.
        plan: form and ranks by layer.
        cost, dense_cost: by metric.
        measure: that ``stages`` tell; None without data.
        samples: how many inputs were held out to judge; 0 without data.
        stages: what each stage was worth on held-out inputs: ``cut``, ``recalibrated``, ``refitted``, ``fine-tuned``;
            None where outputs were not finite. Empty without data.
        dense: the same of the dense network; None without data.
    """

    network: nn.Module
    plan: RankPlan
    cost: Mapping[str, int]
    dense_cost: Mapping[str, int]
    measure: str | None
    samples: int
    stages: Sequence[tuple[str, float | None]]
    dense: float | None

    @property
    def kept(self) -> dict[str, float]:
        """The share of the dense network's cost, by metric."""
        return {name: self.cost[name] / self.dense_cost[name] for name in self.cost}

    def save(self, folder: str | Path) -> None:
        """Writes weights and plan; ``rank_search.load(folder, factory)`` reads them."""
        save(self.network, folder)
        write_text(Path(folder) / PLAN_FILE, self.plan.to_json())

    def __str__(self) -> str:
        lines = ["kept " + ", ".join(f"{share:.4f} of {name}" for name, share in self.kept.items())]
        if self.measure is not None:
            said = ", ".join(f"{name} {'not finite' if v is None else f'{v:.4f}'}" for name, v in self.stages)
            inputs = f"{self.samples:,} held-out input{'s' * (self.samples != 1)}"
            line = f"validation {self.measure} on {inputs}: dense {self.dense:.4f}, {said}"
            kept = [value for name, value in self.stages if not name.endswith(NOT_KEPT)]
            interval = share_interval(self.measure, kept[-1], self.samples) if kept else None
            if interval is not None:
                line += f"; 95 % interval of {kept[-1]:.4f}: {interval[0]:.4f} to {interval[1]:.4f}"
            lines.append(line)
        return "\n".join(lines)


@overload
def compress_model(
    model: nn.Module,
    data: Given = ...,
    budget: OneBudget = ...,
    *,
    example: Nest = ...,
    objective: ObjectiveSpec | None = ...,
    forms: Sequence[Any] | None = ...,
    exclude: Sequence[str] = ...,
    engine: EngineSpec | None = ...,
    batch: int = ...,
    finetune: Recipe | None = ...,
    searcher: str = ...,
    seed: int = ...,
) -> Compressed: ...


@overload
def compress_model(
    model: nn.Module,
    data: Given,
    budget: list[OneBudget] | tuple[OneBudget, ...],
    *,
    example: Nest = ...,
    objective: ObjectiveSpec | None = ...,
    forms: Sequence[Any] | None = ...,
    exclude: Sequence[str] = ...,
    engine: EngineSpec | None = ...,
    batch: int = ...,
    finetune: Recipe | None = ...,
    searcher: str = ...,
    seed: int = ...,
) -> list[Compressed]: ...


def compress_model(
    model: nn.Module,
    data: Given = None,
    budget: OneBudget | list[OneBudget] | tuple[OneBudget, ...] = "macs=0.5",
    *,
    example: Nest = None,
    objective: ObjectiveSpec | None = None,
    forms: Sequence[Any] | None = None,
    exclude: Sequence[str] = (),
    engine: EngineSpec | None = None,
    batch: int = 1,
    finetune: Recipe | None = None,
    searcher: str = "knapsack",
    seed: int = 0,
) -> Compressed | list[Compressed]:
    """Chooses ranks within the budget, cuts, repairs and fine-tunes, as ``rank-search compress`` does.

    Args:
        model: trained; left as it was.
        data: inputs ``[N, ...]`` as the network takes them, tensors or NumPy arrays, of which a fifth is held out; a
            pair ``(inputs, class numbers)``; a ``DataLoader`` of either, read once and held in memory; a
            :class:`Data`; a folder of images, read as the command does; or None: the cut by the weights alone.
        budget: such as ``"macs=0.3"``, ``"latency_ms=0.5"`` or a :class:`Budget`; or a list of them, in which ranges
            such as ``"macs=0.2:0.8:0.1"`` are several: a curve, for which the layers are decomposed once.
        example: one input, where there is no data, or a folder of images for a network of no family that is known.
        objective: what is good. Unless told: accuracy with class numbers, else how often the network names the dense
            network's class, else how alike its outputs are.
        forms: what layers may become; those of ``tucker2``, ``svd_spatial``, ``svd_grouped`` and ``svd`` that fit.
        exclude: patterns of names of layers that stay.
        engine: where it will run: ranks are chosen for it, and ``latency_ms`` is its time.
        batch: inputs of one run there.
        finetune: unless told five epochs of distillation, none on fewer than 800 training inputs, where the refit alone
            is better; ``Recipe(epochs=0)`` for none.
        searcher: who chooses.
        seed: of the held-out inputs, the search and the fine-tune.

    Returns:
        One network; for a list of budgets one for each, in their order.

    Raises:
        RankSearchError: if anything does not fit; says what.
    """
    bounds = given_budgets(budget)
    if not isinstance(model, nn.Module):
        what = f"the text {model!r}" if isinstance(model, str) else f"of type {type(model).__name__}"
        raise InvalidInputError(f"the model is {what}: give an nn.Module, as rank_search.load_model returns for a name")
    if not isinstance(finetune, Recipe | None):
        raise InvalidInputError(f"finetune={finetune!r} is no Recipe: give rank_search.Recipe(epochs=...), or nothing")
    for name, given_names in (("forms", forms), ("exclude", exclude)):
        if isinstance(given_names, str):
            raise InvalidInputError(f"{name}={given_names!r} is a text: give a list, [{given_names!r}]")
    if not isinstance(exclude, Iterable) or not all(isinstance(pattern, str) for pattern in exclude):
        raise InvalidInputError(f"exclude={exclude!r} is no list of names of layers: give one, [] for none")
    if not isinstance(seed, Integral):
        raise InvalidInputError(f"seed={seed!r} is not a whole number from 0")
    if isinstance(data, str | Path):
        data = image_folder(Path(data), model, example, seed)
    found = given_data(data, seed, objective is not None)
    if found is None and finetune is not None and finetune.epochs:
        raise InvalidInputError(
            f"finetune has {finetune.epochs} epochs, and there is no data to train on: give data, or leave it out"
        )
    if not any(parameter.requires_grad for parameter in model.parameters()):
        model = copy_network(model).requires_grad_()  # frozen to be run; what it becomes is trained
    if found is None and example is None:
        raise InvalidInputError("give data, or at least example=: one input as the network takes it, [1, ...]")
    given = example if found is None else found.example()
    try:
        outputs = outputs_of(model, given)
    except InvalidInputError as error:
        if isinstance(data, tuple | list) and len(data) == 2 and objective is None:
            error.args = (
                f"{error}; of a pair, the second is class numbers if it is int64 [N], else name an objective",
            )
        raise
    if objective is None:
        objective = "classification" if _has_classes(found) else objective_without_labels(outputs, found is not None)
    timed = engine is not None or any("latency_ms" in bound.metrics for bound in bounds)
    if batch != 1 and not timed:
        raise InvalidInputError(
            f"batch={batch} is how many inputs are timed at once, and nothing is timed: give engine=, or a budget of "
            "latency_ms, too"
        )
    metrics = [Latency("eager" if engine is None else engine, batch)] if timed else []
    offered = forms_for(model, given, exclude) if forms is None else list(forms)
    space = RankSpace.from_model(model, given, offered, exclude=list(exclude), metrics=metrics, align=timed)
    if timed:
        space = refined(space, model, bounds)
    settings = recipe(None, 0 if found is None else len(found.train)) if finetune is None else finetune
    repair = "none" if found is None else "refit"
    task = Task(model, space, bounds[0], found, settings, seed, None, REPAIR_INPUTS, objective, repair, REPAIR_INPUTS)
    tasks = [task, *map(task.under, bounds[1:])]  # says first whether every budget can be met
    with torch.inference_mode(False), torch.enable_grad():
        made = [_made(one, model, found is not None, searcher, seed) for one in tasks]
    return made if isinstance(budget, list | tuple) else made[0]


def _made(task: Task, model: nn.Module, has_data: bool, searcher: str, seed: int) -> Compressed:
    """The task's answer, with what each stage was worth."""
    space, settings = task.space, task.recipe
    result = search(task, searcher, seed=seed)
    if not has_data:
        network = task.compress(result.plan)
        return Compressed(network, result.plan, task.admit(result.plan), space.dense_cost, None, 0, (), None)
    start = task.compress(result.plan, result.trained)
    mended, before = task.mended, task.validate(start)
    network = task.finetune(result.plan, trained=start) if settings.epochs else start
    tuned = Finalist(result.plan, result.score, before, task.validate(network), network, mended)
    best = tuned.or_before(start)
    measure = task.objective.measure
    stages = [
        (one["stage"] if one.get("kept", True) else f"{one['stage']}{NOT_KEPT}", (one["measures"] or {}).get(measure))
        for one in worth_of_stages(task, best, result.trained)["stages"]
    ]
    with evaluating(model):
        dense = task.validate(model).measures[measure]
    assert task.data is not None
    held_out, cost = len(task.data.validation), task.admit(result.plan)
    return Compressed(best.network, result.plan, cost, space.dense_cost, measure, held_out, stages, dense)


def _has_classes(data: Data | None) -> bool:
    """Whether every sample has the number of a class."""
    if data is None or not getattr(data, "labelled", True):
        return False
    return is_classes(getattr(data.train, "targets", getattr(data.train, "labels", None)))
