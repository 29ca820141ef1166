"""A table, a multilayer perceptron and a number to predict: the aim is ``regression``, the data ``TensorData``.

    python examples/tabular_regression.py

About ten seconds on one core. The data are scikit-learn's diabetes: 442 patients, 10 numbers each, and how far the
disease has gone after a year.
"""

from __future__ import annotations

import torch
from sklearn.datasets import load_diabetes
from torch import Tensor, nn

import rank_search as rs


def patients() -> tuple[rs.TensorData, float]:
    """Train, validation and test sets in the standard scores of the training set, and the target's deviation there."""
    inputs, targets = (torch.as_tensor(array, dtype=torch.float32) for array in load_diabetes(return_X_y=True))
    order = torch.randperm(len(inputs), generator=torch.Generator().manual_seed(0))
    train, validation, test = order[:282], order[282:362], order[362:]
    scale = float(targets[train].std())

    def pair(rows: Tensor) -> tuple[Tensor, Tensor]:
        x = (inputs[rows] - inputs[train].mean(0)) / inputs[train].std(0)
        return x, ((targets[rows] - targets[train].mean()) / scale)[:, None]

    return rs.TensorData(pair(train), pair(validation), pair(test)), scale


def main() -> None:
    torch.manual_seed(0)
    data, scale = patients()
    model: nn.Module = nn.Sequential(
        *(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))
    )
    model = rs.train(model, data, rs.Recipe(epochs=40, lr=0.02, weight_decay=1e-2), objective="regression")
    space = rs.RankSpace.from_model(model, data.example(), forms=["svd"])
    recipe = rs.Recipe(epochs=10, lr=0.01, weight_decay=1e-2)
    task = rs.Task(model, space, rs.Budget(params=0.2), data, recipe, objective="regression")
    print(f"dense: rmse {scale * task.validate(model).measures['rmse']:.1f} of a deviation of {scale:.1f}")
    for name in ("knapsack", "tpe"):
        result = rs.search(task, name, rs.Limits(evaluations=20), seed=0)
        before = task.evaluate(result.plan).measures["rmse"]
        after = task.validate(task.finetune(result.plan)).measures["rmse"]
        kept = result.cost["params"] / space.dense_cost["params"]
        print(f"{name}: {kept:.1%} of the parameters, rmse {scale * before:.1f} before, {scale * after:.1f} after")


if __name__ == "__main__":
    main()
