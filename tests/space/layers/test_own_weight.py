"""Layers whose weight is no plain parameter of their own: offered and right, or left out with the reason."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from measured import relative_difference
from torch import Tensor, nn
from torch.nn.utils import parametrizations, parametrize, prune, spectral_norm, weight_norm

from rank_search.errors import InvalidInputError, LayerSelectionError, PlanError
from rank_search.space import Budget, Choice, RankPlan, RankSpace, compress, load, save
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.layers.layer import KINDS
from rank_search.task import Task

pytestmark = pytest.mark.filterwarnings("ignore::FutureWarning", "ignore:Casting complex")
Change = Callable[[nn.Linear], Any]
FULL, HALF = Choice("svd", (8,)), Choice("svd", (3,))


class Net(nn.Module):
    """The middle layer is the odd one."""

    def __init__(self, change: Change = lambda layer: None) -> None:
        super().__init__()
        self.first, self.odd, self.last = nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8)
        change(self.odd)

    def forward(self, x: Tensor) -> Tensor:
        x = self.first(x).relu()
        odd = self.odd(x.to(getattr(self.odd, "weight_orig", self.odd.weight).dtype))
        last: Tensor = self.last(odd.real.to(self.last.weight.dtype))
        return last


def example() -> Tensor:
    return torch.randn(3, 8, generator=torch.Generator().manual_seed(1))


def run(model: nn.Module) -> Tensor:
    model.eval()
    with torch.no_grad():
        output: Tensor = model(example())
    return output


def is_refused_alike(model: nn.Module, space: RankSpace, name: str) -> None:
    """The space and the plain function refuse the layer with the reason that the space gives."""
    for make in (compress, space.compress):
        with pytest.raises(PlanError) as caught:
            make(model, RankPlan({name: HALF}))
        assert str(caught.value).endswith(space.skipped[name])
        assert "\n" not in str(caught.value)


def is_right(model: nn.Module, space: RankSpace, name: str, tolerance: float = 1e-5) -> None:
    """At full rank both ways put out what the dense network does, and the costs of a smaller rank are the real ones."""
    dense = run(model)
    assert relative_difference(run(compress(model, RankPlan({name: FULL}))), dense) < tolerance
    plan = RankPlan({name: HALF})
    small = space.compress(model, plan)
    assert run(small).isfinite().all()
    assert space.cost(plan)["params"] == sum(parameter.numel() for parameter in small.parameters())


# -- weights that are computed, kept or stored otherwise ---------------------------------------------------------------


def buffer(name: str) -> Change:
    def change(layer: nn.Linear) -> None:
        value = getattr(layer, name).detach()
        delattr(layer, name)
        layer.register_buffer(name, value)

    return change


def plain_attribute(layer: nn.Linear) -> None:
    value = layer.weight.detach()
    del layer.weight
    layer.weight = value


class Own(nn.Parameter):
    """A subclass, which may answer anything."""


class Doubled(nn.Module):
    def forward(self, weight: Tensor) -> Tensor:
        return 2 * weight


def with_weight(make: Callable[[Tensor], Any]) -> Change:
    def change(layer: nn.Linear) -> None:
        layer._parameters["weight"] = make(layer.weight.detach())

    return change


def complex_weight(layer: nn.Linear) -> None:
    layer.weight = nn.Parameter(layer.weight.detach().to(torch.complex64))
    layer.bias = nn.Parameter(layer.bias.detach().to(torch.complex64))


def attach(kind: str) -> Change:
    def change(layer: nn.Linear) -> None:
        if kind == "parameter":
            layer.register_parameter("extra", nn.Parameter(torch.ones(3)))
        elif kind == "buffer":
            layer.register_buffer("extra", torch.ones(3))
        else:
            layer.add_module("extra", nn.Linear(2, 2))

    return change


def pruned(layer: nn.Linear) -> nn.Module:
    made: nn.Module = prune.l1_unstructured(layer, "weight", 0.5)  # type: ignore[no-untyped-call]
    return made


def pruned_bias(layer: nn.Linear) -> None:
    prune.random_unstructured(layer, "bias", 0.5)  # type: ignore[no-untyped-call]


def pruned_rows(layer: nn.Linear) -> None:
    prune.ln_structured(layer, "weight", 0.5, 2, 0)  # type: ignore[no-untyped-call]


SKIPPED: dict[str, tuple[Change, str]] = {
    "weight_norm": (weight_norm, "its weight is no parameter, it is computed before every call (WeightNorm)"),
    "spectral_norm": (spectral_norm, "its weight is no parameter, it is computed before every call (SpectralNorm)"),
    "prune": (pruned, "its weight is no parameter, it is computed"),
    "prune bias": (pruned_bias, "its bias is no parameter, it is comp"),
    "prune rows": (pruned_rows, "its weight is no parameter"),
    "parametrised": (parametrizations.weight_norm, "its weight is parametrised: make it permanent"),
    "parametrised spectral": (parametrizations.spectral_norm, "its weight is parametrised"),
    "orthogonal": (parametrizations.orthogonal, "its weight is parametrised"),
    "own parametrisation": (lambda layer: parametrize.register_parametrization(layer, "weight", Doubled()), "parametr"),
    "parametrised bias": (lambda layer: parametrize.register_parametrization(layer, "bias", Doubled()), "its bias is"),
    "weight as buffer": (buffer("weight"), "its weight is a buffer, no parameter"),
    "bias as buffer": (buffer("bias"), "its bias is a buffer, no parameter"),
    "weight as attribute": (plain_attribute, "its weight is no parameter"),
    "complex": (complex_weight, "its weight is complex (complex64): only real weights are decomposed"),
    "subclass": (with_weight(Own), "its weight is a Own, no plain tensor"),
    "extra parameter": (attach("parameter"), "it carries 'extra' beside its weight and bias"),
    "extra buffer": (attach("buffer"), "it carries 'extra' beside its weight and bias"),
    "extra module": (attach("module"), "it carries 'extra' beside its weight and bias"),
}


@pytest.mark.parametrize(("change", "reason"), SKIPPED.values(), ids=SKIPPED)
def test_a_layer_whose_weight_is_not_its_own_is_left_out_and_refused(change: Change, reason: str) -> None:
    model = Net(change).eval()
    space = RankSpace.from_model(model, example())
    assert reason in space.skipped["odd"]
    assert list(space.dense) == ["first", "last"]
    is_refused_alike(model, space, "odd")
    for name in space.dense:
        is_right(model, space, name)


@pytest.mark.parametrize("change", [weight_norm, spectral_norm, pruned])
def test_a_network_with_computed_weights_can_be_copied_after_training(change: Change) -> None:
    """A weight computed in training has a history, which no copy may have."""
    model = Net(change).train()
    model(example()).sum().backward()
    is_right(model, RankSpace.from_model(model, example()), "last")


def test_a_weight_that_was_loaded_and_not_computed_since_is_never_used_stale() -> None:
    """Loading sets the parts; the weight of before stays until the next call."""
    trained, model = Net(weight_norm).eval(), Net(weight_norm).eval()
    model.load_state_dict(trained.state_dict())
    full = compress(model, RankPlan({"first": FULL, "last": FULL}))
    assert relative_difference(run(full), run(trained)) < 1e-5
    with pytest.raises(PlanError, match="it is computed before every call"):
        compress(model, RankPlan({"odd": FULL}))


MADE_PERMANENT: dict[str, Change] = {
    "weight_norm": lambda layer: nn.utils.remove_weight_norm(weight_norm(layer)),
    "spectral_norm": lambda layer: nn.utils.remove_spectral_norm(spectral_norm(layer)),
    "prune": lambda layer: prune.remove(pruned(layer), "weight"),  # type: ignore[no-untyped-call]
    "parametrised": lambda layer: parametrize.remove_parametrizations(parametrizations.weight_norm(layer), "weight"),
}


@pytest.mark.parametrize("change", MADE_PERMANENT.values(), ids=MADE_PERMANENT)
def test_what_the_reason_advises_makes_the_layer_eligible(change: Change) -> None:
    model = Net(change).eval()
    space = RankSpace.from_model(model, example())
    assert "odd" in space.dense
    is_right(model, space, "odd")


@pytest.mark.parametrize(
    ("dtype", "tolerance"),
    [(torch.float16, 2e-2), (torch.bfloat16, 1e-1), (torch.float32, 1e-5), (torch.float64, 1e-6)],
)
def test_real_weights_of_any_precision_are_offered_and_keep_it(dtype: torch.dtype, tolerance: float) -> None:
    """At full rank two roundings of 2^-11 or 2^-8 remain."""
    model = Net(lambda layer: layer.to(dtype)).eval()
    space = RankSpace.from_model(model, example())
    assert list(space.dense) == ["first", "odd", "last"]
    is_right(model, space, "odd", tolerance)
    compressed = space.compress(model, RankPlan({"odd": HALF}))
    assert {parameter.dtype for parameter in compressed.get_submodule("odd").parameters()} == {dtype}


class Rounding(nn.Module):
    """A layer with whole-number weights, cast where they are used."""

    def __init__(self) -> None:
        super().__init__()
        self.odd, self.last = nn.Linear(8, 8, bias=False), nn.Linear(8, 8)
        self.odd.weight = nn.Parameter(torch.arange(64).reshape(8, 8), requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        last: Tensor = self.last(self.odd((x * 10).long()).float())
        return last


def test_whole_number_weights_are_left_out() -> None:
    model = Rounding().eval()
    space = RankSpace.from_model(model, example())
    assert space.skipped == {"odd": "its weight is int64: only float16, bfloat16, float32, float64 are decomposed"}
    is_refused_alike(model, space, "odd")
    is_right(model, space, "last")


def test_weights_without_values_are_left_out() -> None:
    with torch.device("meta"):
        model = Net().eval()
    with pytest.raises(LayerSelectionError, match="its weight is on the meta device: it has no values"):
        RankSpace.from_model(model, example())
    with pytest.raises(PlanError, match="its weight is on the meta device: it has no values"):
        compress(model, RankPlan({"odd": HALF}))


def test_a_weight_of_another_shape_than_the_attributes_say_is_left_out() -> None:
    model = Net().eval()
    model.odd.weight, model.odd.bias = nn.Parameter(torch.randn(6, 8)), nn.Parameter(torch.randn(6))
    model.last = nn.Linear(6, 8)
    space = RankSpace.from_model(model, example())
    assert space.skipped["odd"] == "its weight has the shape [6, 8], its attributes say [8, 8]"
    is_refused_alike(model, space, "odd")


@pytest.mark.parametrize("layout", ["csr", "coo"])
def test_a_sparse_weight_is_left_out(layout: str) -> None:
    model = Net().eval()
    model.odd = nn.Linear(8, 8, bias=False)
    sparse = model.odd.weight.detach().to_sparse() if layout == "coo" else model.odd.weight.detach().to_sparse_csr()
    model.odd.weight = nn.Parameter(sparse)
    space = RankSpace.from_model(model, example())
    assert space.skipped["odd"] == f"its weight is stored as sparse_{layout}, no dense tensor"
    is_refused_alike(model, space, "odd")


# -- shared weights ----------------------------------------------------------------------------------------------------


def tie(model: Net) -> None:
    model.odd.weight = model.first.weight


def tie_bias(model: Net) -> None:
    model.odd.bias = model.first.bias


def tie_memory(model: Net) -> None:
    model.odd.weight = nn.Parameter(model.first.weight.detach())


def tie_transposed(model: Net) -> None:
    model.odd.weight = nn.Parameter(model.first.weight.detach().t())


def tie_parts_of_one_block(model: Net) -> None:
    block = torch.randn(12, 8)
    model.first.weight, model.odd.weight = nn.Parameter(block[:8]), nn.Parameter(block[4:])


@pytest.mark.parametrize("share", [tie, tie_bias, tie_memory, tie_transposed, tie_parts_of_one_block])
def test_layers_that_share_a_parameter_or_its_memory_are_left_out(share: Callable[[Net], None]) -> None:
    model = Net().eval()
    share(model)
    space = RankSpace.from_model(model, example())
    assert list(space.dense) == ["last"]
    for name, other in (("first", "odd"), ("odd", "first")):
        assert space.skipped[name] == f"its weight or bias is shared with {other!r}"
        is_refused_alike(model, space, name)
    is_right(model, space, "last")


def test_separate_parts_of_one_block_of_memory_are_not_shared() -> None:
    """As torch lays out flat parameters."""
    model, block = Net().eval(), torch.randn(24, 8)
    for layer, rows in zip((model.first, model.odd, model.last), torch.split(block, 8), strict=True):
        layer.weight = nn.Parameter(rows)
    space = RankSpace.from_model(model, example())
    assert list(space.dense) == ["first", "odd", "last"]
    is_right(model, space, "odd")


def test_a_layer_tied_to_a_parameter_of_the_network_itself_is_left_out() -> None:
    model = Net().eval()
    model.anchor = model.odd.weight
    space = RankSpace.from_model(model, example())
    assert "its weight or bias is shared with" in space.skipped["odd"]
    is_refused_alike(model, space, "odd")


def test_a_weight_that_is_a_buffer_elsewhere_stays_there_as_it_is() -> None:
    """A buffer is no parameter: it is counted nowhere, and what it held it still holds."""
    model = Net().eval()
    model.register_buffer("kept", model.odd.weight.detach())
    space = RankSpace.from_model(model, example())
    is_right(model, space, "odd")
    kept = space.compress(model, RankPlan({"odd": HALF})).get_buffer("kept")
    assert torch.equal(kept, model.odd.weight)


# -- frozen ------------------------------------------------------------------------------------------------------------


def flags(module: nn.Module) -> tuple[set[bool], bool | None]:
    """Of the factors' weights and of the bias."""
    assert isinstance(module, LowRank)
    named = dict(module.named_parameters())
    bias = [parameter.requires_grad for name, parameter in named.items() if name.endswith("bias")]
    return {one.requires_grad for name, one in named.items() if name.endswith("weight")}, bias[0] if bias else None


