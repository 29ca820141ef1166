"""What networks do with their layers: offered and counted as what runs, or left out with the reason."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import torch
from measured import params, relative_difference
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.errors import InvalidInputError, PlanError
from rank_search.nests import Nest, call
from rank_search.space import DENSE, Choice, RankPlan, RankSpace, compress
from rank_search.space.layers.counting import count_macs
from rank_search.space.replaceable import CLOSURE, READS

FORMS = ("svd", "tucker2", "svd_spatial", "svd_channel")
WIDTH = 8


def features(count: int = 1) -> Tensor:
    return torch.randn(count, WIDTH)


def images(count: int = 1) -> Tensor:
    return torch.randn(count, 4, 7, 7)


def run(model: nn.Module, example: Nest) -> Any:
    model.eval()
    torch.manual_seed(3)
    with torch.no_grad():
        return call(model, example)


def full_rank(space: RankSpace, name: str) -> Choice:
    """The largest of a form that is exact there: all singular values, or all channels."""
    layer = next(table.layer for table in space.layers if table.layer.name == name)
    out, into = layer.group_channels
    if layer.taps == 1:
        return Choice("svd", (min(out, into),))
    return Choice("tucker2", (min(out, into * layer.taps), min(into, out * layer.taps)))


def holds_what_it_says(model: nn.Module, example: Nest, *offered: str, forms: tuple[str, ...] = FORMS) -> RankSpace:
    """These layers are offered, and for every form of each: it runs, and counts what the space says.

    At full rank the network puts out what the dense one does.
    """
    model.eval()
    space = RankSpace.from_model(model, example, forms=None if forms == FORMS else forms)
    assert list(space.dense) == list(offered), space.skipped
    assert count_macs(model, example) == space.dense_cost["macs"]
    plans = [space.dense, space.plan(torch.tensor([len(table) // 2 for table in space.layers]).numpy())]
    for table in space.layers:
        for form in table.forms:
            rows = [table.choice(row) for row in range(1, len(table)) if table.choice(row).form == form.name]
            plans += [RankPlan({table.layer.name: rows[0]}), RankPlan({table.layer.name: rows[len(rows) // 2]})]
    for plan in plans:
        small = space.compress(model, plan)
        assert space.cost(plan) == {"params": params(small), "macs": count_macs(small, example)}
        run(small, example)
    return space


def is_exact_at_full_rank(model: nn.Module, example: Tensor, *names: str) -> None:
    space = RankSpace.from_model(model.eval(), example)
    full = compress(model, RankPlan({name: full_rank(space, name) for name in names}))
    assert relative_difference(run(full, example), run(model, example)) < 1e-5


def refused(space: RankSpace, model: nn.Module, name: str) -> None:
    with pytest.raises(PlanError) as caught:
        space.compress(model, RankPlan({name: Choice("svd", (2,))}))
    assert space.skipped[name] in str(caught.value)


class Two(nn.Module):
    """A network of two linear layers, with a function that says what it does with them."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.a, self.b = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.does = forward

    def forward(self, x: Tensor) -> Any:
        return self.does(self, x)


