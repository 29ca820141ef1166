"""The space of a model: predicted costs against what torch counts, the gate of the budget, what is left out and why."""

from __future__ import annotations

import copy
import math

import numpy as np
import pytest
import torch
from measured import cost, macs, params, reconstruct
from scipy.optimize import LinearConstraint, milp
from small_nets import (
    CONV_NET_INPUT,
    SHAPED_INPUT,
    TINY_INPUT,
    ZOO_INPUT,
    ConvNet,
    Shaped,
    Tiny,
    Zoo,
)
from torch import Tensor, nn

from rank_search.errors import (
    InfeasibleBudgetError,
    InvalidInputError,
    LayerSelectionError,
    OverBudgetError,
    PlanError,
    UnknownNameError,
    WeightsError,
)
from rank_search.space import DENSE, Budget, Choice, RankPlan, RankSpace
from rank_search.task.models import load_model


def space_of(model: nn.Module, shape: tuple[int, ...], *forms: str) -> RankSpace:
    return RankSpace.from_model(model, torch.randn(shape), forms=forms or ("tucker2", "svd"))


def any_plan(space: RankSpace, rng: np.random.Generator) -> RankPlan:
    """A plan drawn row by row, whatever it costs."""
    return space.plan(np.array([rng.integers(len(options)) for options in space.layers]))


# -- costs -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("model", "shape", "forms", "plans"),
    [
        (ConvNet(), CONV_NET_INPUT, ("tucker2", "svd"), 12),
        (ConvNet(), CONV_NET_INPUT, ("tucker2", "cp", "svd"), 8),
        (Shaped(), SHAPED_INPUT, ("tucker2", "svd"), 8),
        (Zoo(), ZOO_INPUT, ("cp", "svd"), 4),
        ("cifar_resnet20", (1, 3, 32, 32), ("tucker2", "svd"), 3),
        ("torchvision:resnet18", (1, 3, 64, 64), ("tucker2", "svd"), 2),
    ],
    ids=["small", "small, three forms", "tokens and folded batches", "zoo", "resnet20", "resnet18"],
)
def test_the_predicted_cost_of_random_plans_is_what_torch_counts_in_the_compressed_network(
    model: nn.Module | str, shape: tuple[int, ...], forms: tuple[str, ...], plans: int
) -> None:
    model = load_model(model) if isinstance(model, str) else model
    space, example, rng = space_of(model, shape, *forms), torch.randn(shape), np.random.default_rng(0)
    assert space.cost(space.dense) == space.dense_cost == cost(model, example)
    drawn = [any_plan(space, rng) for _ in range(plans)] + [space.random_plan(rng, Budget(macs=0.8))]
    for plan in drawn:
        assert space.cost(plan) == cost(space.compress(model, plan), example)


def test_a_module_called_twice_and_tokens_count_in_every_plan() -> None:
    model, example = Shaped(), torch.randn(SHAPED_INPUT)
    space = RankSpace.from_model(model, example)
    for layer, rank in (("tokens", 3), ("twice", 4), ("folded", 2)):
        plan = RankPlan({layer: Choice("svd", (rank,))})
        assert space.cost(plan) == cost(space.compress(model, plan), example)
    plan = RankPlan({"frames": Choice("tucker2", (2, 3))})
    assert space.cost(plan) == cost(space.compress(model, plan), example)


def test_the_fixed_cost_is_what_no_plan_changes() -> None:
    model = ConvNet()
    space, example = space_of(model, CONV_NET_INPUT), torch.randn(CONV_NET_INPUT)
    assert set(space.skipped) == {"depthwise"}
    weights = sum(model.get_submodule(name).weight.numel() for name in space.dense)
    assert space.fixed_cost["params"] == cost(model, example)["params"] - weights
    assert space.fixed_cost["macs"] == macs(model.depthwise, torch.randn(1, 8, 5, 6))


