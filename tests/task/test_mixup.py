"""Sums of two samples: shares, targets, what is left alone, and that training by them is the loss that is written."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rank_search.errors import InvalidInputError
from rank_search.task import Recipe
from rank_search.task.batch import Batch
from rank_search.task.mixup import mixed
from rank_search.task.objectives.choose import make_objective
from rank_search.task.task_loss import task_loss


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(3)


def test_inputs_are_sums_of_two_samples_whose_targets_are_told() -> None:
    inputs, targets = torch.eye(5), torch.arange(5)
    found = mixed(Batch({"x": inputs}, targets), 1.0, generator())
    assert found.others is not None
    for row, one, other in zip(found.batch.inputs["x"], found.batch.targets, found.others.targets, strict=True):
        wanted = found.share * inputs[int(one)] + (1 - found.share) * inputs[int(other)]
        assert torch.allclose(row, wanted)
    assert sorted(found.others.targets.tolist()) == [0, 1, 2, 3, 4]
    assert torch.equal(inputs, torch.eye(5))


def test_shares_follow_the_beta_distribution() -> None:
    draws = generator()
    shares = torch.tensor([mixed(Batch(torch.zeros(2, 1), None), 2.0, draws).share for _ in range(2000)])
    assert abs(float(shares.mean()) - 0.5) < 0.02
    assert abs(float(shares.var()) - 0.05) < 0.006  # a^2 / ((2 a)^2 (2 a + 1)) at a = 2


def test_single_samples_stay() -> None:
    batch = Batch(torch.ones(1, 2), None)
    assert mixed(batch, 1.0, generator()).batch is batch


def test_tokens_have_no_sums() -> None:
    with pytest.raises(InvalidInputError, match=r"int64 inputs have no sums: set mixup to 0"):
        mixed(Batch(torch.arange(6).reshape(3, 2), torch.arange(3)), 1.0, generator())


def test_no_mixup_draws_nothing() -> None:
    draws = generator()
    before = draws.get_state()
    mixed(Batch(torch.ones(4, 2), torch.ones(4)), 0.0, draws)
    assert torch.equal(draws.get_state(), before)


def test_the_loss_is_that_of_both_targets_in_their_shares() -> None:
    torch.manual_seed(0)
    model, objective = nn.Linear(4, 3), make_objective(None)
    found = mixed(Batch(torch.randn(6, 4), torch.randint(3, (6,))), 1.0, generator())
    assert found.others is not None
    loss = task_loss(model, None, found.batch, Recipe(), objective, found)
    logits = model(found.batch.inputs).log_softmax(1)
    rows = torch.arange(6)
    by_hand = -(
        found.share * logits[rows, found.batch.targets] + (1 - found.share) * logits[rows, found.others.targets]
    ).mean()
    assert torch.allclose(loss, by_hand)


def test_a_share_below_0_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="mixup=-1 is not allowed"):
        Recipe(mixup=-1)