@pytest.mark.parametrize("weight", [True, False])
@pytest.mark.parametrize("bias", [True, False, None])
def test_what_is_frozen_stays_frozen_in_every_way_that_makes_a_network(
    weight: bool, bias: bool | None, tmp_path: Path
) -> None:
    def make() -> Net:
        net = Net()
        net.odd = nn.Linear(8, 8, bias=bias is not None)
        net.odd.weight.requires_grad_(weight)
        if bias is not None:
            net.odd.bias.requires_grad_(bias)
        return net.eval()

    model, plan = make(), RankPlan({"odd": HALF})
    space = RankSpace.from_model(model, example())
    task = Task(model, space, Budget(params=1.0))
    made = {
        "compress": compress(model, plan),
        "space": space.compress(model, plan),
        "task": task.compress(plan),
        "loaded": load(save(compress(model, plan), tmp_path), make),
    }
    for way, network in made.items():
        assert flags(network.get_submodule("odd")) == ({weight}, bias), way
        copied = copy.deepcopy(network)
        assert flags(copied.get_submodule("odd")) == ({weight}, bias), way
        assert network.get_submodule("first").weight.requires_grad


# -- adapters ----------------------------------------------------------------------------------------------------------


class Adapter(nn.Module):
    """A frozen layer with two small ones beside it, as adapters wrap it."""

    def __init__(self, base: nn.Linear) -> None:
        super().__init__()
        self.base = base.requires_grad_(False)
        self.down, self.up = nn.Linear(base.in_features, 2, bias=False), nn.Linear(2, base.out_features, bias=False)

    @property
    def weight(self) -> Tensor:
        return self.base.weight

    def forward(self, x: Tensor) -> Tensor:
        adapted: Tensor = self.base(x) + 0.5 * self.up(self.down(x))
        return adapted


