"""The digest tells every change of what searches share, and nothing else."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from tiny_task import tiny_task

from rank_search.space import Budget
from rank_search.task import Recipe, Task
from rank_search.task.digest import changed, task_digest


def writes_weights(task: Task) -> None:
    with torch.no_grad():
        task.model.get_submodule("head").weight.view(-1)[0] += 1e-7  # type: ignore[operator, union-attr]


def writes_buffer(task: Task) -> None:
    task.model.get_submodule("norm1").running_mean.add_(1)  # type: ignore[operator, union-attr]


def trains(task: Task) -> None:
    task.model.get_submodule("norm2").train()


def freezes(task: Task) -> None:
    next(task.model.parameters()).requires_grad_(False)


def hooks(task: Task) -> None:
    task.model.get_submodule("first").register_forward_pre_hook(lambda module, inputs: None)


def patches(task: Task) -> None:
    task.model.forward = lambda x: x  # type: ignore[method-assign]


def writes_pixel(task: Task) -> None:
    assert task.data is not None
    task.data.validation.images[0, 0, 0, 0] += 1


def writes_label(task: Task) -> None:
    assert task.data is not None
    task.data.train.labels[3] = (task.data.train.labels[3] + 1) % 3


def writes_recipe(task: Task) -> None:
    task.recipe.form_lr["svd"] = 0.0  # type: ignore[index]


def writes_objective(task: Task) -> None:
    task.objective.weight = 3.0  # type: ignore[attr-defined]


def replaces_costs(task: Task) -> None:
    task.space.layers[1].costs = np.zeros_like(task.space.layers[1].costs)


def replaces_errors(task: Task) -> None:
    task.space.layers[0].errors = np.zeros(len(task.space.layers[0]))


def writes_fixed_cost(task: Task) -> None:
    task.space.fixed_cost["params"] = 0


def writes_decomposition(task: Task) -> None:
    cache = task.space.layers[0].weight.cache
    next(iter(next(iter(cache._memory.values())).values())).numpy()[...] = 7.0  # past torch's own counting


CHANGES: dict[Callable[[Task], None], str] = {
    writes_weights: "the weights of the dense network",
    writes_buffer: "the weights of the dense network",
    trains: "the training mode of the dense network",
    freezes: "which weights of the dense network are frozen",
    hooks: "the modules and hooks of the dense network",
    patches: "the modules and hooks of the dense network",
    writes_pixel: "the data",
    writes_label: "the data",
    writes_recipe: "the recipe",
    writes_objective: "the objective",
    replaces_costs: "the table of options of layer 'second'",
    replaces_errors: "the errors of the options of layer 'first'",
    writes_fixed_cost: "what the space costs",
    writes_decomposition: "decompositions that are kept in memory",
}


@pytest.mark.parametrize("change", CHANGES, ids=lambda change: change.__name__)
def test_every_change_is_told_by_its_name(change: Callable[[Task], None]) -> None:
    task = tiny_task(recipe=Recipe(epochs=1))
    task.relative_errors()
    before = task_digest(task)
    assert changed(before, task_digest(task)) == []
    change(task)
    assert changed(before, task_digest(task)) == [CHANGES[change]]


def test_honest_work_changes_nothing() -> None:
    task = tiny_task()
    before = task_digest(task)
    plan = task.space.random_plan(np.random.default_rng(0), task.budget)
    task.evaluate(plan)
    task.relative_errors()
    task.finetune(plan, epochs=1)
    task.outputs_with({}, task.fixed_inputs(4), batch_statistics=True)
    assert changed(before, task_digest(task)) == []


def test_a_weight_that_somebody_wrote_to_is_computed_anew() -> None:
    """What forms are given to decompose is shared: a write to it reaches no decomposition."""
    clean, spoilt = tiny_task(), tiny_task()
    spoilt.space.layers[0].weight.tensor.zero_()
    for wanted, found in zip(clean.relative_errors(), spoilt.relative_errors(), strict=True):
        assert np.array_equal(wanted, found)


@pytest.mark.parametrize("table", ["costs", "ranks", "form", "errors", "coordinates"])
def test_tables_cannot_be_written_to(table: str) -> None:
    options = tiny_task().space.layers[1]
    for kept in (options, options.pruned(), options.at_most(5)):
        with pytest.raises(ValueError, match="read-only"):
            getattr(kept, table)[0] = 0


def test_distances_that_a_search_put_into_a_table_are_seen() -> None:
    task = tiny_task()
    space = task.space
    space.project(space.dense, Budget(macs=0.5))  # computes them
    before = task_digest(task)
    options = next(options for options in space.layers if options.distances)
    row, kept = next(iter(options.distances.items()))
    options.distances[row] = kept + 1
    try:
        assert changed(before, task_digest(task)) == [
            f"the distances of layer {options.layer.name!r} from option {row}"
        ]
    finally:
        options.distances[row] = kept
