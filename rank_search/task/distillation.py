"""Distillation from what the dense network's layers put out and weigh (arXiv 2409.03555), for the fine-tune."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from torch import Tensor, nn

from rank_search.errors import EvaluationError, InvalidInputError
from rank_search.nests import Nest, call
from rank_search.running import evaluating, observed
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.forms.multiplied import multiplied
from rank_search.space.layers.layer import KINDS, Layer


def run_beside(model: nn.Module, teacher: nn.Module, inputs: Nest) -> tuple[Any, list[Tensor]]:
    """The network's outputs, and ``O - D`` for every call of every replaced layer, in the order of the calls.

    The teacher runs first, without gradients. Each difference is taken the moment a layer returns, before an in-place
    activation can write over its output.

    Raises:
        InvalidInputError: if the teacher has no dense layer of a replaced layer's name.
        EvaluationError: if a replaced layer and the teacher's are not called alike.
    """
    pairs = {name: (layer, dense) for name, layer, dense in _replaced(model, teacher)}
    if not pairs:
        return call(model, inputs), []
    wanted: dict[str, list[Tensor]] = {name: [] for name in pairs}
    differences: list[Tensor] = []

    def keep(name: str, given: Any, output: Tensor) -> None:
        wanted[name].append(output.clone())

    def compare(name: str, given: Any, output: Tensor) -> None:
        if not wanted[name] or wanted[name][0].shape != output.shape:
            raise EvaluationError(f"the layer {name!r} is not called as the teacher's is; use distill='logits'")
        differences.append(output - wanted[name].pop(0))

    with evaluating(teacher), observed({name: dense for name, (_, dense) in pairs.items()}, after=keep):
        call(teacher, inputs)
    with observed({name: layer for name, (layer, _) in pairs.items()}, after=compare):
        outputs = call(model, inputs)
    for name, missed in wanted.items():
        if missed:
            raise EvaluationError(f"the teacher calls the layer {name!r} more often; use distill='logits'")
    return outputs, differences


def weight_error(model: nn.Module, teacher: nn.Module) -> Tensor | float:
    """``sum_l ||W_l - What_l||^2`` over the replaced layers, W the teacher's; 0 if there are none."""
    total: Tensor | float = 0.0
    for name, low_rank, dense in _replaced(model, teacher):
        layer, weight = Layer.of(name, dense), dense.weight
        assert isinstance(weight, Tensor)
        total = total + (layer.canonical(weight.detach()) - multiplied_out(low_rank, layer)).square().sum()
    return total


def multiplied_out(low_rank: LowRank, layer: Layer) -> Tensor:
    """The dense weight of the factors, ``[groups, Co / groups, Ci / groups, taps]``; exact, with gradients.

    Args:
        low_rank: the factors.
        layer: the dense layer that they replace.

    Raises:
        InvalidInputError: if they multiply out to a kernel of another shape.
    """
    factors = []
    for factor in low_rank:
        assert isinstance(factor.weight, Tensor)
        factors.append(Layer.of(layer.name, factor).canonical(factor.weight))
    product = multiplied(factors, layer.groups)
    if product.shape != (layer.groups, *layer.group_channels, layer.taps):
        raise InvalidInputError(
            f"the factors of {layer.name!r} ({low_rank.choice}) multiply out to {list(product.shape)}, the dense "
            f"weight has {layer.taps} taps: use layer_sum=False"
        )
    return product


def _replaced(model: nn.Module, teacher: nn.Module) -> Iterator[tuple[str, LowRank, nn.Module]]:
    """Name, factors and the teacher's dense layer of every replaced layer.

    Raises:
        InvalidInputError: if the teacher has no dense layer of that name.
    """
    dense = dict(teacher.named_modules(remove_duplicate=False))
    for name, module in model.named_modules():
        if isinstance(module, LowRank):
            if type(dense.get(name)) not in KINDS:
                raise InvalidInputError(
                    f"the teacher has no dense layer {name!r}: distill='layers' needs the dense network that was "
                    "compressed"
                )
            yield name, module, dense[name]