class Conv(nn.Module):
    """A convolution and a linear layer behind it, the same way."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.c, self.fc = nn.Conv2d(4, 6, 3, stride=2, padding=1), nn.Linear(6, WIDTH)
        self.does = forward

    def forward(self, x: Tensor) -> Any:
        return self.does(self, x)


# -- reading what is harmless ------------------------------------------------------------------------------------------

READ: dict[str, Callable[[Any, Tensor], Any]] = {
    "dtype": lambda net, x: net.b(net.a(x).to(net.b.weight.dtype)),
    "device": lambda net, x: net.b(net.a(x).to(net.b.weight.device)),
    "to(w)": lambda net, x: net.b(net.a(x).to(net.b.weight)),
    "type_as": lambda net, x: net.b(net.a(x).type_as(net.b.weight)),
    "shape": lambda net, x: net.b(net.a(x)).view(-1, net.b.weight.shape[0]) + net.a.weight.size(1),
    "ndim": lambda net, x: net.b(net.a(x)) * net.b.weight.ndim / net.b.weight.dim() + len(net.a.weight),
    "numel": lambda net, x: net.b(net.a(x)) / net.b.weight.numel(),
    "requires_grad": lambda net, x: net.b(net.a(x)) + float(net.b.weight.requires_grad),
    "is_cuda": lambda net, x: net.b(net.a(x)) + float(net.b.weight.is_cuda),
    "floating": lambda net, x: net.b(net.a(x)) + float(net.b.weight.is_floating_point()),
    "itemsize": lambda net, x: net.b(net.a(x)) + net.b.weight.element_size(),
    "new_zeros": lambda net, x: net.b(net.a(x)) + net.b.weight.new_zeros(WIDTH),
    "new_tensor": lambda net, x: net.b(net.a(x)) + net.b.weight.new_ones((1, WIDTH)) + net.a.weight.new_full((1,), 2.0),
    "in_features": lambda net, x: net.b(net.a(x)).view(-1, net.a.in_features) * net.b.out_features,
    "bias": lambda net, x: net.b(net.a(x)) - net.b.bias,
    "bias is None": lambda net, x: net.b(net.a(x)) + float(net.b.bias is None),
    "weight is None": lambda net, x: net.b(net.a(x)) + float(net.b.weight is None),
    "hasattr": lambda net, x: net.b(net.a(x)) + float(hasattr(net.b, "weight")),
    "training": lambda net, x: net.b(net.a(x)) + float(net.b.training),
    "parameters": lambda net, x: net.b(net.a(x).to(next(net.b.parameters()).dtype)),
}
READ_OF_A_CONVOLUTION: dict[str, Callable[[Any, Tensor], Any]] = {
    "channels": lambda net, x: net.fc(net.c(x).view(1, net.c.out_channels, -1).mean(2)) + net.c.in_channels,
    "stride": lambda net, x: net.fc(net.c(x).mean((2, 3))) + net.c.stride[0],
    "padding": lambda net, x: net.fc(net.c(x)[..., : x.shape[2] // net.c.stride[0] + net.c.padding[0]].mean((2, 3))),
    "kernel": lambda net, x: net.fc(net.c(x).mean((2, 3))) * net.c.kernel_size[1] * net.c.dilation[0] * net.c.groups,
    "mode": lambda net, x: net.fc(net.c(x).mean((2, 3))) if net.c.padding_mode == "zeros" else None,
    "transposed": lambda net, x: net.fc(net.c(x).mean((2, 3))) + float(net.c.transposed) + net.c.output_padding[0],
    "weight's kernel": lambda net, x: net.fc(net.c(x).mean((2, 3))) + net.c.weight.shape[-1],
}


@pytest.mark.parametrize("does", READ.values(), ids=READ)
def test_what_is_asked_of_a_layer_beside_its_values_is_answered(does: Callable[[Any, Tensor], Any]) -> None:
    model = Two(does)
    holds_what_it_says(model, features(), "a", "b")
    is_exact_at_full_rank(model, features(), "a", "b")


@pytest.mark.parametrize("does", READ_OF_A_CONVOLUTION.values(), ids=READ_OF_A_CONVOLUTION)
def test_the_geometry_of_a_replaced_convolution_is_answered(does: Callable[[Any, Tensor], Any]) -> None:
    model = Conv(does)
    holds_what_it_says(model, images(), "c", "fc")
    is_exact_at_full_rank(model, images(), "c", "fc")


# -- computing with the weight -----------------------------------------------------------------------------------------


def read_in_a_try(net: Any, x: Tensor) -> Any:
    try:
        scale = net.a.weight.abs().mean()
    except Exception:
        scale = 1.0
    return net.b(net.a(x)) * scale


def read_in_a_try_of_everything(net: Any, x: Tensor) -> Any:
    try:
        return net.b(F.linear(net.a(x), net.a.weight))
    except BaseException:
        return net.b(net.a(x))


COMPUTE: dict[str, Callable[[Any, Tensor], Any]] = {
    "F.linear": lambda net, x: net.b(F.linear(net.a(x), net.a.weight)),
    "its transpose": lambda net, x: F.linear(net.b(net.a(x)), net.a.weight.t()),
    "@": lambda net, x: net.b(net.a(x)) @ net.a.weight.T,
    "regulariser": lambda net, x: (net.b(net.a(x)), net.a.weight.sum()),
    "norm in a dict": lambda net, x: {"logits": net.b(net.a(x)), "penalty": net.a.weight.norm()},
    "the weight put out": lambda net, x: (net.b(net.a(x)), net.a.weight),
    "a view": lambda net, x: net.b(net.a(x)) + net.a.weight[0],
    "item": lambda net, x: net.b(net.a(x)) * net.a.weight.mean().item(),
    "branch": lambda net, x: net.b(net.a(x)) if net.a.weight.max() > 0 else net.b(x),
    "detached": lambda net, x: net.b(net.a(x)) + net.a.weight.detach().std(),
    "data": lambda net, x: net.b(net.a(x)) + net.a.weight.data.std(),
    "einsum": lambda net, x: torch.einsum("ni,oi->no", net.b(net.a(x)), net.a.weight),
    "try": read_in_a_try,
    "try everything": read_in_a_try_of_everything,
}


@pytest.mark.parametrize("does", COMPUTE.values(), ids=COMPUTE)
def test_a_layer_whose_weight_the_network_computes_with_is_left_out(does: Callable[[Any, Tensor], Any]) -> None:
    model = Two(does)
    space = holds_what_it_says(model, features(), "b")
    assert space.skipped == {"a": READS}
    refused(space, model, "a")


@pytest.mark.parametrize("how", ["numpy", "tolist"])
def test_values_taken_out_of_torch_leave_the_layer_out(how: str) -> None:
    model = Two(lambda net, x: net.b(net.a(x)) + torch.tensor(getattr(net.a.weight, how)())[0])
    assert how in holds_what_it_says(model, features(), "b").skipped["a"]


def test_a_penalty_on_whatever_parameters_there_are_is_no_hindrance() -> None:
    """Of a smaller network it is the smaller network's."""
    model = Two(lambda net, x: (net.b(net.a(x)), sum(p.square().sum() for p in net.parameters())))
    holds_what_it_says(model, features(), "a", "b")