@pytest.mark.parametrize("population", [1, 2, 50])
def test_the_costs_of_a_population_are_those_of_its_plans_row_by_row(population: int) -> None:
    space, rng = space_of(ConvNet(), CONV_NET_INPUT, "tucker2", "cp", "svd"), np.random.default_rng(1)
    rows = np.stack([rng.integers(len(options), size=population) for options in space.layers], axis=1)
    costs = space.costs(rows)
    assert costs.dtype == np.int64
    assert costs.tolist() == [list(space.cost(space.plan(row)).values()) for row in rows]
    assert space.costs(rows.astype(np.uint16)).tolist() == costs.tolist()
    np.testing.assert_array_equal([space.indices(space.plan(row)) for row in rows], rows)


def test_an_empty_population_has_no_costs() -> None:
    space = space_of(Tiny(), TINY_INPUT)
    assert space.costs(np.empty((0, 3), np.int64)).shape == (0, 2)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.zeros(3, np.int64), r"\[plans, 3\]"),
        (np.zeros((1, 2), np.int64), r"\[plans, 3\], not int64 \(1, 2\)"),
        (np.zeros((1, 1, 3), np.int64), r"\[plans, 3\]"),
        (np.zeros((1, 3)), "not float64"),
        (np.zeros((1, 3), bool), "not bool"),
        (np.zeros((0, 2), np.int64), r"\[plans, 3\]"),
        (np.array([[0, 0, 0], [0, -1, 0]]), r"layer 'second' has the options 0\.\.\d+, not -1$"),
        (np.array([[0, 0, 99], [0, 0, 0]]), r"layer 'head' has the options 0\.\.\d+, not 99$"),
    ],
)
def test_a_bad_population_is_refused(rows: np.ndarray, words: str) -> None:  # type: ignore[type-arg]
    with pytest.raises(PlanError, match=words):
        space_of(Tiny(), TINY_INPUT).costs(rows)


def test_size_counts_the_plans_exactly() -> None:
    space = space_of(Tiny(), TINY_INPUT)
    assert space.size == math.prod(len(options) for options in space.layers) < 10_000
    large = space_of(load_model("cifar_resnet20"), (1, 3, 32, 32))
    assert large.size > 2**100
    assert large.size == math.prod(len(options) for options in large.layers)


# -- the gate ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "budget", [Budget(macs=0.5), Budget(params=0.6), Budget(params=0.7, macs=0.6), Budget(macs=9000), Budget(params=1)]
)
def test_admit_refuses_a_plan_exactly_when_torch_counts_more_than_the_budget(budget: Budget) -> None:
    model, example = ConvNet(), torch.randn(CONV_NET_INPUT)
    space, rng = RankSpace.from_model(model, example), np.random.default_rng(2)
    dense, verdicts = cost(model, example), set()
    for _ in range(25):
        plan = any_plan(space, rng)
        counted = cost(space.compress(model, plan), example)
        over = any(counted[metric] > (bound if bound > 1 else bound * dense[metric]) for metric, bound in budget.bounds)
        verdicts.add(over)
        if over:
            with pytest.raises(OverBudgetError, match="the budget"):
                space.admit(plan, budget)
        else:
            assert space.admit(plan, budget) == counted
    assert verdicts == ({False} if budget == Budget(params=1) else {True, False})


def test_admit_allows_the_last_unit_and_no_more() -> None:
    space = space_of(Tiny(), TINY_INPUT)
    plan = RankPlan({"second": Choice("tucker2", (1, 1))})
    for metric, spent in space.cost(plan).items():
        assert space.admit(plan, Budget(**{metric: spent})) == space.cost(plan)
        with pytest.raises(OverBudgetError) as caught:
            space.admit(plan, Budget(**{metric: spent - 1}))
        assert f"costs {spent} {metric}" in str(caught.value)
        assert f"allows {spent - 1}" in str(caught.value)


