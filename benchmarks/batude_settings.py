"""Which of BATUDE's settings matter: a ResNet-20 at macs 0.3, equal training, against knapsack and uniform."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import torch
from cifar import add_data, add_weights, load, resnet20
from timing import parser, print_table, use_threads

from rank_search.searching import make_searcher, run_search
from rank_search.space import Budget, RankSpace
from rank_search.task import Recipe, Task

STRONG = {"epochs": 2, "period": 0.25, "gating": "hard", "rho": 0.3, "lr": 0.03, "batch_size": 64, "distill": 0.7}
ARMS: tuple[tuple[str, dict[str, Any]], ...] = (
    ("knapsack", {}),
    ("uniform", {}),
    ("batude", STRONG),
    ("batude", {**STRONG, "epochs": 1}),
    ("batude", {**STRONG, "epochs": 3}),
    ("batude", {**STRONG, "lr": 0.05}),
    ("batude", {**STRONG, "rho": 1.0, "lr": 0.01}),
    ("batude", {**STRONG, "rho": 0.1, "lr": 0.01}),
    ("batude", {**STRONG, "rho": 0.1, "lr": 0.01, "gating": "soft"}),
    ("batude", {"epochs": 1, "gating": "hard", "period": 0.25}),
    ("batude_gradient", STRONG),
    ("batude_gradient", {**STRONG, "rho": 0.1, "lr": 0.01}),
    ("batude_gradient", {"epochs": 2, "gating": "hard"}),
    ("batude_gradient", {"epochs": 1, "gating": "hard", "period": 0.25}),
    ("batude_gradient", {"epochs": 1, "gating": "hard", "period": 0.25, "gradient_weight": 0.9}),
)


def row(task: Task, name: str, options: dict[str, Any]) -> list[str]:
    """One arm: search, then the fine-tune with the epochs that the search has left."""
    assert task.data is not None
    search = task.under(task.budget)
    result = run_search(make_searcher(search, name, 0, **options))
    used = math.ceil(search.meter.samples_trained / len(task.data.train))
    common = task.under(task.budget)
    before = common.validate(common.compress(result.plan, result.trained)).measures["accuracy"]
    tuned = common.finetune(result.plan, max(0, task.recipe.epochs - used), result.trained)
    said = ", ".join(f"{key} {value}" for key, value in options.items())
    error = f"{common.weight_error(result.plan):.3f}"
    return [f"{name} {said}", error, f"{100 * before:.1f}", f"{100 * common.validate(tuned).measures['accuracy']:.1f}"]


def main() -> None:
    command = parser(__doc__)
    add_weights(command)
    add_data(command)
    command.add_argument("--images", type=int, default=6000, help="training images (default 6000)")
    command.add_argument("--epochs", type=int, default=4, help="of search and fine-tune together (default 4)")
    arguments = command.parse_args()
    use_threads(arguments.threads)
    model, example = resnet20(arguments.weights)
    data = load(arguments)
    data = dataclasses.replace(data, train=data.train.subset(arguments.images, seed=0))
    space = RankSpace.from_model(model, example, ["tucker2"], exclude=["conv1", "linear"])
    task = Task(model, space, Budget(macs=0.3), data, Recipe(epochs=arguments.epochs, lr=0.02))
    torch.manual_seed(0)
    rows = [row(task, name, options) for name, options in ARMS]
    print_table(["arm", "weight error", "before fine-tune %", "after %"], rows)


if __name__ == "__main__":
    main()