# -- calling -----------------------------------------------------------------------------------------------------------

CALLS: dict[str, Callable[[Any, Tensor], Any]] = {
    "keyword": lambda net, x: net.b(net.a(input=x)),
    "forward": lambda net, x: net.b.forward(net.a.forward(x)),
    "forward by keyword": lambda net, x: net.b.forward(input=net.a.forward(input=x)),
    "mixed": lambda net, x: net.b(net.a(input=net.a(x))),
    "twice": lambda net, x: net.b(net.a(x)) + net.a(net.b(x)),
    "several sizes": lambda net, x: net.b(net.a(x).expand(5, -1)).mean(0) + net.a(x.expand(2, 3, -1)).mean((0, 1)),
    "by name": lambda net, x: getattr(net, "b")(net.get_submodule("a")(x)),  # noqa: B009
    "by children": lambda net, x: functools.reduce(lambda y, layer: layer(y), net.children(), x),
    "__call__": lambda net, x: net.b.__call__(net.a.__call__(x)),
    "map": lambda net, x: torch.stack(list(map(net.b, net.a(x.expand(3, -1))))),
    "local alias": lambda net, x: [layer(x) for layer in (net.a, net.b)][1] + net.a(x),
    "checkpoint": lambda net, x: net.b(torch.utils.checkpoint.checkpoint(net.a, x, use_reentrant=False)),
    "inference": lambda net, x: torch.inference_mode()(lambda y: net.b(net.a(y)))(x),
    "under grad": lambda net, x: torch.enable_grad()(lambda y: net.b(net.a(y)))(x).detach(),
}


@pytest.mark.parametrize("does", CALLS.values(), ids=CALLS)
def test_a_layer_is_called_in_any_way(does: Callable[[Any, Tensor], Any]) -> None:
    model = Two(does)
    holds_what_it_says(model, features(), "a", "b")
    is_exact_at_full_rank(model, features(), "a", "b")