def test_the_smallest_cost_is_that_of_the_cheapest_plan_and_one_less_is_infeasible() -> None:
    space = space_of(Tiny(), TINY_INPUT)
    grids = np.meshgrid(*[np.arange(len(options)) for options in space.layers], indexing="ij")
    every = space.costs(np.stack([grid.ravel() for grid in grids], axis=1))
    assert list(space.smallest_cost.values()) == every.min(0).tolist()
    for metric, least in space.smallest_cost.items():
        space.require_feasible(Budget(**{metric: least}))
        with pytest.raises(InfeasibleBudgetError, match=rf"the smallest reachable is {least} {metric}"):
            space.require_feasible(Budget(**{metric: least - 1}))
        with pytest.raises(InfeasibleBudgetError):
            space.minimise([np.zeros(len(options)) for options in space.layers], Budget(**{metric: least - 1}))


@pytest.mark.parametrize("bounds", [{"macs": 0.5}, {"params": 0.5}, {"macs": 0.6, "params": 0.5}])
def test_the_data_free_optimum_of_a_network_is_the_one_that_highs_proves(bounds: dict[str, float]) -> None:
    space = space_of(ConvNet(), CONV_NET_INPUT)
    budget, values = Budget(**bounds), space.relative_errors()
    counts = [len(value) for value in values]
    layer = np.repeat(np.arange(len(counts)), counts)
    spent = np.concatenate([options.costs for options in space.layers])
    limits = {"params": np.inf, "macs": np.inf, **budget.limits(space.dense_cost)}
    room = [limits[metric] - space.fixed_cost[metric] for metric in ("params", "macs")]
    proven = milp(
        np.concatenate(values),
        constraints=[
            LinearConstraint((layer == np.arange(len(counts))[:, None]).astype(float), 1, 1),
            LinearConstraint(spent.T.astype(float), -np.inf, room),
        ],
        integrality=np.ones(len(layer)),
    )
    found = space.minimise(values, budget)
    space.admit(space.plan(found.indices), budget)
    assert proven.fun * (1 - 1e-4) <= found.value <= proven.fun * 1.01
    assert found.lower_bound <= proven.fun * (1 + 1e-4)


def test_relative_errors_are_distances_over_energies() -> None:
    model = ConvNet()
    space = space_of(model, CONV_NET_INPUT, "tucker2", "svd")
    for options, errors in zip(space.layers, space.relative_errors(), strict=True):
        module = model.get_submodule(options.layer.name)
        weight = module.weight.detach().double()
        assert errors[0] == 0
        for row in range(1, len(options)):
            rebuilt = reconstruct(options.choice(row).form, options.factors(row), options.layer.kernel)
            distance = (weight - rebuilt.reshape(weight.shape)).square().sum() / weight.square().sum()
            assert errors[row] == pytest.approx(float(distance), rel=1e-9, abs=1e-12)


def test_a_layer_of_zeros_has_no_error_to_divide_by() -> None:
    model = Tiny()
    nn.init.zeros_(model.second.weight)
    space = space_of(model, TINY_INPUT)
    assert all(np.isfinite(errors).all() for errors in space.relative_errors())
    plan = space.plan(space.minimise(space.relative_errors(), Budget(macs=0.9)).indices)
    assert torch.isfinite(space.compress(model, plan)(torch.randn(TINY_INPUT))).all()


# -- plans of this model and of others ---------------------------------------------------------------------------------


