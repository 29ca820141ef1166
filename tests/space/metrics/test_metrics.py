"""Metrics: what networks of any dtype weigh, strangers' metrics wherever a cost counts, and bad ones in one line."""

from __future__ import annotations

import json
from importlib.metadata import EntryPoint, entry_points
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console
from tiny_task import MACS, PARAMS, SHORT, TinyNet, all_plans, energy, squared_error, tiny_data, tiny_net
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

import rank_search
from rank_search.errors import BudgetError, InfeasibleBudgetError, InvalidInputError, OverBudgetError, UnknownNameError
from rank_search.plugins import Registry
from rank_search.report.render.space_table import print_space
from rank_search.space import Budget, RankPlan, RankSpace
from rank_search.space.metrics.bytes import Bytes
from rank_search.space.metrics.macs import Macs
from rank_search.space.metrics.metric import Metric
from rank_search.space.metrics.params import Params
from rank_search.task import Limits, Task
from rank_search.testing import FormContract, MetricContract

EXAMPLE = torch.zeros(1, 1, 6, 6)
TINY_STATE = 4 * PARAMS + 2 * (4 * (4 + 4) + 8)
"""Bytes of TinyNet: its float32 parameters, and per norm two running vectors and an int64 counter."""


class Energy(Metric):
    """A toy: 3 per multiply-add and 7 per parameter."""

    name = "energy"
    unit = "pJ"

    def of_options(self, layer: Any, form: Any, ranks: Any) -> Any:
        return 3 * form.macs(layer, ranks) + 7 * form.params(layer, ranks)

    def dense(self, layer: Any) -> int:
        return int(3 * layer.dense_macs + 7 * layer.dense_params)

    def measure(self, model: nn.Module, example: Any) -> int:
        return 3 * flops(model, example[:1]) // 2 + 7 * sum(p.numel() for p in model.parameters())


def flops(model: nn.Module, example: Tensor) -> int:
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        model(example)
    return int(counter.get_total_flops())


def energy_of(cost: dict[str, int]) -> int:
    return 3 * cost["macs"] + 7 * cost["params"]


DENSE_ENERGY = energy_of({"macs": MACS, "params": PARAMS})


def state_bytes(model: nn.Module) -> int:
    """What a state dict holds; tensors in one place count once."""
    places = {value.data_ptr(): value.numel() * value.element_size() for value in model.state_dict().values()}
    return sum(places.values())


def tiny_space(*metrics: Any) -> RankSpace:
    return RankSpace.from_model(tiny_net(), EXAMPLE, metrics=metrics)


class TestParams(MetricContract):
    metric = "params"


class TestMacs(MetricContract):
    metric = "macs"


class TestBytes(MetricContract):
    metric = "bytes"


class TestStrangersByPath(MetricContract):
    metric = "test_metrics:Energy"


class TestStrangersObject(MetricContract):
    metric = Energy()


class TestTucker2(FormContract):
    form = "tucker2"


class TestCP(FormContract):
    form = "cp"


class TestSVD(FormContract):
    form = "svd"


class TestSVDChannel(FormContract):
    form = "svd_channel"


class TestSVDSpatial(FormContract):
    form = "svd_spatial"


class TestSVDGrouped(FormContract):
    form = "svd_grouped"


class TestTensorTrain(FormContract):
    form = "tensor_train"


# -- bytes -------------------------------------------------------------------------------------------------------------


class MixedNet(nn.Module):
    """Layers of four dtypes, buffers that are saved or not, a norm, and two layers with one weight."""

    def __init__(self) -> None:
        super().__init__()
        self.a = nn.Linear(12, 16)
        self.b = nn.Linear(16, 10, dtype=torch.bfloat16)
        self.norm = nn.BatchNorm1d(10)
        self.c = nn.Linear(10, 8, dtype=torch.float64)
        self.d, self.e = nn.Linear(8, 8), nn.Linear(8, 8)
        self.e.weight = self.d.weight
        self.register_buffer("table", torch.zeros(7, dtype=torch.int16))
        self.register_buffer("scratch", torch.zeros(100), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.b(self.a(x).bfloat16()).float())
        x = self.c(x.double()).float()
        result: Tensor = self.e(self.d(x).relu())
        return result