def test_a_layer_that_runs_past_its_own_forward_is_left_out_with_a_reason_that_is_true() -> None:
    """``Linear.forward`` reads the weight of whatever it is given; and the example does run the layer."""
    model = Two(lambda net, x: net.b(nn.Linear.forward(net.a, x)))
    space = holds_what_it_says(model, features(), "b")
    assert "does not run it" not in space.skipped["a"]
    refused(space, model, "a")


SIZES: dict[str, Callable[[Any, Tensor], Any]] = {
    "size": lambda net, x: net.up(net.down(x), output_size=x.shape[-2:]),
    "whole size": lambda net, x: net.up(net.down(x), output_size=x.size()),
    "by position": lambda net, x: net.up(net.down(x), x.shape[-2:]),
    "forward": lambda net, x: net.up.forward(net.down(x), output_size=[*x.shape[-2:]]),
    "keywords": lambda net, x: net.up(input=net.down(x), output_size=x.shape[-2:]),
    "several": lambda net, x: (
        net.up(net.down(x), output_size=(9, 11))[..., :9, :10]
        + net.up(net.down(x), output_size=[10, 10])[..., :9, :10]
        + net.up(net.down(x))[..., :9, :10]
    ),
}


class Hourglass(nn.Module):
    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(4, 8, 3, 2, 1), nn.ConvTranspose2d(8, 6, (3, 4), 2, 1)
        self.does = forward

    def forward(self, x: Tensor) -> Any:
        return self.does(self, x)


@pytest.mark.parametrize("form", ["tucker2", "svd_spatial", "svd_channel", "tensor_train", "cp", "svd_grouped"])
@pytest.mark.parametrize("does", SIZES.values(), ids=SIZES)
def test_a_transposed_convolution_may_be_given_the_size_of_its_output(
    does: Callable[[Any, Tensor], Any], form: str
) -> None:
    model, example = Hourglass(does).eval(), torch.randn(1, 4, 10, 10)
    spec = {"cp": {"ranks": 3}} if form == "cp" else form
    space = RankSpace.from_model(model, example, forms=[spec])
    assert list(space.dense) == ["down", "up"]
    for name in space.dense:
        table = next(table for table in space.layers if table.layer.name == name)
        for row in (1, len(table) // 2, len(table) - 1):
            plan = RankPlan({name: table.choice(row)})
            small = space.compress(model, plan)
            assert run(small, example).shape == run(model, example).shape
            assert space.cost(plan) == {"params": params(small), "macs": count_macs(small, example)}


@pytest.mark.parametrize("does", SIZES.values(), ids=SIZES)
def test_at_full_rank_every_output_size_gives_the_dense_output(does: Callable[[Any, Tensor], Any]) -> None:
    """Tucker keeps all channels; the spatial form has one rank per row of its matrix."""
    model, example = Hourglass(does).eval(), torch.randn(1, 4, 10, 10)
    for choice in (Choice("tucker2", (6, 8)), Choice("svd_spatial", (24,))):
        full = compress(model, RankPlan({"up": choice}))
        assert relative_difference(run(full, example), run(model, example)) < 1e-5


# -- what else a network may do with a layer ---------------------------------------------------------------------------

IS_A: dict[str, Callable[[Any, Tensor], Any]] = {
    "isinstance Linear": lambda net, x: net.b(net.a(x) if isinstance(net.a, nn.Linear) else x),
    "isinstance outputs": lambda net, x: net.b(net.a(x)) * (2 if isinstance(net.a, nn.Linear) else 1),
    "raises": lambda net, x: net.b(net.a(x)) if isinstance(net.a, nn.Linear) else net.missing,
    "own attribute": lambda net, x: net.b(net.a(x)) * getattr(net.a, "scale", 1.0),
    "own attribute, if any": lambda net, x: net.b(net.a(x)) * (3 if hasattr(net.a, "scale") else 1),
    "type is": lambda net, x: net.b(net.a(x)) + (1 if type(net.a) is nn.Linear else 0),
}


@pytest.mark.parametrize("does", IS_A.values(), ids=IS_A)
def test_a_network_that_asks_for_the_class_of_a_layer_gets_no_other_class(does: Callable[[Any, Tensor], Any]) -> None:
    model = Two(does)
    model.a.scale = 2.0  # type: ignore[assignment]
    space = holds_what_it_says(model, features(), "b")
    assert "once replaced" in space.skipped["a"]


def test_what_a_user_put_on_a_layer_is_still_there_or_the_layer_is_left_out() -> None:
    model = Two(lambda net, x: net.b(net.a(x)) * net.a.scale)
    model.a.scale = 2.0  # type: ignore[assignment]
    space = RankSpace.from_model(model.eval(), features())
    assert "b" in space.dense
    if "a" in space.dense:
        is_exact_at_full_rank(model, features(), "a", "b")
    else:
        assert "scale" in space.skipped["a"]


class Bound(Two):
    """Keeps something made of its own layers, which a copy may or may not follow."""

    def __init__(self, keep: Callable[[Any], Any], forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__(forward)
        self.kept = keep(self)

    def apply_a(self, x: Tensor) -> Tensor:
        output: Tensor = self.a(x)
        return output


FOLLOWED: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Tensor], Any]]] = {
    "partial": (lambda net: functools.partial(net.a), lambda net, x: net.b(net.kept(x))),
    "bound call": (lambda net: net.a.__call__, lambda net, x: net.b(net.kept(x))),
    "own method": (lambda net: net.apply_a, lambda net, x: net.b(net.kept(x))),
    "own methods in a list": (lambda net: [net.apply_a], lambda net, x: net.b(net.kept[0](x))),
    "partial of a method": (lambda net: functools.partial(net.apply_a), lambda net, x: net.b(net.kept(x))),
    "a list": (lambda net: [net.a], lambda net, x: net.b(net.kept[0](x))),
    "a dict": (lambda net: {"a": net.a}, lambda net, x: net.b(net.kept["a"](x))),
    "a tuple": (lambda net: (net.a,), lambda net, x: net.b(net.kept[0](x))),
    "a set": (lambda net: {net.a}, lambda net, x: net.b(next(iter(net.kept))(x))),
}