def test_layers_that_are_not_named_are_dense_and_skipped_ones_may_be_spelled_out() -> None:
    model = Zoo()
    space = space_of(model, ZOO_INPUT)
    spelled_out = RankPlan(dict.fromkeys([*space.skipped, *space.dense], DENSE))
    assert space.indices(spelled_out).tolist() == space.indices(RankPlan({})).tolist() == [0] * len(space.layers)
    assert spelled_out == space.dense == RankPlan({})
    example = torch.randn(ZOO_INPUT)
    with torch.no_grad():
        torch.testing.assert_close(space.compress(model, spelled_out)(example), model(example), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("plan", "words"),
    [
        ({"heat": "dense"}, "'heat', which this model does not have (did you mean 'head'?)"),
        ({"layer1.0.conv1": {"form": "svd", "ranks": [1]}}, "is it another model's?"),
        ({"depthwise": {"form": "tucker2", "ranks": [1, 1]}}, "'depthwise', which is not in this space: depthwise"),
        ({"head": {"form": "tucker2", "ranks": [1, 1]}}, "layer 'head' has no form 'tucker2'"),
        ({"head": {"form": "svd", "ranks": [6]}}, "layer 'head': svd rank 6 of mode 'rank' is above the largest, 5"),
        ({"head": {"form": "svd", "ranks": [4]}}, "layer 'head': svd ranks [4] cost at least as much as the dense"),
        ({"stem": {"form": "tucker2", "ranks": [6, 2, 1]}}, "layer 'stem': tucker2 takes 2 rank(s)"),
    ],
)
def test_a_plan_of_another_model_or_space_is_refused_with_the_layer(plan: dict[str, object], words: str) -> None:
    model = ConvNet()
    space = space_of(model, CONV_NET_INPUT)
    for refuses in (space.indices, space.cost, space.encode, space.neighbours, lambda p: space.compress(model, p)):
        with pytest.raises(PlanError) as caught:
            refuses(RankPlan.from_json(plan))
        assert words in str(caught.value)
        assert "\n" not in str(caught.value)


# -- which layers ------------------------------------------------------------------------------------------------------


def test_every_layer_is_in_the_space_or_has_a_reason() -> None:
    space = space_of(Zoo(), ZOO_INPUT)
    assert list(space.dense) == ["plain", "pointwise", "small"]
    assert space.skipped["narrow"] == "no tucker2 is cheaper than the dense layer"
    assert set(space.skipped) == {
        "depthwise",
        "grouped",
        "upward",
        "narrow",
        "series",
        "tied",
        "one",
        "other",
        "attention",
        "attention.out_proj",
        "idle",
    }


def test_a_form_that_does_not_apply_says_which_would() -> None:
    skipped = space_of(Zoo(), ZOO_INPUT, "tucker2").skipped
    assert skipped["pointwise"] == "the Tucker-2 of a 1x1 convolution is its SVD: use the form svd"
    skipped = space_of(ConvNet(), CONV_NET_INPUT, "cp", "tucker2").skipped
    assert skipped["head"] == "cp is for convolutions; tucker2 is for convolutions"


def test_patterns_choose_among_the_layers() -> None:
    model, example = ConvNet(), torch.randn(CONV_NET_INPUT)
    space = RankSpace.from_model(model, example, include=["stem", "head"], exclude=["he*"])
    assert list(space.dense) == ["stem"]
    assert space.skipped["head"] == "excluded by 'he*'"
    assert space.skipped["wide"] == "matched by no include pattern"
    assert space.dense_cost == cost(model, example)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"include": ["layer9.*"]}, LayerSelectionError, "'layer9.*' matches no layer"),
        ({"exclude": ["hat"]}, LayerSelectionError, "did you mean 'head'"),
        ({"include": "stem"}, LayerSelectionError, "give a list of patterns"),
        ({"exclude": "stem"}, LayerSelectionError, "give a list of patterns"),
        ({"forms": "svd"}, LayerSelectionError, "forms is the text 'svd'; give a list"),
        ({"forms": []}, LayerSelectionError, "forms is empty"),
        ({"forms": ["tucker"]}, UnknownNameError, "did you mean 'tucker2'"),
        ({"include": ["depthwise"]}, LayerSelectionError, "no layer of ConvNet can be decomposed"),
        ({"exclude": ["*"]}, LayerSelectionError, "excluded by '*'"),
    ],
)
def test_a_selection_that_cannot_be_meant_is_an_error(
    options: dict[str, object], error: type[Exception], words: str
) -> None:
    with pytest.raises(error) as caught:
        RankSpace.from_model(ConvNet(), torch.randn(CONV_NET_INPUT), **options)  # type: ignore[arg-type]
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_form_named_twice_counts_once() -> None:
    example = torch.randn(TINY_INPUT)
    once = RankSpace.from_model(Tiny(), example, forms=["tucker2"])
    assert RankSpace.from_model(Tiny(), example, forms=["tucker2", "tucker2"]).size == once.size


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Sequential(nn.Flatten(), nn.ReLU()), "no convolution and no linear layer"),
        (nn.Sequential(nn.Conv1d(3, 4, 1)), "0: Conv1d layers are not supported"),
    ],
)
def test_a_model_without_a_layer_to_decompose_is_an_error(model: nn.Module, words: str) -> None:
    with pytest.raises(LayerSelectionError, match=words):
        RankSpace.from_model(model, torch.randn(1, 3, 4))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), float("-inf")])
