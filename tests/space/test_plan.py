"""Plans: JSON both ways, equality and hash, and every malformed one refused with a message that names the layer."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rank_search.errors import PlanError, RankSearchError
from rank_search.space.plan import DENSE, Choice, RankPlan

DATA = {"layer1.0.conv1": {"form": "tucker2", "ranks": [16, 12]}, "layer1.0.conv2": {"form": "cp", "ranks": [24]}}
PLAN = RankPlan({"layer1.0.conv1": Choice("tucker2", (16, 12)), "layer1.0.conv2": Choice("cp", (24,)), "fc": DENSE})

choices = st.one_of(
    st.just(DENSE),
    st.builds(
        Choice,
        st.sampled_from(["svd", "cp", "tucker2"]),
        st.lists(st.integers(1, 4096), min_size=1, max_size=3).map(tuple),
    ),
)
plans = st.builds(RankPlan, st.dictionaries(st.text(max_size=8), choices, max_size=5))


def test_the_json_is_the_documented_one() -> None:
    assert PLAN.to_dict() == {**DATA, "fc": "dense"}
    assert json.loads(PLAN.to_json()) == {**DATA, "fc": "dense"}
    assert list(json.loads(PLAN.to_json())) == ["layer1.0.conv1", "layer1.0.conv2", "fc"]


@settings(deadline=None, derandomize=True)
@given(plans)
def test_json_both_ways_gives_the_same_plan(plan: RankPlan) -> None:
    for back in (RankPlan.from_json(plan.to_json()), RankPlan.from_json(plan.to_dict())):
        assert back == plan
        assert hash(back) == hash(plan)
        assert dict(back) == dict(plan)
        assert back.to_json() == plan.to_json()


def test_equality_and_hash_ignore_order_and_spelled_out_dense_layers() -> None:
    same = [RankPlan.from_json(DATA), RankPlan.from_json(dict(reversed(DATA.items()))), PLAN]
    same.append(RankPlan.from_json({**DATA, "fc": {"form": "dense", "ranks": []}, "other": "dense"}))
    assert len(set(same)) == 1
    assert all(plan == PLAN for plan in same)
    assert RankPlan({}) == RankPlan({"fc": DENSE})


@pytest.mark.parametrize(
    "other",
    [
        {"layer1.0.conv1": {"form": "tucker2", "ranks": [16, 12]}},
        {**DATA, "layer1.0.conv1": {"form": "tucker2", "ranks": [12, 16]}},
        {**DATA, "layer1.0.conv2": {"form": "svd", "ranks": [24]}},
        {**DATA, "fc": {"form": "svd", "ranks": [1]}},
    ],
)
def test_plans_that_differ_are_not_equal(other: dict[str, Any]) -> None:
    assert RankPlan.from_json(other) != PLAN
    assert len({RankPlan.from_json(other), PLAN}) == 2


def test_a_plan_is_an_immutable_mapping() -> None:
    source = {"fc": DENSE}
    plan = RankPlan(source)
    source["other"] = DENSE
    assert list(plan) == ["fc"]
    assert len(plan) == 1
    assert plan["fc"] is DENSE
    with pytest.raises(TypeError):
        plan["fc"] = DENSE  # type: ignore[index]
    with pytest.raises(AttributeError):
        DENSE.form = "svd"  # type: ignore[misc]
    assert plan != {"fc": DENSE}


@pytest.mark.parametrize("rank", [0, -1, True, False, 2.0, "3", None, float("nan")])
def test_a_rank_that_is_not_a_whole_number_from_one_is_refused(rank: Any) -> None:
    with pytest.raises(PlanError, match="whole numbers from 1"):
        Choice("svd", (rank,))
    with pytest.raises(PlanError, match=r"layer 'fc': .*whole numbers from 1"):
        RankPlan.from_json({"fc": {"form": "svd", "ranks": [rank]}})


@pytest.mark.parametrize(("form", "ranks"), [("dense", (1,)), ("svd", ())])
def test_dense_has_no_ranks_and_every_other_form_some(form: str, ranks: tuple[int, ...]) -> None:
    with pytest.raises(PlanError, match="dense has none, every other form some"):
        Choice(form, ranks)


@pytest.mark.parametrize(
    "value",
    [
        "svd",
        3,
        None,
        [1, 2],
        {},
        {"form": "svd"},
        {"ranks": [1]},
        {"form": "svd", "ranks": 1},
        {"form": "svd", "ranks": "12"},
        {"form": "svd", "ranks": [1], "extra": 0},
    ],
)
def test_a_value_that_is_not_a_choice_is_refused_with_the_layers_name(value: Any) -> None:
    with pytest.raises(PlanError, match="layer 'fc'"):
        RankPlan.from_json({"fc": value})
    with pytest.raises(PlanError, match="layer 'fc'"):
        RankPlan({"fc": value})


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "3", '"dense"', "null", '{"a": ' + "9" * 5000 + "}", "[" * 200_000], ids=lambda t: t[:8]
)
def test_text_that_is_not_a_plan_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(PlanError) as caught:
        RankPlan.from_json(text)
    assert "\n" not in str(caught.value)
    assert isinstance(caught.value, ValueError)
    assert isinstance(caught.value, RankSearchError)


def test_it_reads_well() -> None:
    assert str(PLAN["layer1.0.conv1"]) == "tucker2 16,12"
    assert repr(PLAN) == "RankPlan(layer1.0.conv1: tucker2 16,12, layer1.0.conv2: cp 24, fc: dense)"