@pytest.mark.parametrize(("keep", "does"), FOLLOWED.values(), ids=FOLLOWED)
def test_what_python_copies_with_what_it_holds_runs_the_copy(
    keep: Callable[[Any], Any], does: Callable[[Any, Tensor], Any]
) -> None:
    model = Bound(keep, does)
    holds_what_it_says(model, features(), "a", "b")
    is_exact_at_full_rank(model, features(), "a", "b")


CLOSED: dict[str, tuple[Callable[[Any], Any], Callable[[Any, Tensor], Any]]] = {
    "a lambda": (lambda net: lambda x: net.a(x), lambda net, x: net.b(net.kept(x))),
    "a lambda over the layer": (lambda net: lambda x, a=net.a: a(x), lambda net, x: net.b(net.kept(x))),
    "a list of lambdas": (lambda net: [lambda x: net.a(x)], lambda net, x: net.b(net.kept[0](x))),
    "a lambda over forward": (lambda net: lambda x: net.a.forward(x), lambda net, x: net.b(net.kept(x))),
    "by name": (lambda net: lambda x: net.get_submodule("a")(x), lambda net, x: net.b(net.kept(x))),
}


@pytest.mark.parametrize(("keep", "does"), CLOSED.values(), ids=CLOSED)
def test_a_function_keeps_the_original_and_its_layer_is_left_out(
    keep: Callable[[Any], Any], does: Callable[[Any, Tensor], Any]
) -> None:
    model = Bound(keep, does)
    space = holds_what_it_says(model, features(), "b")
    assert space.skipped == {"a": CLOSURE}
    refused(space, model, "a")


@pytest.mark.parametrize("listed", [False, True])
def test_a_layers_own_forward_kept_from_before_is_left_out_with_a_reason_that_is_true(listed: bool) -> None:
    """Copied, it is ``Linear.forward`` of whatever stands in its place, which reads the weight."""
    model = Bound(lambda net: [net.a.forward] * (1 + listed), lambda net, x: net.b(net.kept[-1](x)))
    space = holds_what_it_says(model, features(), "b")
    assert "does not run it" not in space.skipped["a"]
    refused(space, model, "a")


