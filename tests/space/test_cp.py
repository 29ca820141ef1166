"""CP: counts against torch's counter, measured errors, exact recovery, balance, and what happens without a fit."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
from drawn_layers import DrawnLayer, convolutions, every_geometry
from hypothesis import given
from hypothesis import strategies as st
from measured import macs, params, reconstruct, relative_difference
from torch import Tensor, nn

from rank_search.errors import EvaluationError
from rank_search.space import Budget, Choice, RankPlan, RankSpace
from rank_search.space.cp import CP, fit
from rank_search.space.layer import Layer
from rank_search.space.low_rank import LowRank

pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same'")
FORM = CP()
LAYER = Layer("conv", "conv2d", 6, 5, (3, 2))


def build(drawn: DrawnLayer, rank: int) -> tuple[LowRank, Tensor]:
    """The factorised module and the weight that its factors multiply to."""
    weight = drawn.module.weight.detach().double()
    factors = FORM.factors(drawn.layer, FORM.analyse(drawn.layer, weight, np.array([[rank]])), (rank,))
    built = FORM.skeleton(drawn.module, (rank,))
    built.fill(factors, drawn.module)
    return built, reconstruct("cp", factors, drawn.layer.kernel)


def of_rank(rank: int, layer: Layer = LAYER) -> Tensor:
    """A random weight that is a sum of ``rank`` outer products."""
    parts = [torch.randn(size, rank).double() for size in (layer.out_channels, layer.in_channels, layer.taps)]
    return torch.einsum("or,ir,kr->oik", *parts).reshape(layer.shape)


def break_parafac(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """Every fit diverges, gives infinities or meets a singular matrix."""

    def broken(tensor: np.ndarray[Any, Any], rank: int, **_: Any) -> Any:
        if kind == "singular":
            raise np.linalg.LinAlgError("Singular matrix")
        value = {"nan": np.nan, "inf": np.inf, "huge": 1e80}[kind]
        return np.ones(rank), [np.full((size, rank), value) for size in tensor.shape]

    monkeypatch.setattr("rank_search.space.cp.parafac", broken)


@every_geometry
@given(convolutions(channels=6))
def test_the_candidates_rise_from_one_and_never_cost_as_many_params_as_the_dense_layer(drawn: DrawnLayer) -> None:
    ranks, layer = FORM.candidates(drawn.layer)[:, 0], drawn.layer
    per_component = layer.out_channels + layer.in_channels + layer.taps
    dense = drawn.module.weight.numel()
    assert (np.diff(ranks) > 0).all()
    assert (ranks * per_component < dense).all()
    assert FORM.feasible(layer, ranks[:, None]).all()
    assert len(ranks) == 0 or ranks[0] == 1
    assert (len(ranks) == 0) == (per_component >= dense)


@every_geometry
@given(convolutions(), st.data())
def test_params_and_macs_are_what_torch_counts_in_the_built_module(drawn: DrawnLayer, data: st.DataObject) -> None:
    rank = data.draw(st.integers(1, FORM.largest_ranks(drawn.layer)[0]))
    built = FORM.skeleton(drawn.module, (rank,)).to_empty(device="cpu")
    assert FORM.params(drawn.layer, np.array([[rank]])).tolist() == [params(built) - drawn.bias_params]
    assert FORM.macs(drawn.layer, np.array([[rank]])).tolist() == [macs(built, drawn.example)]


@every_geometry
@given(convolutions(channels=5))
def test_the_error_of_every_rank_is_the_distance_to_the_weight_rebuilt_from_its_factors(drawn: DrawnLayer) -> None:
    weight = drawn.module.weight.detach().double()
    ranks = FORM.candidates(drawn.layer)
    analysis = FORM.analyse(drawn.layer, weight, ranks)
    errors = FORM.errors(drawn.layer, analysis, ranks)
    energy = float(weight.square().sum())
    for (rank,), error in zip(ranks.tolist(), errors.tolist(), strict=True):
        rebuilt = reconstruct("cp", FORM.factors(drawn.layer, analysis, (rank,)), drawn.layer.kernel)
        assert error == pytest.approx(float((weight - rebuilt).square().sum()), rel=1e-9, abs=1e-12 * energy)
        assert error < energy


@every_geometry
@given(convolutions(channels=5), st.data())
def test_the_module_computes_what_a_dense_convolution_with_the_rebuilt_weight_does(
    drawn: DrawnLayer, data: st.DataObject
) -> None:
    built, weight = build(drawn, data.draw(st.integers(1, min(4, FORM.largest_ranks(drawn.layer)[0]))))
    dense = copy.deepcopy(drawn.module)
    dense.weight = nn.Parameter(weight.float())
    with torch.no_grad():
        assert relative_difference(built(drawn.example), dense(drawn.example)) < 1e-5


@pytest.mark.parametrize("rank", [1, 2, 3])
def test_a_weight_that_is_a_sum_of_few_outer_products_is_found(rank: int) -> None:
    weight = of_rank(rank)
    ranks = np.array([[1], [2], [3]])
    errors = FORM.errors(LAYER, FORM.analyse(LAYER, weight, ranks), ranks) / float(weight.square().sum())
    assert errors[rank - 1] < 1e-6
    assert (errors[: rank - 1] > 1e-3).all()


def test_a_module_of_the_true_rank_is_the_original_layer() -> None:
    module = nn.Conv2d(5, 6, (3, 2), stride=2, padding=1, padding_mode="circular")
    module.weight = nn.Parameter(of_rank(2).float())
    example = torch.randn(1, 5, 7, 8)
    built, _ = build(DrawnLayer.of(module, example), 2)
    with torch.no_grad():
        assert relative_difference(built(example), module(example)) < 1e-3


def test_the_factors_of_a_component_have_equal_norms() -> None:
    out, into, taps, _ = fit(of_rank(3).flatten(2) + 0.1 * torch.randn(6, 5, 6), 3)
    norms = torch.stack([out.norm(dim=0), into.norm(dim=0), taps.norm(dim=0)])
    torch.testing.assert_close(norms, norms[:1].expand(3, -1), rtol=1e-10, atol=0)


def test_the_same_weight_gives_the_same_factors() -> None:
    weight = torch.randn(6, 5, 6).double()
    for first, second in zip(fit(weight, 7), fit(weight, 7), strict=True):
        assert torch.equal(first, second)


@pytest.mark.parametrize("kind", ["nan", "inf", "huge", "singular"])
def test_without_a_fit_the_error_is_infinite_and_the_factors_are_refused(
    monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    break_parafac(monkeypatch, kind)
    ranks = np.array([[1], [2]])
    analysis = FORM.analyse(LAYER, torch.randn(LAYER.shape).double(), ranks)
    assert FORM.errors(LAYER, analysis, ranks).tolist() == [np.inf, np.inf]
    with pytest.raises(EvaluationError, match=r"layer 'conv': no finite CP of rank 2"):
        FORM.factors(LAYER, analysis, (2,))


@pytest.mark.parametrize("kind", ["nan", "singular"])
def test_a_rank_without_a_fit_is_never_the_data_free_optimum(monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    break_parafac(monkeypatch, kind)
    model = nn.Sequential(nn.Conv2d(4, 6, 3), nn.Conv2d(6, 4, 3))
    example = torch.randn(1, 4, 8, 8)
    alone = RankSpace.from_model(model, example, forms=["cp"])
    solution = alone.minimise(alone.relative_errors(), Budget(macs=1.0))
    assert alone.plan(solution.indices) == alone.dense
    mixed = RankSpace.from_model(model, example, forms=["cp", "tucker2"])
    solution = mixed.minimise(mixed.relative_errors(), Budget(macs=0.5))
    assert {choice.form for choice in mixed.plan(solution.indices).values()} <= {"dense", "tucker2"}
    assert np.isfinite(solution.value)
    with pytest.raises(EvaluationError):
        alone.compress(model, RankPlan({"0": Choice("cp", (1,))}))


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (nn.Linear(4, 4), "for convolutions"),
        (nn.Conv2d(4, 4, 3, groups=4), "groups = 1, this layer has 4"),
        (nn.Conv2d(4, 4, 1), "use the form svd"),
    ],
)
def test_it_says_why_it_does_not_apply(module: nn.Module, words: str) -> None:
    reason = FORM.why_not(Layer.of("layer", module))
    assert reason is not None
    assert words in reason
    assert FORM.why_not(Layer.of("layer", nn.Conv2d(4, 4, 3))) is None