def test_weights_that_are_not_finite_are_refused_with_the_layer_and_their_number(value: float) -> None:
    model = Tiny()
    with torch.no_grad():
        model.second.weight[0, 0] = value
    with pytest.raises(WeightsError, match=r"layer 'second' holds 2 weights that are NaN or infinite"):
        space_of(model, TINY_INPUT)
    example = torch.randn(TINY_INPUT)
    assert list(RankSpace.from_model(model, example, exclude=["second"]).dense) == ["first", "head"]


def test_an_example_that_the_model_cannot_run_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match=r"cannot run an input of shape \[1, 3, 6, 6\]"):
        space_of(Tiny(), (1, 3, 6, 6))


def test_a_model_that_is_itself_one_layer_has_a_space() -> None:
    model, example = nn.Linear(12, 10), torch.randn(1, 4, 12)
    space = RankSpace.from_model(model, example)
    plan = RankPlan({"": Choice("svd", (3,))})
    assert space.cost(plan) == cost(space.compress(model, plan), example) == {"params": 76, "macs": 4 * 66}


def test_the_weights_of_another_module_are_never_left_behind_uncounted() -> None:
    class Tied(nn.Module):
        """A language model's head that is its embedding."""

        def __init__(self) -> None:
            super().__init__()
            self.embedding, self.mix = nn.Embedding(20, 8), nn.Linear(8, 8)
            self.head = nn.Linear(8, 20, bias=False)
            self.head.weight = self.embedding.weight

        def forward(self, tokens: Tensor) -> Tensor:
            logits: Tensor = self.head(self.mix(self.embedding(tokens)))
            return logits

    model, example = Tied(), torch.randint(20, (1, 5))
    space = RankSpace.from_model(model, example)
    assert "'embedding'" in space.skipped["head"]
    plan = RankPlan({"mix": Choice("svd", (2,))})
    assert space.cost(plan) == cost(space.compress(model, plan), example)


def test_a_transformer_runs_after_its_space_is_compressed() -> None:
    encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1)
    decoder = nn.TransformerDecoderLayer(8, 2, 16, batch_first=True)

    class Both(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encoder, self.decoder, self.head = encoder, decoder, nn.Linear(8, 8)

        def forward(self, tokens: Tensor) -> Tensor:
            logits: Tensor = self.head(self.decoder(tokens, self.encoder(tokens)))
            return logits

    model, example = Both().eval(), torch.randn(1, 5, 8)
    space = RankSpace.from_model(model, example)
    assert list(space.dense) == ["decoder.linear1", "decoder.linear2", "head"]
    plan = space.plan(np.array([1, 1, 1]))
    compressed = space.compress(model, plan).eval()
    with torch.no_grad():
        assert compressed(example).shape == (1, 5, 8)
    assert space.cost(plan)["params"] == params(compressed)


def test_making_a_space_changes_nothing_in_the_model() -> None:
    model = ConvNet().train()
    model.bn.eval()
    model.stem.weight.requires_grad_(False)
    modes, before = [part.training for part in model.modules()], copy.deepcopy(model.state_dict())
    parts = [id(part) for part in model.modules()]
    space = space_of(model, CONV_NET_INPUT)
    space.relative_errors()
    space.compress(model, space.plan(np.ones(len(space.layers), np.int64)))
    assert [id(part) for part in model.modules()] == parts
    assert [part.training for part in model.modules()] == modes
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert [parameter.requires_grad for parameter in model.parameters()].count(False) == 1
    assert all(not part._forward_hooks and not part._forward_pre_hooks for part in model.modules())