def test_a_patched_forward_of_the_network_runs_the_original_and_leaves_all_out() -> None:
    model = Two(lambda net, x: net.b(net.a(x)))
    model.forward = lambda x: model.b(model.a(x)).relu()  # type: ignore[method-assign]
    with pytest.raises(InvalidInputError, match="closure or a patched method"):
        RankSpace.from_model(model, features())


def test_a_forward_bound_to_the_network_is_followed() -> None:
    model = Two(lambda net, x: net.b(net.a(x)))

    def forward(self: Any, x: Tensor) -> Tensor:
        out: Tensor = self.b(self.a(x)).relu()
        return out

    model.forward = forward.__get__(model)  # type: ignore[method-assign]
    holds_what_it_says(model, features(), "a", "b")
    is_exact_at_full_rank(model, features(), "a", "b")


def test_a_patched_forward_of_a_layer_leaves_that_one_out() -> None:
    model = Two(lambda net, x: net.b(net.a(x)))
    plain = model.a.forward
    model.a.forward = lambda input: 2 * plain(input)  # type: ignore[method-assign]
    space = holds_what_it_says(model, features(), "b")
    assert space.skipped == {"a": "its forward was patched"}
    refused(space, model, "a")


# -- hooks -------------------------------------------------------------------------------------------------------------

HOOKS: dict[str, tuple[Callable[[nn.Module], Any], str]] = {
    "forward": (lambda m: m.register_forward_hook(lambda m, x, y: 3 * y), "it carries a forward hook"),
    "watching": (lambda m: m.register_forward_hook(lambda m, x, y: None), "it carries a forward hook"),
    "with keywords": (
        lambda m: m.register_forward_hook(lambda m, x, options, y: 2 * y, with_kwargs=True),
        "it carries a forward hook",
    ),
    "before": (lambda m: m.register_forward_pre_hook(lambda m, x: (2 * x[0],)), "it carries a forward pre-hook"),
    "backward": (lambda m: m.register_full_backward_hook(lambda m, x, y: None), "it carries a backward hook"),
    "before backward": (
        lambda m: m.register_full_backward_pre_hook(lambda m, y: None),
        "it carries a backward pre-hook",
    ),
}


@pytest.mark.parametrize(("hook", "reason"), HOOKS.values(), ids=HOOKS)
def test_a_hook_on_a_layer_leaves_it_out(hook: Callable[[nn.Module], Any], reason: str) -> None:
    model = Two(lambda net, x: net.b(net.a(x)))
    hook(model.a)
    space = holds_what_it_says(model, features(), "b")
    assert space.skipped == {"a": reason}
    refused(space, model, "a")


@pytest.mark.parametrize("hook", [hook for hook, _ in HOOKS.values()], ids=HOOKS)
def test_a_hook_on_what_holds_the_layers_is_kept_and_they_are_offered(hook: Callable[[nn.Module], Any]) -> None:
    model = nn.Sequential(nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()), nn.Linear(WIDTH, WIDTH))
    hook(model[0])
    hook(model)
    holds_what_it_says(model, features(), "0.0", "1")
    is_exact_at_full_rank(model, features(), "0.0", "1")


class Collecting(nn.Module):
    """A hook that is its own method collects features, of a block or of a layer."""

    def __init__(self, where: str) -> None:
        super().__init__()
        self.block, self.head = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.ReLU()), nn.Linear(WIDTH, WIDTH)
        self.get_submodule(where).register_forward_hook(self.keep)

    def keep(self, module: nn.Module, given: Any, output: Tensor) -> None:
        self.features = output

    def forward(self, x: Tensor) -> Tensor:
        output: Tensor = self.head(self.block(x)) + self.features.mean()
        return output


def test_features_collected_from_a_block_are_those_of_the_copy() -> None:
    model = Collecting("block")
    holds_what_it_says(model, features(), "block.0", "head")
    is_exact_at_full_rank(model, features(), "block.0", "head")
    collected = Collecting("block.0")
    assert holds_what_it_says(collected, features(), "head").skipped == {"block.0": "it carries a forward hook"}


# -- networks with a life of their own ---------------------------------------------------------------------------------


