"""Every classification network of torchvision: a space, a plan at half the MACs, a forward pass, exact counts.

``make test`` takes a small network of every family, ``python -m pytest -m slow tests/space/test_every_network.py`` the
others.
"""

from __future__ import annotations

import pytest
import torch
import torchvision
from measured import cost
from torch import Tensor, nn

from rank_search.errors import InfeasibleBudgetError
from rank_search.memory import release_memory
from rank_search.space import Budget, RankPlan, RankSpace
from rank_search.space.compress import replace_layers, uninitialised

FORMS = ("tucker2", "svd", "svd_channel", "svd_spatial", "svd_grouped", "tensor_train")
IN_MAKE_TEST = {
    "alexnet",
    "densenet121",
    "efficientnet_b0",
    "googlenet",
    "mnasnet0_5",
    "mobilenet_v2",
    "mobilenet_v3_small",
    "regnet_y_400mf",
    "resnet18",
    "resnext50_32x4d",
    "shufflenet_v2_x0_5",
    "squeezenet1_1",
}
DECOMPOSED_BELOW = 30_000_000
"""Parameters; the factors of larger networks are left as they come: their shapes and counts are what is checked."""


def names() -> list[object]:
    listed = torchvision.models.list_models(module=torchvision.models)
    return [name if name in IN_MAKE_TEST else pytest.param(name, marks=pytest.mark.slow) for name in listed]


def small_input(name: str) -> Tensor:
    """The smallest input the network takes, from 64 x 64; some transformers take one size only."""
    if name.startswith(("vit", "maxvit")):
        return torch.randn(1, 3, 224, 224)
    size = max(64, *torchvision.models.get_model_weights(name).DEFAULT.meta["min_size"])
    return torch.randn(1, 3, size, size)


def halved(space: RankSpace, decomposed: bool) -> RankPlan:
    """The data-free plan at half the MACs, or at the fewest the space can reach."""
    budget = Budget(macs=0.5)
    try:
        space.require_feasible(budget)
    except InfeasibleBudgetError:
        budget = Budget(macs=space.smallest_cost["macs"])
    if not decomposed:
        return space.project(space.dense, budget)
    return space.plan(space.minimise(space.relative_errors(), budget).indices)


@pytest.mark.parametrize("name", names())
def test_it_is_compressed_runs_and_costs_what_was_predicted(name: str) -> None:
    torch.manual_seed(0)
    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    model: nn.Module = torchvision.models.get_model(name, **options).eval()
    example = small_input(name)
    space = RankSpace.from_model(model, example, forms=None if name.startswith("vit") else FORMS)
    assert all(space.skipped.values())
    kinds = (nn.modules.conv._ConvNd, nn.Linear, nn.MultiheadAttention)
    listed = {found for found, module in model.named_modules() if isinstance(module, kinds)}
    assert listed == {*space.skipped, *(table.layer.name for table in space.layers)}
    assert cost(model, example) == space.dense_cost
    decomposed = space.dense_cost["params"] < DECOMPOSED_BELOW
    plan = halved(space, decomposed)
    compressed = space.compress(model, plan) if decomposed else replace_layers(model, plan, uninitialised)
    assert cost(compressed, example) == space.cost(plan)
    assert space.cost(plan)["macs"] < space.dense_cost["macs"]
    with torch.no_grad():
        logits = compressed.eval()(example)
    assert logits.shape == (1, 1000)
    assert not decomposed or logits.isfinite().all()
    del model, space, compressed
    release_memory()
