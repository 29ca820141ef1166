"""A training counts what it does, leaves the caller's random state alone, and refuses what cannot be trained."""

from __future__ import annotations

import dataclasses
import math
from typing import Any

import pytest
import torch
from tiny_task import TRAIN, tiny_data, tiny_net
from torch import Tensor, nn

from rank_search.errors import EvaluationError, InvalidInputError, LimitReached
from rank_search.task import Recipe
from rank_search.task.training import Training

pytestmark = pytest.mark.usefixtures("single_thread")

LONG = Recipe(epochs=5, lr=0.05, batch_size=16)


def training(net: nn.Module, recipe: Recipe = LONG, **options: Any) -> Training:
    return Training(net, tiny_data(), recipe, **{"seed": 4, "teacher": tiny_net(3), **options})


def with_dropout() -> nn.Module:
    return nn.Sequential(nn.Dropout(0.2), tiny_net())


def parameters(net: nn.Module) -> list[Tensor]:
    return [parameter.detach() for parameter in net.parameters()]


def same(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# -- the caller's random state -----------------------------------------------------------------------------------------


def test_the_callers_random_state_is_as_before_every_piece() -> None:
    found = training(with_dropout())
    for seed in range(3):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        found.run(1)
        assert torch.equal(torch.get_rng_state(), before)


def test_it_is_as_before_a_piece_that_fails_too() -> None:
    def refuse(samples: int) -> None:
        torch.rand(1)
        raise LimitReached("no more")

    found = training(with_dropout(), charge=refuse)
    before = torch.get_rng_state()
    with pytest.raises(LimitReached):
        found.run(1)
    assert torch.equal(torch.get_rng_state(), before)


# -- counts ------------------------------------------------------------------------------------------------------------


def test_every_batch_is_charged_before_its_step(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str | int] = []

    class Watched(torch.optim.SGD):
        def step(self, closure: Any = None) -> Any:
            seen.append("step")
            return super().step(closure)

    monkeypatch.setattr("torch.optim.SGD", Watched)
    found = training(tiny_net(), charge=seen.append)
    found.run(1)
    assert seen == [16, "step", 16, "step", 9, "step"]
    found.run(1)
    assert seen == 2 * [16, "step", 16, "step", 9, "step"]


def test_a_charge_that_is_refused_leaves_the_weights_alone() -> None:
    def refuse(samples: int) -> None:
        raise LimitReached("no more")

    net = tiny_net()
    with pytest.raises(LimitReached):
        training(net, charge=refuse).run(1)
    assert same(parameters(net), parameters(tiny_net()))


def test_nothing_is_charged_for_what_a_state_had() -> None:
    charged: list[int] = []
    first = training(tiny_net())
    first.run(2)
    second = training(tiny_net(), charge=charged.append)
    second.load_state_dict(first.state_dict())
    assert (second.epochs, second.samples, second.done, charged) == (2, 2 * TRAIN, False, [])
    second.run(99)
    assert (second.epochs, second.samples, second.done, sum(charged)) == (5, 5 * TRAIN, True, 3 * TRAIN)


def test_a_piece_returns_the_loss_of_every_epoch_that_it_has_trained() -> None:
    whole = training(tiny_net()).run(5)
    found = training(tiny_net())
    assert [found.run(2), found.run(0), found.run(7), found.run(1)] == [whole[:2], [], whole[2:], []]
    assert all(math.isfinite(loss) for loss in whole)


def test_no_epochs_do_nothing() -> None:
    for net in (tiny_net(), tiny_net().requires_grad_(False)):
        charged: list[int] = []
        found = training(net, dataclasses.replace(LONG, epochs=0), charge=charged.append)
        assert (found.done, found.run(3), found.epochs, found.samples, charged) == (True, [], 0, 0, [])
        assert same(list(net.state_dict().values()), list(tiny_net().state_dict().values()))
    found = training(tiny_net())
    assert (found.run(0), found.epochs) == ([], 0)
    assert same(list(found.model.state_dict().values()), list(tiny_net().state_dict().values()))


def test_the_network_is_in_eval_mode_between_the_pieces() -> None:
    net = tiny_net().train()
    found = training(net)
    assert not any(module.training for module in net.modules())
    found.run(1)
    assert not any(module.training for module in net.modules())


# -- refusals ----------------------------------------------------------------------------------------------------------


def test_a_frozen_network_is_refused() -> None:
    with pytest.raises(InvalidInputError, match=r"^every parameter of TinyNet is frozen .*: nothing can be trained"):
        training(tiny_net().requires_grad_(False))


def test_an_objective_by_the_dense_network_needs_a_teacher() -> None:
    with pytest.raises(InvalidInputError, match=r"^the objective \w+ compares with the dense network: .* a teacher$"):
        training(tiny_net(), teacher=None, objective="embedding")


def test_a_loss_that_is_not_finite_says_at_which_step_of_all() -> None:
    found = training(tiny_net(), teacher=None)
    found.run(2)
    with torch.no_grad():
        next(found.model.parameters()).fill_(math.nan)
    with pytest.raises(EvaluationError, match=r"^the training loss became nan at step 7 of 15; lower finetune lr"):
        found.run(1)