class Remembering(Two):
    """Keeps its activation, counts its calls in a buffer and in an attribute."""

    def __init__(self, forward: Callable[[Any, Tensor], Any]) -> None:
        super().__init__(forward)
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.count, self.history = 0, [torch.zeros(())]


def remembers(net: Any, x: Tensor) -> Tensor:
    net.last = net.a(x)
    net.history.append(net.last)
    net.calls += 1
    net.count += 1
    output: Tensor = net.b(net.last)
    return output


def numbers_its_outputs(net: Any, x: Tensor) -> Tensor:
    net.calls += 1
    net.count += 1
    output: Tensor = net.b(net.a(x)) + net.count + net.calls
    return output


def test_a_network_that_keeps_activations_and_counts_its_calls_is_no_hindrance() -> None:
    model = Remembering(remembers).train()
    model(features()).sum().backward()
    holds_what_it_says(model, features(), "a", "b")
    is_exact_at_full_rank(model, features(), "a", "b")


def test_a_network_whose_outputs_depend_on_how_often_it_ran_is_not_compared_by_them() -> None:
    holds_what_it_says(Remembering(numbers_its_outputs), features(), "a", "b")


def test_a_network_that_draws_in_evaluation_is_compared_at_the_same_draws() -> None:
    for does in (
        lambda net, x: net.b(F.dropout(net.a(x), 0.5, training=True)),
        lambda net, x: net.b(net.a(x)) + torch.randn(WIDTH),
    ):
        before = torch.get_rng_state()
        RankSpace.from_model(Two(does).eval(), features())
        model = Two(does)
        holds_what_it_says(model, features(), "a", "b")
        is_exact_at_full_rank(model, torch.ones(1, WIDTH), "a", "b")
        assert before is not None


@dataclass
class Answer:
    logits: Tensor
    aux: Any = None


PUT_OUT: dict[str, Callable[[Any, Tensor], Any]] = {
    "a tuple": lambda net, x: (net.b(net.a(x)), net.a(x)),
    "a dict": lambda net, x: {"logits": net.b(net.a(x)), "aux": None},
    "a dataclass": lambda net, x: Answer(net.b(net.a(x)), [net.a(x), 3, "text"]),
    "nothing": lambda net, x: print(end="", file=None) if net.b(net.a(x)) is None else None,
    "a number": lambda net, x: float(net.b(net.a(x)).sum()),
    "whole numbers": lambda net, x: net.b(net.a(x)).argmax(1),
    "an empty tensor": lambda net, x: net.b(net.a(x))[:0],
    "nan and inf": lambda net, x: torch.cat([net.b(net.a(x)), torch.full((1, WIDTH), torch.nan), x / 0]),
    "sparse": lambda net, x: net.b(net.a(x)).to_sparse(),
    "nested": lambda net, x: ((net.b(net.a(x)), [{"deep": net.a(x)}]),),
    "half": lambda net, x: net.b(net.a(x)).half(),
}


@pytest.mark.parametrize("does", PUT_OUT.values(), ids=PUT_OUT)
def test_a_network_may_put_out_anything(does: Callable[[Any, Tensor], Any]) -> None:
    holds_what_it_says(Two(does), features(), "a", "b")


GIVEN: dict[str, tuple[Callable[..., Any], Nest]] = {
    "a tuple": (lambda net, x, y: net.b(net.a(x)) + y, (features(), features())),
    "a mapping": (lambda net, x, y: net.b(net.a(x)) + y, {"y": features(), "x": features()}),
    "a nested tuple": (
        lambda net, pair, z: net.b(net.a(pair[0])) + pair[1] + z,
        ((features(), features()), features()),
    ),
    "a list in a mapping": (lambda net, xs: net.b(net.a(xs[0])) + xs[1], {"xs": [features(), features()]}),
}


class Given(Two):
    def forward(self, *args: Any, **options: Any) -> Any:
        return self.does(self, *args, **options)


@pytest.mark.parametrize(("does", "example"), GIVEN.values(), ids=GIVEN)
def test_a_network_may_be_given_any_nest(does: Callable[..., Any], example: Nest) -> None:
    holds_what_it_says(Given(does), example, "a", "b")


def a_generator() -> Iterator[int]:
    yield 1


