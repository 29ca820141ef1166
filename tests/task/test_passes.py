"""Forward passes that a searcher runs by itself are counted, whatever copy of the network it runs."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_task import TRAIN, tiny_task

from rank_search.errors import InvalidInputError, LimitReached
from rank_search.space import Budget
from rank_search.task import Limits
from rank_search.task.oracles import Oracles
from rank_search.task.passes import Passes, unwatched

BUDGET = Budget(macs=0.8)


def oracles(**limits: int) -> Oracles:
    return Oracles(tiny_task(BUDGET).under(BUDGET, limits=Limits(**limits)))


def test_a_network_that_is_handed_out_counts_what_it_is_run_on_and_so_do_its_copies() -> None:
    seen = oracles()
    network, inputs = seen.dense_model(), seen.fixed_inputs(8)
    assert seen.spent["samples_forward"] == 0
    network(inputs)
    assert seen.spent["samples_forward"] == 8
    copy.deepcopy(network)(inputs[:3])
    seen.space.compress(network, seen.space.dense)(inputs)
    assert seen.spent["samples_forward"] == 8 + 3 + 8


def test_a_limit_ends_it_before_the_pass() -> None:
    seen = oracles(samples_forward=20)
    network, inputs = seen.dense_model(), seen.fixed_inputs(8)
    network(inputs)
    network(inputs)
    with pytest.raises(LimitReached, match="samples_forward would pass the limit of 20"):
        network(inputs)
    assert seen.spent["samples_forward"] == 16


def test_what_was_charged_before_is_not_charged_again() -> None:
    seen = oracles()
    inputs = seen.fixed_inputs(8)
    seen.charge(samples_forward=16)
    for _ in range(2):
        seen.outputs_with({}, inputs)
    assert seen.spent["samples_forward"] == 16
    seen.outputs_with({}, inputs)
    assert seen.spent["samples_forward"] == 24


def test_a_training_batch_pays_for_two_passes() -> None:
    """The network's own, and one of the dense network beside it; a third one is one too many."""
    seen = oracles()
    network = seen.dense_model()
    for batch in seen.train_batches(torch.Generator().manual_seed(0)):
        network(batch.inputs)
        seen.outputs_with({}, batch.inputs)
    assert (seen.spent["samples_trained"], seen.spent["samples_forward"]) == (TRAIN, 0)
    network(seen.fixed_inputs(5))
    assert seen.spent["samples_forward"] == 5


@pytest.mark.parametrize("amount", [-1, 1.0, True, "3"])
def test_only_whole_amounts_from_zero_are_charged(amount: object) -> None:
    seen = oracles()
    with pytest.raises(InvalidInputError, match="cannot be charged: give a whole number from 0"):
        seen.charge(evaluations=amount)  # type: ignore[arg-type]
    assert seen.spent["evaluations"] == 0


def test_an_unknown_count_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="the meter has no 'images'; it counts evaluations"):
        oracles().charge(images=3)


def test_a_network_is_left_unwatched_for_whoever_fine_tunes_it() -> None:
    counted: list[int] = []
    network = unwatched(Passes(counted.append).watch(torch.nn.Linear(2, 2)))
    network(torch.zeros(3, 2))
    assert counted == []
    assert not network._forward_pre_hooks
    assert not network._forward_pre_hooks_with_kwargs


def test_inputs_by_keyword_and_in_nests_are_counted_by_their_samples() -> None:
    counted: list[int] = []

    class Two(torch.nn.Module):
        def forward(self, a: dict[str, torch.Tensor], b: torch.Tensor) -> torch.Tensor:
            return a["x"] + b

    network = Passes(counted.append).watch(Two())
    network(a={"x": torch.zeros(4, 2)}, b=torch.zeros(4, 2))
    network({"x": torch.zeros(5, 2)}, torch.zeros(5, 2))
    assert counted == [4, 5]
