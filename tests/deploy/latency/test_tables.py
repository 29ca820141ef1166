"""Tables of times against an exact clock: what is measured, what lies between, what whole networks teach."""

from __future__ import annotations

import itertools
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from exact_clock import NORM, WIDTH, ExactClock, count
from torch import nn

from rank_search.deploy.engines import Runner, time_in_turn
from rank_search.deploy.latency import Latency, LatencyTable, calibrated, check, latency_of, refined, whole_times
from rank_search.deploy.latency.grid import interpolated, points
from rank_search.deploy.latency.table import shared_with
from rank_search.deploy.latency.whole import untrained
from rank_search.errors import EngineError, InfeasibleBudgetError, InvalidInputError, LayerSelectionError
from rank_search.space import Budget, RankSpace

IMAGE = torch.zeros(1, 3, 10, 10)
FORMS = ["tucker2", "svd_spatial", "cp"]


class Net(nn.Module):
    """Convolutions of stride 2 and in groups, a layer that is called twice, a head per token."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm = nn.Conv2d(3, 12, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(12)
        self.twice = nn.Conv2d(12, 12, 3, padding=1)
        self.grouped = nn.Conv2d(12, 24, 3, groups=2)
        self.head = nn.Linear(24, 40)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.norm(self.stem(images)).relu()
        features = self.grouped(self.twice(self.twice(features)))
        tokens: torch.Tensor = self.head(features.flatten(2).transpose(1, 2))
        return tokens


def made(batch: int = 1, forms: Any = FORMS, engine: ExactClock | None = None, **more: Any) -> tuple[Any, Any, Latency]:
    torch.manual_seed(0)
    model, metric = Net().eval(), Latency(engine or ExactClock(), batch)
    space = RankSpace.from_model(model, IMAGE, [*forms, "svd"], metrics=[metric], **more)
    found = latency_of(space)
    assert found is not None
    return model, space, found


@pytest.mark.parametrize("batch", [1, 3])
def test_the_dense_network_takes_what_its_modules_take(batch: int) -> None:
    model, space, _ = made(batch)
    exact = count(model, IMAGE.repeat(batch, 1, 1, 1))
    assert space.dense_cost["latency_ms"] == exact
    assert space.fixed_cost["latency_ms"] == NORM


def test_every_option_that_was_timed_costs_its_own_time_and_each_plan_the_sum() -> None:
    model, space, metric = made()
    rng = np.random.default_rng(0)
    for options in space.layers:
        for position, form in enumerate(options.forms):
            metric.time_exactly(options.layer, form, [tuple(r) for r in options.ranks_of(position).tolist()])
    space = space.recounted(model)
    for _ in range(6):
        plan = space.random_plan(rng, Budget(macs=0.6))
        biases = sum(1 for name in ("stem",) if plan[name].form != "dense")  # a folded norm has a bias: no time here
        assert biases in (0, 1)
        assert space.cost(plan)["latency_ms"] == count(untrained(model, plan), IMAGE)


def test_between_timed_ranks_the_error_is_less_than_a_step_of_the_clock() -> None:
    ranks = np.arange(1, 33)[:, None]
    times = {rank: 50.0 + 100 * -(-rank // WIDTH) for rank in range(1, 33)}
    asked: list[int] = []

    def measure(wanted: Any) -> Any:
        asked.extend(one for (one,) in wanted)
        return np.array([times[one] for (one,) in wanted])

    found = interpolated(ranks, ranks, WIDTH, measure, {})
    exact = np.array([times[rank] for rank in range(1, 33)])
    on_width = ranks[:, 0] % WIDTH == 0
    assert np.allclose(found[on_width], exact[on_width])  # linear in ranks that fill the width
    assert np.abs(found - exact).max() <= 100
    assert len(asked) <= 8
    assert interpolated(ranks, ranks, WIDTH, measure, {(5,): 7.0})[4] == 7.0


def test_two_ranks_are_interpolated_exactly_where_the_time_is_their_product() -> None:
    ranks = np.array([*itertools.product(range(4, 25, 4), range(4, 17, 4))])
    found = interpolated(ranks, ranks, 4, lambda wanted: np.array([3.0 * a * b for a, b in wanted]), {})
    assert np.allclose(found, 3.0 * ranks.prod(1))


@pytest.mark.parametrize("values", [[5], [2, 3], [1, 2, 3, 4], list(range(1, 200))])
def test_points_hold_both_ends_and_are_few(values: list[int]) -> None:
    found = points(np.array(values))
    assert found[0] == values[0]
    assert found[-1] == values[-1]
    assert len(found) <= 4
    assert set(found.tolist()) <= set(values)


def test_a_calibration_finds_the_factor_and_the_rest() -> None:
    model, space, metric = made(engine=ExactClock(whole=lambda total: 1.3 * total + 5000))
    space = calibrated(space, model)
    assert metric.table.fit is not None
    assert metric.scale == pytest.approx(1.3, rel=0.08)  # what lies between timed ranks is in it
    dense, _ = whole_times(space, model, [])
    assert space.dense_cost["latency_ms"] == pytest.approx(dense, rel=0.05)


def test_a_refined_space_holds_its_budget_exactly_and_has_timed_all_that_it_chose() -> None:
    model, space, metric = made()
    budget = Budget(latency_ms=0.6)
    space = refined(space, model, [budget])
    plan = space.plan(space.minimise(space.relative_errors(), budget).indices)
    dense, (own,) = whole_times(space, model, [plan])
    assert own <= 0.6 * dense * 1.01
    for options in space.layers:
        choice = plan[options.layer.name]
        assert choice.form == "dense" or metric.is_measured(options.layer, choice.form, choice.ranks)


def test_the_optimum_is_that_of_brute_force_over_true_times() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Conv2d(8, 8, 3)).eval()
    metric = Latency(ExactClock())
    space = RankSpace.from_model(model, IMAGE, ["svd_spatial"], metrics=[metric])
    budget = Budget(latency_ms=0.7)
    space = refined(space, model, [budget])
    found = space.minimise(space.relative_errors(), budget).value
    dense, errors = count(model, IMAGE), space.relative_errors()
    best = min(
        sum(error[row] for error, row in zip(errors, rows, strict=True))
        for rows in itertools.product(*(range(len(options)) for options in space.layers))
        if count(untrained(model, space.plan(np.array(rows))), IMAGE) <= 0.7 * dense
    )
    assert found == pytest.approx(best)


def test_a_check_of_an_additive_clock_is_nearly_right() -> None:
    model, space, _ = made()
    found = check(calibrated(space, model), model, plans=12)
    assert len(found.plans) == 12
    assert found.error < 0.1
    assert found.tau > 0.8
    assert found.within(0.0) <= found.within(0.2) <= 1


def test_an_unreachable_time_is_an_error_that_says_the_smallest() -> None:
    model, space, _ = made()
    with pytest.raises(InfeasibleBudgetError, match=r"the smallest reachable is \d+ latency_ms, 0\.\d+ of the dense"):
        calibrated(space, model).require_feasible(Budget(latency_ms=0.001))


@pytest.mark.parametrize(
    ("bound", "limit"), [("0.35ms", 350_000), (" .5 ms", 500_000), (2, 2_000_000), (1.5, 1_500_000)]
)
def test_absolute_times_are_in_milliseconds(bound: Any, limit: int) -> None:
    budget = Budget(latency_ms=bound)
    assert budget.limits({"latency_ms": 10**9}) == {"latency_ms": limit}
    assert Budget(**budget.to_dict()) == budget


@pytest.mark.parametrize("bound", ["0ms", "fast", "3 s", -1, 0, True, "ms"])
def test_other_times_are_refused(bound: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"budget latency_ms=.* is not allowed: give a fraction in \(0, 1\] or"):
        Budget(latency_ms=bound)


def test_ranks_off_the_width_stay_only_where_none_on_it_is_as_fast() -> None:
    _, space, _ = made(forms=["svd_spatial"], align=True)
    _, whole, _ = made(forms=["svd_spatial"])
    column = whole.metric_names.index("latency_ms")
    for options, every in zip(space.layers, whole.layers, strict=True):
        kept = {options.choice(row) for row in range(len(options))}
        for row in range(len(every)):
            choice, time = every.choice(row), every.costs[row, column]
            rivals = [
                other
                for other in range(1, len(every))
                if every.choice(other).form == choice.form
                and all(rank % WIDTH == 0 for rank in every.choice(other).ranks)
                and all(a >= b for a, b in zip(every.choice(other).ranks, choice.ranks, strict=True))
                and every.costs[other, column] <= time
            ]
            on_width = all(rank % WIDTH == 0 for rank in choice.ranks)
            fast = every.costs[row, column] <= every.costs[0, column]
            assert (choice in kept) == (row == 0 or (fast and (on_width or not rivals)))


def test_to_align_needs_a_time() -> None:
    with pytest.raises(InvalidInputError, match="align needs a time to decide by"):
        RankSpace.from_model(Net(), IMAGE, ["svd_spatial"], align=True)
    with pytest.raises(InvalidInputError, match="align=0 is not allowed"):
        made(align=0)


def test_a_table_read_back_gives_the_same_costs_and_measures_nothing(tmp_path: Path) -> None:
    model, space, metric = made()
    space = refined(space, model, [Budget(latency_ms=0.5)])
    metric.table.write(tmp_path / "latency.json")
    engine = ExactClock()
    table = LatencyTable.read(tmp_path / "latency.json", Latency(engine).fingerprint())
    again = RankSpace.from_model(model, IMAGE, [*FORMS, "svd"], metrics=[Latency(engine, table=table, measures=False)])
    assert engine.prepared == 0
    assert again.fixed_cost == space.fixed_cost
    for one, other in zip(space.layers, again.layers, strict=True):
        same = {one.choice(row): tuple(one.costs[row]) for row in range(len(one))}
        found = {other.choice(row): tuple(other.costs[row]) for row in range(len(other))}
        assert {choice: same[choice] for choice in found if choice in same} == found
    assert pickle.loads(pickle.dumps(again)).dense_cost == again.dense_cost


def test_tables_of_other_set_ups_and_broken_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "latency.json"
    LatencyTable({"engine": "eager", "versions": {"torch": "1"}, "batch": 1}, {"a": {(): 1.0}}).write(file)
    with pytest.raises(EngineError, match=r"batch was 1, is 2 here; versions torch was 1, is 3 here.*start a new run"):
        LatencyTable.read(file, {"engine": "eager", "versions": {"torch": "3"}, "batch": 2})
    file.write_text(file.read_text()[:40])
    with pytest.raises(InvalidInputError, match=r"latency\.json"):
        LatencyTable.read(file, {})
    file.write_text("[]")
    with pytest.raises(InvalidInputError, match="is no table of latencies"):
        LatencyTable.read(file, {})


def test_a_table_that_lacks_a_time_says_so() -> None:
    with pytest.raises(EngineError, match=r"the table of latencies lacks 'Conv2d.*it was cut off; measure it again"):
        RankSpace.from_model(Net(), IMAGE, ["svd_spatial"], metrics=[Latency(ExactClock(), measures=False)])


def test_runs_share_their_times_and_a_damaged_file_is_measured_again(tmp_path: Path) -> None:
    first = LatencyTable({"engine": "eager"})
    with shared_with(first, tmp_path):
        first.of("a")[(2, 3)] = 1.0
    second = LatencyTable({"engine": "eager"})
    with shared_with(second, tmp_path):
        assert second.times == {"a": {(2, 3): 1.0}}
        second.of("a")[(4, 3)] = 2.0
    (file,) = tmp_path.glob("*.json")
    third = LatencyTable({"engine": "eager"})
    with shared_with(third, tmp_path):
        assert third.times == {"a": {(2, 3): 1.0, (4, 3): 2.0}}
    file.write_text("{")
    fourth = LatencyTable({"engine": "eager"})
    with shared_with(fourth, tmp_path):
        assert fourth.times == {}


@pytest.mark.parametrize("batch", [0, -1, True, 1.5])
def test_a_batch_is_a_whole_number(batch: Any) -> None:
    with pytest.raises(InvalidInputError, match=r"batch=.* is not allowed"):
        Latency(ExactClock(), batch)


# -- what strangers do -------------------------------------------------------------------------------------------------


class _Lying(Runner):
    def __init__(self, told: Any) -> None:
        self.told = told

    def run(self) -> Any:
        return torch.zeros(1)

    def call(self) -> None:
        pass

    def seconds(self, calls: int) -> Any:
        return self.told


@pytest.mark.parametrize("told", [0, -1.0, float("nan"), float("inf"), "fast", None, 1e12, True])
def test_what_is_no_time_is_an_error_of_the_engine(told: Any) -> None:
    with pytest.raises(EngineError, match=r"_Lying tells .* seconds for \d+ runs: that is no time"):
        time_in_turn([_Lying(told)])


def test_engines_that_raise_or_make_no_runner_are_named() -> None:
    class Raises(ExactClock):
        def prepare_chain(self, modules: nn.Sequential, inputs: torch.Tensor) -> Runner:
            raise RuntimeError("no phone is connected")

    class Nothing(ExactClock):
        def prepare_chain(self, modules: nn.Sequential, inputs: torch.Tensor) -> Runner:
            return None  # type: ignore[return-value]

    class Secret(ExactClock):
        def options(self) -> dict[str, Any]:
            return {"board": object()}

    for engine, said in (
        (Raises(), "RuntimeError: no phone is connected"),
        (Nothing(), "made a NoneType, not a Runner"),
    ):
        with pytest.raises(EngineError, match=f"the engine exact_clock .*{said}"):
            RankSpace.from_model(Net(), IMAGE, ["svd_spatial"], metrics=[Latency(engine)])
    with pytest.raises(EngineError, match="the options of the engine exact_clock are no plain data"):
        Latency(Secret())


def test_two_engines_of_one_name_do_not_share_a_table() -> None:
    class Other(ExactClock):
        pass

    assert Latency(Other()).table.name != Latency(ExactClock()).table.name


def test_rounds_and_a_space_without_a_time_are_said() -> None:
    with pytest.raises(InvalidInputError, match="rounds=0 is not allowed"):
        time_in_turn([], rounds=0)
    space = RankSpace.from_model(Net(), IMAGE, ["svd_spatial"])
    for call in (lambda: calibrated(space, Net()), lambda: whole_times(space, Net(), []), lambda: check(space, Net())):
        with pytest.raises(InvalidInputError, match="and no time: build it with"):
            call()
    with pytest.raises(InvalidInputError, match="two metrics are named 'latency_ms'"):
        RankSpace.from_model(Net(), IMAGE, ["svd_spatial"], metrics=[Latency(ExactClock()), Latency(ExactClock(), 2)])
    with pytest.raises(InvalidInputError, match="the engine compile takes seconds to prepare"):
        Latency("compile")


def test_a_calibration_twice_is_the_same_and_leaves_the_space_as_it_was() -> None:
    model, space, _ = made(engine=ExactClock(whole=lambda total: 1.3 * total + 5000))
    before = dict(space.dense_cost)
    first, second = calibrated(space, model), calibrated(space, model)
    assert first.dense_cost["latency_ms"] == pytest.approx(second.dense_cost["latency_ms"], rel=1e-4)
    assert space.dense_cost == before


def test_ranks_that_a_form_does_not_offer_are_answered_from_a_table_that_is_only_read(tmp_path: Path) -> None:
    model, space, metric = made()
    calibrated(space, model)
    metric.table.write(tmp_path / "latency.json")
    table = LatencyTable.read(tmp_path / "latency.json", metric.fingerprint())
    again = RankSpace.from_model(
        model, IMAGE, [*FORMS, "svd"], metrics=[Latency(ExactClock(), table=table, measures=False)]
    )
    for options in again.layers:
        for position, form in enumerate(options.forms):
            ranks = np.unique(np.minimum(options.ranks_of(position) * 4, form.largest_ranks(options.layer)), axis=0)
            assert (options.costs_of(form, ranks) >= 0).all()


@pytest.mark.parametrize("times", [{"a": {"1": -5.0}}, {"a": {"1": 1e21}}, {"a": 3}, [], {"a": {"x": 1.0}}])
def test_times_that_cannot_be_are_refused_in_a_run_and_forgotten_in_the_cache(times: Any, tmp_path: Path) -> None:
    table = LatencyTable({"engine": "eager"})
    file = tmp_path / table.name
    file.write_text(json.dumps({"format": 1, "fingerprint": {"engine": "eager"}, "times": times}))
    with pytest.raises(InvalidInputError, match="delete it, it is measured again then"):
        LatencyTable.read(file, {"engine": "eager"})
    with shared_with(table, tmp_path):
        assert len(table) == 0


def test_a_cache_that_cannot_be_written_is_no_cache(tmp_path: Path) -> None:
    place = tmp_path / "file"
    place.write_text("")
    with shared_with(LatencyTable({"engine": "eager"}), place / "latency"):
        pass


def test_an_aligned_layer_without_fast_options_says_why() -> None:
    class Slow(ExactClock):
        def prepare_chain(self, modules: nn.Sequential, inputs: torch.Tensor) -> Runner:
            runner = super().prepare_chain(modules, inputs)
            return _Lying(runner.seconds(1) * len(modules) ** 9)

    torch.manual_seed(0)
    with pytest.raises(LayerSelectionError, match=r"no option of it is as fast as the dense layer \(align\)"):
        RankSpace.from_model(Net(), IMAGE, ["svd_spatial"], metrics=[Latency(Slow())], align=True)