@pytest.mark.parametrize("held", [threading.Lock(), a_generator(), open], ids=["lock", "generator", "function"])
def test_a_network_that_cannot_be_copied_is_one_clear_error(held: Any) -> None:
    model = Two(lambda net, x: net.b(net.a(x)))
    model.held = held
    if held is open:  # functions are copied by reference
        holds_what_it_says(model, features(), "a", "b")
        return
    with pytest.raises(InvalidInputError, match="Two cannot be copied, and compression works on a copy") as caught:
        RankSpace.from_model(model, features())
    assert "\n" not in str(caught.value)


class RunsOnlyOnce(Two):
    """Whose copies do not run."""

    def __deepcopy__(self, memo: dict[int, Any]) -> RunsOnlyOnce:
        return RunsOnlyOnce(lambda net, x: 1 / 0)


def test_a_network_whose_copy_does_not_run_is_one_clear_error() -> None:
    with pytest.raises(InvalidInputError, match=r"does not run: .*ZeroDivisionError") as caught:
        RankSpace.from_model(RunsOnlyOnce(lambda net, x: net.b(net.a(x))), features())
    assert "\n" not in str(caught.value)


def both_replaced(net: Any, x: Tensor) -> Any:
    if not isinstance(net.a, nn.Linear) and not isinstance(net.b, nn.Linear):
        raise RuntimeError("one of them must be a Linear")
    return net.c(net.b(net.a(x)))


def test_two_layers_that_only_fail_together_are_never_replaced_together() -> None:
    """Either alone would work; what is offered must work in every plan."""
    model = Two(both_replaced)
    model.c = nn.Linear(WIDTH, WIDTH)
    space = holds_what_it_says(model, features(), *RankSpace.from_model(model.eval(), features()).dense)
    assert "c" in space.dense
    assert {"a", "b"} - set(space.dense)
    for name in {"a", "b"} - set(space.dense):
        assert "one of them must be a Linear" in space.skipped[name]


def test_a_layer_that_fails_does_not_take_the_others_with_it() -> None:
    layers = [nn.Linear(WIDTH, WIDTH) for _ in range(9)]
    model = nn.Sequential(*layers)
    model.register_forward_hook(lambda net, x, y: y + net[4].weight.mean() + net[7].weight.mean())
    space = holds_what_it_says(model, features(), *[str(i) for i in range(9) if i not in (4, 7)])
    assert space.skipped == {"4": READS, "7": READS}


def test_left_as_it_was_and_alone() -> None:
    """The trial runs leave no hook, no patched method and no shared storage behind."""
    model = Two(lambda net, x: net.b(net.a(x)))
    state = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    attributes = {name: set(vars(module)) for name, module in model.named_modules()}
    space = RankSpace.from_model(model, features())
    assert attributes == {name: set(vars(module)) for name, module in model.named_modules()}
    assert all(torch.equal(state[name], tensor) for name, tensor in model.state_dict().items())
    assert model.training
    small = space.compress(model, RankPlan({"a": DENSE, "b": Choice("svd", (2,))}))
    owned = {tensor.data_ptr() for tensor in model.state_dict().values()}
    assert owned.isdisjoint(tensor.data_ptr() for tensor in small.state_dict().values())


def test_a_weight_that_is_read_in_training_only_leaves_the_layer_out() -> None:
    """The fine-tune trains the network: a penalty on a layer's weight would fail there."""

    def penalised(net: Any, x: Tensor) -> Any:
        return net.b(net.a(x)) + (net.a.weight.square().mean() if net.training else 0)

    model = Two(penalised)
    space = holds_what_it_says(model, features(), "b")
    assert space.skipped == {"a": "the network computes with its weight directly when it is trained"}


def test_trying_in_training_mode_leaves_statistics_and_modes_alone() -> None:
    model = nn.Sequential(nn.Linear(WIDTH, WIDTH), nn.BatchNorm1d(WIDTH), nn.Dropout(), nn.Linear(WIDTH, 4)).eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    example, state = features(), torch.get_rng_state()
    assert list(RankSpace.from_model(model, example).dense) == ["0", "3"]
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())
    assert not any(module.training for module in model.modules())
    assert torch.equal(torch.get_rng_state(), state)
