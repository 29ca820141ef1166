"""Networks in wrappers and of other dtypes: what is saved can be loaded, or is refused when it is saved."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from small_nets import CONV_NET_INPUT, ConvNet
from torch import nn

from rank_search.errors import PlanError, WeightsError
from rank_search.space import Choice, RankPlan, compress, load, plan_of, save
from rank_search.wrappers import own_names, without_wrappers

PLAN = RankPlan({"stem": Choice("tucker2", (4, 2)), "head": Choice("svd", (2,))})


class Outer(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits: torch.Tensor = self.inner(images)
        return logits


def compiled_inside(model: nn.Module) -> nn.Module:
    model.head = torch.compile(model.head)  # type: ignore[assignment]
    return model


WRAPPED: dict[str, Callable[[nn.Module], nn.Module]] = {
    "parallel": nn.DataParallel,
    "compiled": lambda model: torch.compile(model),  # type: ignore[dict-item,return-value]
    "both": lambda model: nn.DataParallel(torch.compile(model)),  # type: ignore[arg-type]
    "compiled inside": compiled_inside,
}


@pytest.fixture
def small() -> nn.Module:
    torch.manual_seed(0)
    return compress(ConvNet().eval(), PLAN)


def same(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one
    )


@pytest.mark.parametrize("wrap", WRAPPED.values(), ids=WRAPPED)
def test_a_wrapped_network_is_saved_as_it_is_without(
    wrap: Callable[[nn.Module], nn.Module], small: nn.Module, tmp_path: Path
) -> None:
    plain = load(save(small, tmp_path / "plain"), ConvNet)
    wrapped = wrap(small)
    assert save(wrapped, tmp_path / "wrapped")
    loaded = load(tmp_path / "wrapped", ConvNet)
    assert same(loaded, plain)
    assert plan_of(loaded) == PLAN
    bare = without_wrappers(wrapped)
    assert same(bare, plain)
    assert type(bare) is ConvNet


def test_a_function_that_returns_a_wrapped_network_loads_either(small: nn.Module, tmp_path: Path) -> None:
    for name, network in (("plain", small), ("wrapped", nn.DataParallel(small))):
        loaded = load(save(network, tmp_path / name), lambda: nn.DataParallel(ConvNet()))
        assert isinstance(loaded, nn.DataParallel)
        assert same(loaded.module, small)


def test_names_that_only_look_like_a_wrappers_stay() -> None:
    network = nn.Module()
    network.module = nn.Linear(1, 1)
    assert own_names(network, network.state_dict()) == {name: name for name in ("module.weight", "module.bias")}
    assert own_names(nn.DataParallel(network), ["module.module.bias"]) == {"module.module.bias": "module.bias"}


def test_a_network_in_another_module_is_refused_where_it_is_saved_or_loaded(small: nn.Module, tmp_path: Path) -> None:
    with pytest.raises(PlanError, match="inside of another module, which calls it 'inner'"):
        save(Outer(small), tmp_path / "out", ConvNet)
    assert not (tmp_path / "out").exists()
    folder = save(Outer(small), tmp_path / "out", lambda: Outer(ConvNet()))
    with pytest.raises(PlanError, match="inside of another module, which calls it 'inner'"):
        load(folder, ConvNet)
    assert plan_of(load(folder, lambda: Outer(ConvNet()))) == RankPlan({f"inner.{k}": v for k, v in PLAN.items()})


def test_a_scripted_network_is_refused(small: nn.Module, tmp_path: Path) -> None:
    scripted = torch.jit.trace(small, torch.randn(CONV_NET_INPUT))
    with pytest.raises(WeightsError, match="TorchScript has lost its layers' plan"):
        save(scripted, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_dtypes_survive(dtype: torch.dtype, small: nn.Module, tmp_path: Path) -> None:
    loaded = load(save(small.to(dtype), tmp_path / "out"), ConvNet)
    assert same(loaded, small)
    mixed = small.float()
    mixed.get_submodule("head").to(dtype)
    assert same(load(save(mixed, tmp_path / "mixed"), ConvNet), mixed)