def same(one: nn.Module, other: nn.Module) -> bool:
    return all(torch.equal(*pair) for pair in zip(one.parameters(), other.parameters(), strict=True))


def test_a_wrapped_layer_is_replaced_inside_its_wrapper_and_stays_frozen() -> None:
    model = Net().eval()
    model.odd = Adapter(model.odd)  # type: ignore[assignment]
    space = RankSpace.from_model(model, example())
    assert {"first", "odd.base", "last"} <= set(space.dense)
    is_right(model, space, "odd.base")
    small = space.compress(model, RankPlan({"odd.base": HALF}))
    assert flags(small.get_submodule("odd.base")) == ({False}, False)
    assert small.get_submodule("odd.down").weight.requires_grad
    assert same(small.get_submodule("odd.up"), model.get_submodule("odd.up"))


def hung_on(layer: nn.Linear) -> None:
    down, up = nn.Parameter(torch.randn(2, 8)), nn.Parameter(torch.randn(8, 2))
    layer.down, layer.up = down, up
    forward = layer.forward
    layer.forward = lambda input: forward(input) + input @ down.t() @ up.t()  # type: ignore[method-assign]


def hung_on_a_hook(layer: nn.Linear) -> None:
    down, up = nn.Parameter(torch.randn(2, 8)), nn.Parameter(torch.randn(8, 2))
    layer.down, layer.up = down, up
    layer.register_forward_hook(lambda module, given, output: output + given[0] @ down.t() @ up.t())


