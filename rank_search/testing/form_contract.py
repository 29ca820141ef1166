"""The contract of a form of decomposition as tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import nn

from rank_search.space import Budget, RankSpace, compress, plan_of
from rank_search.space.forms.decomposition import Decomposition, decomposition
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.forms.multiplied import multiplied
from rank_search.space.layers.counting import count_macs
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight

ModuleCase = tuple[nn.Module, tuple[int, ...]]


def modules() -> list[ModuleCase]:
    """Layers of many kinds, each with the shape of an input for it."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return [
            (nn.Conv2d(6, 8, 3, padding=1), (1, 6, 7, 9)),
            (nn.Conv2d(8, 6, 3, stride=2, padding=2, dilation=2, groups=2, bias=False), (1, 8, 9, 9)),
            (nn.Conv2d(6, 10, (3, 5), stride=(1, 2)), (1, 6, 8, 11)),
            (nn.Conv2d(8, 12, 1, stride=2), (1, 8, 6, 5)),
            (nn.Conv1d(6, 8, 5), (1, 6, 12)),
            (nn.ConvTranspose2d(6, 8, 3, stride=2, output_padding=1), (1, 6, 4, 5)),
            (nn.Linear(10, 12), (1, 3, 10)),
        ]


class FormContract:
    """What every form must keep. Set ``form``, and ``options`` if it needs any.

    Attributes:
        form: a registered name, ``module:Class``, or the class.
        options: for its constructor.
        cases: layers to try; those that the form says it does not fit are left out, one at least must fit.
        most: rank tuples that are built per layer.
    """

    form: ClassVar[str | type[Decomposition]]
    options: ClassVar[dict[str, Any]] = {}
    cases: ClassVar[Sequence[ModuleCase] | None] = None
    most: ClassVar[int] = 5

    def made(self) -> Decomposition:
        """The form."""
        return decomposition(self.form, **self.options) if isinstance(self.form, str) else self.form(**self.options)

    def fitting(self) -> list[tuple[nn.Module, torch.Tensor, Layer]]:
        """The cases that the form fits, with an input and the geometry."""
        form, found = self.made(), []
        for module, shape in self.cases or modules():
            example = torch.randn(shape, generator=torch.Generator().manual_seed(1))
            outputs = module(example)
            spatial = len(getattr(module, "kernel_size", ()))
            before, after = (
                shape[:-1] if not spatial else (*shape[: -spatial - 1], *shape[-spatial:])
                for shape in (tuple(example.shape), tuple(outputs.shape))
            )
            layer = Layer.of("layer", module, ((before, after),))
            if form.why_not(layer) is None:
                found.append((module, example, layer))
        assert found, "the form fits none of the layers: set cases"
        return found

    def some(self, ranks: np.ndarray[Any, np.dtype[np.int64]]) -> list[tuple[int, ...]]:
        """A few of the rank tuples, both ends among them."""
        rows = np.unique(np.linspace(0, len(ranks) - 1, self.most).round().astype(int))
        return [tuple(row) for row in ranks[rows].tolist()]

    def test_its_candidates_are_feasible_and_within_the_largest_ranks(self) -> None:
        form = self.made()
        for _, _, layer in self.fitting():
            ranks = form.candidates(layer)
            assert ranks.ndim == 2
            assert ranks.shape[1] == len(form.modes)
            assert len(np.unique(ranks, axis=0)) == len(ranks)
            assert form.feasible(layer, ranks).all()
            assert (ranks <= np.array(form.largest_ranks(layer))).all()

    def test_its_costs_are_what_the_built_modules_have_and_run(self) -> None:
        form = self.made()
        for module, example, layer in self.fitting():
            for ranks in self.some(form.candidates(layer)):
                built = self.built(form, module, ranks)
                table = np.array([ranks], dtype=np.int64)
                weights = sum(parameter.numel() for parameter in built.parameters()) - _bias(module)
                assert form.params(layer, table).tolist() == [weights]
                assert form.macs(layer, table).tolist() == [count_macs(built, example)]
                assert built(example).shape == module(example).shape

    def test_its_errors_are_those_of_the_weights_that_the_factors_multiply_out_to(self) -> None:
        form = self.made()
        for module, _, layer in self.fitting():
            weight = LayerWeight(layer, module.weight)  # type: ignore[arg-type]
            chosen = np.array(self.some(form.candidates(layer)), dtype=np.int64)
            errors = form.errors(weight, chosen)
            for ranks, error in zip(chosen.tolist(), errors.tolist(), strict=True):
                if np.isfinite(error):
                    product = multiplied(form.factors(weight, tuple(ranks)), layer.groups)
                    difference = float((product - weight.plain).square().sum())
                    assert error == pytest.approx(difference, rel=1e-6, abs=1e-9 * weight.energy)

    def test_the_built_layer_puts_out_what_its_weight_says(self) -> None:
        form = self.made()
        for module, example, layer in self.fitting():
            weight = LayerWeight(layer, module.weight)  # type: ignore[arg-type]
            ranks = self.some(form.candidates(layer))[-1]
            product = multiplied(form.factors(weight, ranks), layer.groups)
            dense: Any = type(module)(**_arguments(module))
            canonical = product.transpose(1, 2) if layer.transposed else product
            dense.weight.data.copy_(canonical.reshape(layer.shape))
            if isinstance(module.bias, torch.Tensor):
                dense.bias.data.copy_(module.bias)
            torch.testing.assert_close(self.built(form, module, ranks)(example), dense(example), rtol=1e-3, atol=1e-4)

    def test_a_network_is_compressed_to_its_predicted_cost_and_read_back(self) -> None:
        form = self.made()
        module, example, _ = self.fitting()[0]
        network = nn.Sequential(module)
        name = self.form if isinstance(self.form, str) else f"{self.form.__module__}:{self.form.__qualname__}"
        space = RankSpace.from_model(network, example, [{name: self.options}])
        assert any(isinstance(kind, type(form)) for kind in space.layers[0].forms)
        errors = space.relative_errors()
        smallest = Budget(params=space.smallest_cost["params"])
        plan = space.plan(space.minimise(errors, smallest).indices)
        for small in (space.compress(network, plan), compress(network, plan)):
            assert sum(parameter.numel() for parameter in small.parameters()) == space.cost(plan)["params"]
            assert count_macs(small, example) == space.cost(plan)["macs"]
            assert plan_of(small) == plan

    def built(self, form: Decomposition, module: nn.Module, ranks: tuple[int, ...]) -> LowRank:
        """The factorised module, filled."""
        layer = Layer.of("layer", module)
        low_rank = form.skeleton(module, ranks)
        low_rank.fill(form.factors(LayerWeight(layer, module.weight), ranks), module)  # type: ignore[arg-type]
        return low_rank


def _bias(module: nn.Module) -> int:
    return module.bias.numel() if isinstance(module.bias, torch.Tensor) else 0


def _arguments(module: nn.Module) -> dict[str, Any]:
    bias = module.bias is not None
    if isinstance(module, nn.Linear):
        return {"in_features": module.in_features, "out_features": module.out_features, "bias": bias}
    names = ["in_channels", "out_channels", "kernel_size", "stride", "padding", "dilation", "groups", "padding_mode"]
    names += ["output_padding"] if isinstance(module, nn.ConvTranspose2d) else []
    return {"bias": bias, **{name: getattr(module, name) for name in names}}