MIXED_BYTES = sum(
    [
        4 * (12 * 16 + 16),
        2 * (16 * 10 + 10),
        4 * 4 * 10 + 8,
        8 * (10 * 8 + 8),
        4 * (8 * 8 + 8) + 4 * 8,
        2 * 7,
    ]
)


def half_doubled() -> TinyNet:
    """TinyNet whose head is float64 (and takes what the rest, of float32, puts out)."""
    net = tiny_net()
    net.head.double().register_forward_pre_hook(lambda module, args: (args[0].double(),))
    return net


def test_bytes_of_a_network_of_many_dtypes_are_those_of_its_state_each_place_once() -> None:
    net = MixedNet().eval()
    assert state_bytes(net) == MIXED_BYTES
    assert Bytes().measure(net, torch.zeros(1, 12)) == MIXED_BYTES
    space = RankSpace.from_model(net, torch.zeros(2, 12), metrics=["bytes"])
    assert space.dense_cost["bytes"] == MIXED_BYTES
    assert set(space.dense) == {"a", "b", "c"}
    assert space.fixed_cost["bytes"] == MIXED_BYTES - 4 * 12 * 16 - 2 * 16 * 10 - 8 * 10 * 8


@pytest.mark.parametrize(
    ("net", "bytes_"),
    [
        (tiny_net(), TINY_STATE),
        (tiny_net().double(), 2 * (TINY_STATE - 16) + 16),
        (tiny_net().bfloat16(), (TINY_STATE - 16) // 2 + 16),
        (half_doubled(), TINY_STATE + 4 * (12 + 3)),
    ],
)
def test_bytes_of_one_dtype_or_two_are_counted_by_hand(net: nn.Module, bytes_: int) -> None:
    example = EXAMPLE.to(next(net.parameters()).dtype)
    assert Bytes().measure(net, example) == bytes_
    space = RankSpace.from_model(net, example, metrics=["bytes"])
    assert space.dense_cost == {"params": PARAMS, "macs": MACS, "bytes": bytes_}


@pytest.mark.parametrize("make", [tiny_net, lambda: tiny_net().double(), half_doubled])
def test_the_bytes_of_a_plan_are_those_of_the_finished_network_and_of_its_file(make: Any, tmp_path: Path) -> None:
    net = make()
    example = EXAMPLE.to(next(net.parameters()).dtype)
    space = RankSpace.from_model(net, example, metrics=["bytes"])
    rng = np.random.default_rng(0)
    for number in range(6):
        plan = space.random_plan(rng, Budget(bytes=0.8))
        small = space.compress(net, plan)
        predicted = space.cost(plan)["bytes"]
        assert predicted == state_bytes(small) == Bytes().measure(small, example)
        assert predicted <= 0.8 * space.dense_cost["bytes"]
        content = (rank_search.save(small, tmp_path / str(number)) / "model.safetensors").read_bytes()
        assert predicted == len(content) - 8 - int.from_bytes(content[:8], "little")


def test_the_bytes_of_a_plan_of_many_dtypes_are_those_of_the_finished_network() -> None:
    net = MixedNet().eval()
    space = RankSpace.from_model(net, torch.zeros(2, 12), forms=["svd"], metrics=["bytes"])
    for plan in space.feasible_plans(Budget(bytes=0.7)):
        small = space.compress(net, plan)
        assert space.cost(plan)["bytes"] == state_bytes(small)
        assert {str(p.dtype) for p in small.b.parameters()} == {"torch.bfloat16"}  # type: ignore[union-attr]
        assert {str(p.dtype) for p in small.c.parameters()} == {"torch.float64"}  # type: ignore[union-attr]


def test_a_budget_of_bytes_differs_from_one_of_parameters_where_dtypes_do() -> None:
    net = MixedNet().eval()
    space = RankSpace.from_model(net, torch.zeros(2, 12), forms=["svd"], metrics=["bytes"])
    limit = int(0.6 * MIXED_BYTES)
    wanted = 0
    for a in (*range(1, 7), None):
        for b in (*range(1, 7), None):
            for c in (*range(1, 5), None):
                cut = 4 * (192 if a is None else a * 28) + 2 * (160 if b is None else b * 26)
                cut += 8 * (80 if c is None else c * 18)
                wanted += cut + space.fixed_cost["bytes"] <= limit
    assert wanted > 0
    assert len(list(space.feasible_plans(Budget(bytes=0.6)))) == wanted


def test_the_three_metrics_measure_a_network_by_hand() -> None:
    assert Params().measure(tiny_net(), EXAMPLE) == PARAMS
    assert Macs().measure(tiny_net(), EXAMPLE.expand(5, 1, 6, 6)) == MACS
    assert Params().measure(MixedNet(), torch.zeros(2, 12)) == 208 + 170 + 20 + 88 + 72 + 8


def test_measuring_leaves_a_network_as_it_was() -> None:
    net = tiny_net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    for metric in (Params(), Macs(), Bytes()):
        metric.measure(net, torch.randn(4, 1, 6, 6))
    assert net.training
    assert all(torch.equal(before[name], value) for name, value in net.state_dict().items())


# -- a stranger's metric -----------------------------------------------------------------------------------------------


@pytest.fixture(params=["object", "path", "entry point"])
def spec(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The toy, given in each of the ways that there are."""
    if request.param == "entry point":
        group = "rank_search.metrics"
        declared = [*entry_points(group=group), EntryPoint("energy", "test_metrics:Energy", group)]
        monkeypatch.setattr("rank_search.plugins.entry_points", lambda group: declared)
        monkeypatch.setattr("rank_search.space.metrics.metric.metrics", Registry(group, "metric", lambda: Metric))
    return {"object": Energy(), "path": "test_metrics:Energy", "entry point": "energy"}[request.param]


def test_the_default_columns_are_params_and_macs() -> None:
    space = tiny_space()
    assert space.metric_names == ("params", "macs")
    assert space.dense_cost == {"params": PARAMS, "macs": MACS}
    assert all(table.costs.shape[1] == 2 for table in space.layers)


def test_a_strangers_metric_is_a_column_of_every_table_with_the_exact_cost(spec: Any) -> None:
    space = tiny_space(spec)
    assert space.metric_names == ("params", "macs", "energy")
    assert space.dense_cost == {"params": PARAMS, "macs": MACS, "energy": DENSE_ENERGY}
    assert space.fixed_cost["energy"] == 7 * (8 + 4 + 8 + 3)
    for plan, cost in all_plans():
        assert space.cost(plan) == {**cost, "energy": energy_of(cost)}


def test_a_strangers_metric_stands_in_the_printed_table(spec: Any) -> None:
    out = StringIO()
    print_space(tiny_space(spec), "tiny", Console(file=out, width=200))
    lines = out.getvalue().splitlines()
    head = next(line for line in lines if "params" in line and "macs" in line)
    assert "energy" in head
    row = next(line for line in lines if "second" in line)
    assert f"{3 * 9 * 144 + 7 * 144:,}" in row
    assert any("energy" in line and f"{DENSE_ENERGY:,}" in line for line in lines)


def test_the_printed_table_has_no_column_that_was_not_asked_for() -> None:
    out = StringIO()
    print_space(tiny_space(), "tiny", Console(file=out, width=200))
    assert "params" in out.getvalue()
    assert "bytes" not in out.getvalue()
    assert "energy" not in out.getvalue()


@pytest.mark.parametrize("bounds", [{"energy": 0.6}, {"energy": 5000}, {"energy": 0.6, "params": 0.5}])
def test_the_knapsack_finds_the_best_plan_within_a_strangers_budget(spec: Any, bounds: dict[str, float]) -> None:
    net = tiny_net()
    space = RankSpace.from_model(net, EXAMPLE, metrics=[spec])
    result = rank_search.search(Task(net, space, Budget(**bounds)), "knapsack")
    dense = {"energy": DENSE_ENERGY, "params": PARAMS}
    limits = {name: int(bound * dense[name]) if bound < 1 else bound for name, bound in bounds.items()}
    best: tuple[float, RankPlan | None] = (float("inf"), None)
    for plan, cost in all_plans():
        spent = {**cost, "energy": energy_of(cost)}
        if all(spent[name] <= limit for name, limit in limits.items()):
            error = sum(squared_error(net, layer, choice) / energy(net, layer) for layer, choice in plan.items())
            best = min(best, (error, plan), key=lambda pair: pair[0])
    assert result.score == pytest.approx(best[0], rel=1e-5)
    assert result.plan == best[1]
    assert result.cost["energy"] <= limits["energy"]


def test_exactly_the_plans_within_a_strangers_budget_are_admitted(spec: Any) -> None:
    space, budget = tiny_space(spec), Budget(energy=0.5)
    admitted = []
    for plan, cost in all_plans():
        if energy_of(cost) <= DENSE_ENERGY / 2:
            admitted.append(plan)
            assert space.admit(plan, budget)["energy"] == energy_of(cost)
        else:
            with pytest.raises(OverBudgetError, match="energy"):
                space.admit(plan, budget)
    assert set(space.feasible_plans(budget)) == set(admitted)
    smallest = min(energy_of(cost) for _, cost in all_plans())
    assert space.smallest_cost["energy"] == smallest
    with pytest.raises(InfeasibleBudgetError, match="energy"):
        space.require_feasible(Budget(energy=smallest - 1))
    space.require_feasible(Budget(energy=smallest))


def test_projected_and_random_plans_keep_a_strangers_budget(spec: Any) -> None:
    space, budget = tiny_space(spec), Budget(energy=0.45)
    costs = {plan: energy_of(cost) for plan, cost in all_plans()}
    rng = np.random.default_rng(1)
    drawn = {space.random_plan(rng, budget) for _ in range(25)}
    assert len(drawn) > 1
    assert all(costs[plan] <= 0.45 * DENSE_ENERGY for plan in drawn)
    for plan, cost in costs.items():
        near = space.project(plan, budget)
        assert costs[near] <= 0.45 * DENSE_ENERGY
        assert (near == plan) == (cost <= 0.45 * DENSE_ENERGY)


@pytest.mark.parametrize("searcher", ["tpe", "random", "uniform", "relaxation", "batude"])
def test_every_kind_of_searcher_keeps_a_strangers_budget(searcher: str) -> None:
    net = tiny_net()
    options: dict[str, Any] = {"epochs": 1} if searcher == "batude" else {}
    space = RankSpace.from_model(net, EXAMPLE, metrics=[Energy(), "bytes"])
    budget = Budget(energy=0.6, bytes=0.6)
    task = Task(net, space, budget, tiny_data(), SHORT)
    result = rank_search.search(task, searcher, Limits(evaluations=4), **options)
    costs = dict(all_plans())
    for trial in result.trials:
        assert energy_of(costs[trial.plan]) <= 0.6 * DENSE_ENERGY
        assert 4 * costs[trial.plan]["params"] + TINY_STATE - 4 * PARAMS <= 0.6 * TINY_STATE
    assert dict(result.cost)["energy"] == energy_of(costs[result.plan])


# -- metrics that are none ---------------------------------------------------------------------------------------------


def altered(**members: Any) -> Metric:
    """The toy with something wrong."""
    made: Metric = type("Altered", (Energy,), members)()
    return made


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"of_options": lambda self, layer, form, ranks: -np.ones(len(ranks), np.int64)}, "negative"),
        ({"of_options": lambda self, layer, form, ranks: np.full(len(ranks), 1.5)}, "whole"),
        ({"of_options": lambda self, layer, form, ranks: np.ones(len(ranks) + 1, np.int64)}, "one per option"),
        ({"of_options": lambda self, layer, form, ranks: np.ones((len(ranks), 1), np.int64)}, "one per option"),
        ({"of_options": lambda self, layer, form, ranks: 1}, "one per option"),
        ({"dense": lambda self, layer: -1}, "negative"),
        ({"dense": lambda self, layer: 1.5}, "whole"),
        ({"measure": lambda self, model, example: 0.5}, "whole"),
        ({"measure": lambda self, model, example: float("nan")}, "whole"),
        ({"measure": lambda self, model, example: -1}, "negative"),
    ],
)
def test_costs_that_are_no_whole_numbers_from_0_are_one_clear_line(members: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        tiny_space(altered(**members))
    assert "'energy'" in str(caught.value)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["my energy", "3e", "", "a-b", None, 5])
def test_a_name_that_is_no_identifier_is_one_clear_line(name: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        tiny_space(altered(name=name))
    assert repr(name) in str(caught.value)
    assert "identifier" in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["energy", "params", "macs", "bytes"])
def test_two_metrics_of_one_name_are_one_clear_line(name: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        tiny_space(Energy(), "bytes", altered(name=name))
    assert f"'{name}'" in str(caught.value)
    assert "Altered" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_metric_that_is_asked_for_twice_is_one_column() -> None:
    assert tiny_space("bytes", "params", "bytes").metric_names == ("params", "macs", "bytes")


@pytest.mark.parametrize(
    ("metrics", "error", "words"),
    [
        (["byte"], UnknownNameError, "did you mean 'bytes'"),
        ("bytes", InvalidInputError, "list"),
        ([3], InvalidInputError, "3"),
        ([Energy], InvalidInputError, "Energy"),
        (["test_metrics:Enery"], UnknownNameError, "did you mean 'Energy'"),
    ],
)
def test_what_is_no_metric_is_one_clear_line(metrics: Any, error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        RankSpace.from_model(tiny_net(), EXAMPLE, metrics=metrics)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("use", ["task", "admit", "require_feasible", "random_plan", "limits", "project"])
def test_a_budget_of_a_metric_that_the_space_does_not_count_says_so(use: str) -> None:
    space, budget = tiny_space(), Budget(bytes=0.5)
    uses: dict[str, Any] = {
        "task": lambda: Task(tiny_net(), space, budget),
        "admit": lambda: space.admit(space.dense, budget),
        "require_feasible": lambda: space.require_feasible(budget),
        "random_plan": lambda: space.random_plan(np.random.default_rng(0), budget),
        "limits": lambda: budget.limits(space.dense_cost),
        "project": lambda: space.project(space.dense, budget),
    }
    with pytest.raises(BudgetError) as caught:
        uses[use]()
    assert "'bytes'" in str(caught.value)
    assert "does not count" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_budget_knows_the_three_metrics_in_their_order_and_no_misspelt_one() -> None:
    budget = Budget(bytes=0.5, macs=0.25, params=100)
    assert tuple(budget.metrics) == ("params", "macs", "bytes")
    assert budget.limits({"params": 1000, "macs": 1001, "bytes": 99}) == {"params": 100, "macs": 250, "bytes": 49}
    assert json.loads(json.dumps(budget.to_dict())) == {"params": 100, "macs": 0.25, "bytes": 0.5}
    with pytest.raises(BudgetError, match="did you mean 'bytes'"):
        Budget(bites=0.5)