def patched(layer: nn.Linear) -> None:
    forward = layer.forward
    layer.forward = lambda input: 2 * forward(input)  # type: ignore[method-assign]


ADAPTERS = [(hung_on, "its forward was"), (patched, "its forward was patched"), (hung_on_a_hook, "'down', 'up'")]


@pytest.mark.parametrize(("change", "reason"), ADAPTERS)
def test_an_adapter_in_the_layer_itself_leaves_it_out(change: Change, reason: str) -> None:
    model = Net(change).eval()
    space = RankSpace.from_model(model, example())
    assert reason in space.skipped["odd"]
    is_refused_alike(model, space, "odd")
    is_right(model, space, "first")


class Scaled(nn.Linear):
    def forward(self, input: Tensor) -> Tensor:
        return 2 * super().forward(input)


def test_a_subclass_is_left_out_whatever_it_computes() -> None:
    assert Scaled not in KINDS
    model = Net().eval()
    model.odd = Scaled(8, 8)
    space = RankSpace.from_model(model, example())
    assert space.skipped["odd"] == "Scaled layers are not supported"
    for make in (compress, space.compress):
        with pytest.raises(PlanError, match="Scaled"):
            make(model, RankPlan({"odd": HALF}))


def test_a_compressed_network_is_no_dense_one() -> None:
    once = compress(Net(), RankPlan({"odd": HALF}))
    for make in (lambda: RankSpace.from_model(once, example()), lambda: compress(once, RankPlan({"first": HALF}))):
        with pytest.raises(InvalidInputError, match="compressed already"):
            make()
