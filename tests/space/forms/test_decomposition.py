"""Forms by name: the built-in ones, and a stranger's that is used like them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from measured import cost
from torch import nn

from rank_search.arrays import IntArray
from rank_search.errors import PluginError, UnknownNameError
from rank_search.space import Budget, Choice, RankPlan, RankSpace, compress, load, plan_of, register_decomposition, save
from rank_search.space.forms.cp import CP
from rank_search.space.forms.decomposition import decomposition, decompositions
from rank_search.space.forms.svd import SVD
from rank_search.space.forms.tucker2 import Tucker2
from rank_search.space.layers.layer import Layer


class EvenSVD(SVD):
    """A stranger's form: only even ranks."""

    name = "even"

    def candidates(self, layer: Layer) -> IntArray:
        return super().candidates(layer)[1::2]


@pytest.fixture
def even() -> Iterator[None]:
    register_decomposition("even")(EvenSVD)
    yield
    decompositions.unregister("even")


def test_the_built_in_forms_are_found_by_name() -> None:
    assert {"cp", "svd", "tucker2"} <= set(decompositions.names())
    for name, form in (("cp", CP), ("svd", SVD), ("tucker2", Tucker2)):
        assert type(decomposition(name)) is form
        assert decomposition(name).name == name


@pytest.mark.usefixtures("even")
def test_a_registered_form_is_used_like_a_built_in_one(tmp_path: Path) -> None:
    model, example = nn.Sequential(nn.Linear(9, 8)), torch.randn(1, 9)
    space = RankSpace.from_model(model, example, forms=["even"])
    assert [space.layers[0].choice(row).ranks for row in range(len(space.layers[0]))] == [(), (2,), (4,)]
    plan = space.random_plan(np.random.default_rng(0), Budget(params=0.6))
    assert plan == RankPlan({"0": Choice("even", (2,))})
    assert space.cost(plan) == cost(space.compress(model, plan), example)
    folder = save(compress(model, plan), tmp_path)
    assert plan_of(load(folder, lambda: nn.Sequential(nn.Linear(9, 8)))) == plan


def test_a_form_may_be_named_by_its_module_and_class_and_plans_call_it_so(tmp_path: Path) -> None:
    name = "rank_search.space.forms.svd:SVD"
    model = nn.Sequential(nn.Linear(9, 8))
    space = RankSpace.from_model(model, torch.randn(1, 9), forms=[name], cache=tmp_path / "cache")
    plan = RankPlan({"0": Choice(name, (2,))})
    assert space.plan(np.array([2])) == plan
    folder = save(space.compress(model, plan), tmp_path / "model")
    back = load(folder, lambda: nn.Sequential(nn.Linear(9, 8)))
    assert plan_of(back) == RankPlan.from_json((folder / "plan.json").read_text()) == plan
    assert decomposition("svd").name == "svd"
    with pytest.raises(PluginError, match="not a subclass of Decomposition"):
        decomposition("rank_search.space.layers.layer:Layer")


def test_a_taken_name_and_an_unknown_one_are_errors() -> None:
    with pytest.raises(PluginError, match="'svd' is taken"):
        register_decomposition("svd")(EvenSVD)
    with pytest.raises(UnknownNameError, match=r"unknown form 'tuker2' \(did you mean 'tucker2'\?\)"):
        decomposition("tuker2")
    assert decomposition("svd").name == "svd"
