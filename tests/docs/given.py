"""What the short pieces of a page take for granted: a trained network, its task, a study."""

from __future__ import annotations

import sys
import types
from collections.abc import Callable
from functools import cache
from typing import Any

import rank_search as rs

SHORT = rs.Recipe(epochs=6, lr=0.1)


@cache
def trained() -> dict[str, Any]:
    """The digits net after a few epochs, and a task on it."""
    data = rs.load_data("digits")
    model = rs.train(rs.load_model("digits_net"), data, SHORT)
    forms = ("tucker2", "svd_spatial")
    space = rs.RankSpace.from_model(model, data.example(), forms=forms)
    budget = rs.Budget(macs=0.3)
    task = rs.Task(model, space, budget, data)
    return {"data": data, "model": model, "forms": forms, "space": space, "budget": budget, "task": task}


def of_deploy() -> dict[str, Any]:
    """A network so wide that a rank saves time."""
    dense, forms = rs.load_model("digits_net", width=64), ("svd_spatial",)
    data = rs.load_data("digits")
    inputs = next(data.batches(data.train, 64)).inputs
    space = rs.RankSpace.from_model(dense, inputs[:1], forms)
    network = space.compress(dense, space.plan(space.minimise(space.relative_errors(), rs.Budget(macs=0.3)).indices))
    return {"model": dense, "dense": dense, "forms": forms, "network": network, "example": inputs[:1], "inputs": inputs}


def of_adapters() -> dict[str, Any]:
    import optuna

    known = trained()

    def trained_loss(network: Any, lr: float) -> float:
        return float(known["task"].validate(network).score) + lr

    return {**known, "study": optuna.create_study(), "trained_loss": trained_loss}


def of_rankbench() -> dict[str, Any]:
    import optuna

    return {"study": optuna.create_study()}


def of_plugins() -> dict[str, Any]:
    """A package of the reader's with an objective, as the page imports it."""
    from rank_search.task.objectives.regression import Regression

    package, module = types.ModuleType("my_package"), types.ModuleType("my_package.mine")
    module.Mine = Regression  # type: ignore[attr-defined]
    sys.modules.update({"my_package": package, "my_package.mine": module})
    return {}


GIVEN: dict[str, Callable[[], dict[str, Any]]] = {
    "deploy.md": of_deploy,
    "adapters.md": of_adapters,
    "rankbench.md": of_rankbench,
    "plugins.md": of_plugins,
    "faq.md": trained,
}
