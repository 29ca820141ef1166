"""Training with a pull: against an SGD loop written out on the same batches, and broken off at any step."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_task import TRAIN, tiny_task
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.errors import EvaluationError, LimitReached
from rank_search.searching.one_shot_training import OneShotTraining, TrainingOptions
from rank_search.space import Budget
from rank_search.states import load_state, save_state
from rank_search.task import Limits, Task

pytestmark = pytest.mark.usefixtures("single_thread")

BATCHES = 5  # 41 images in batches of 8; the one left over joins the last
Batch = tuple[Tensor, Tensor]
Gradients = list[Tensor]


class Plain(nn.Module):
    """One convolution and a classifier, no batch norm."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3, padding=1)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.dropout(torch.relu(self.conv(images))).mean((2, 3)))
        return logits


class Normed(Plain):
    """The same with batch norm, dropout, and a parameter that no output depends on."""

    def __init__(self) -> None:
        super().__init__(dropout=0.4)
        self.norm = nn.BatchNorm2d(4)
        self.idle = nn.Parameter(torch.ones(2, 2))

    def forward(self, images: Tensor) -> Tensor:
        return super().forward(images) + self.norm(self.conv(images)).mean((2, 3))[:, :3]


class Skipping(Plain):
    """A layer that training leaves out at random (Fan et al., LayerDrop, ICLR 2020)."""

    def __init__(self) -> None:
        super().__init__()
        self.more = nn.Linear(4, 3)

    def forward(self, images: Tensor) -> Tensor:
        logits = super().forward(images)
        if self.training and torch.rand(()) < 0.6:
            return logits
        return logits + self.more(torch.relu(self.conv(images)).mean((2, 3)))


def made(net: Callable[[], nn.Module] = Plain, **limits: int) -> tuple[Task, nn.Module]:
    """A task, and a copy of its network to train."""
    torch.manual_seed(0)
    task = tiny_task(net=net().eval()).under(Budget(macs=0.7), limits=Limits(**limits))
    return task, copy.deepcopy(task.model)


def training(task: Task, net: nn.Module, seed: int = 0, **options: Any) -> OneShotTraining:
    return OneShotTraining(task, net, TrainingOptions(**{"epochs": 3, "lr": 0.1, "batch_size": 8} | options), seed)


def recorded(task: Task, monkeypatch: pytest.MonkeyPatch) -> list[Batch]:
    """A list that fills with every batch that the task gives out."""
    batches: list[Batch] = []
    give = task.train_batches

    def record(*args: Any, **kwargs: Any) -> Iterator[Batch]:
        for batch in give(*args, **kwargs):
            batches.append(batch)
            yield batch

    monkeypatch.setattr(task, "train_batches", record)
    return batches


def gradients(net: nn.Module, batch: Batch) -> tuple[float, Gradients]:
    """The cross-entropy of a batch and its gradient."""
    loss = F.cross_entropy(net(batch[0]), batch[1])
    return float(loss.detach()), list(torch.autograd.grad(loss, list(net.parameters())))


def nesterov(
    net: nn.Module, steps: list[Gradients], lrs: list[float], momentum: float = 0.9, decay: float = 1e-4
) -> Iterator[None]:
    """SGD with Nesterov's momentum; each step's gradients are put into ``steps`` before it is taken."""
    velocity: Gradients = []
    for lr in lrs:
        found = [
            gradient.add(parameter, alpha=decay) if parameter.ndim > 1 else gradient
            for gradient, parameter in zip(steps[-1], net.parameters(), strict=True)
        ]
        velocity = [old * momentum + new for old, new in zip(velocity, found, strict=True)] if velocity else found
        with torch.no_grad():
            for parameter, gradient, speed in zip(net.parameters(), found, velocity, strict=True):
                parameter.add_(gradient.add(speed, alpha=momentum), alpha=-lr)
        yield


def same(one: nn.Module, other: nn.Module) -> bool:
    mine, his = one.state_dict(), other.state_dict()
    return mine.keys() == his.keys() and all(torch.equal(mine[key], his[key]) for key in mine)


def cosine(step: int, total: int, lr: float = 0.1) -> float:
    return lr * 0.5 * (1 + math.cos(math.pi * step / total))


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
@pytest.mark.parametrize("rho", [0.0, 0.3])
def test_steps_are_those_of_sgd_on_the_loss_plus_the_pull_to_the_last_bit(
    schedule: str, rho: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    task, net = made()
    plain, batches = copy.deepcopy(net), recorded(task, monkeypatch)
    target = torch.randn_like(net.conv.weight)
    loss = training(task, net, schedule=schedule).run(2 * BATCHES, {net.conv.weight: target}, rho)
    assert [len(labels) for _, labels in batches] == [8, 8, 8, 8, 9] * 2
    assert task.meter.samples_trained == 2 * TRAIN
    steps: list[Gradients] = []
    losses = []
    lrs = [cosine(step, 3 * BATCHES) if schedule == "cosine" else 0.1 for step in range(2 * BATCHES)]
    stepping = nesterov(plain, steps, lrs)
    for batch in batches:
        found, step = gradients(plain, batch)
        step[0] = step[0].add(plain.conv.weight.detach() - target, alpha=rho)
        steps.append(step)
        losses.append(found)
        next(stepping)
    assert same(net, plain)
    assert loss == pytest.approx(sum(losses) / len(losses), rel=1e-12)


def test_an_epoch_shows_every_image_once_in_an_order_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    task, net = made()
    batches = recorded(task, monkeypatch)
    training(task, net).run(2 * BATCHES, {}, 0.0)
    assert task.data is not None
    images = task.data.normalise(task.data.train.images).flatten(1)
    epochs = [torch.cat([inputs for inputs, _ in part]).flatten(1) for part in (batches[:BATCHES], batches[BATCHES:])]
    orders = [torch.cdist(epoch, images).argmin(1).tolist() for epoch in epochs]
    assert [sorted(order) for order in orders] == [list(range(TRAIN))] * 2
    assert orders[0] != orders[1]


def test_accumulated_batches_make_one_step_on_their_mean_gradient_also_in_the_last_group(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, net = made()
    plain, batches = copy.deepcopy(net), recorded(task, monkeypatch)
    run = training(task, net, accumulate=2)
    assert (run.steps_per_epoch, run.total) == (3, 9)
    losses = [run.run(1, {}, 0.0) for _ in range(4)]  # 2, 2 and 1 batches, and 2 of the next epoch
    assert [len(labels) for _, labels in batches] == [8, 8, 8, 8, 9, 8, 8]
    steps: list[Gradients] = []
    stepping = nesterov(plain, steps, [cosine(step, 9) for step in range(4)])
    for loss, group in zip(losses, (batches[:2], batches[2:4], batches[4:5], batches[5:]), strict=True):
        found = [gradients(plain, batch) for batch in group]
        assert loss == pytest.approx(sum(one for one, _ in found) / len(group), rel=1e-6)
        steps.append([torch.stack(parts).mean(0) for parts in zip(*(one for _, one in found), strict=True)])
        next(stepping)
    for one, other in zip(net.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("schedule", ["cosine", "constant"])
def test_the_learning_rate_follows_its_schedule_over_all_steps(schedule: str) -> None:
    task, net = made()
    run = training(task, net, schedule=schedule)
    assert run.total == 3 * BATCHES
    for step in range(run.total):
        assert run.lr == pytest.approx(cosine(step, run.total) if schedule == "cosine" else 0.1, rel=1e-12)
        assert run.epoch == pytest.approx(step / BATCHES)
        run.run(1, {}, 0.0)
    assert run.lr == pytest.approx(0.0 if schedule == "cosine" else 0.1, abs=1e-12)


def test_the_task_gradient_is_clipped_and_the_pull_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    task, net = made()
    plain, batches, seen = copy.deepcopy(net), recorded(task, monkeypatch), []
    target, clip = torch.full_like(net.conv.weight, 50.0), 0.01

    def look() -> None:
        seen.extend(parameter.grad.clone() for parameter in net.parameters() if parameter.grad is not None)

    options = {"momentum": 0.0, "weight_decay": 0.0}
    training(task, net, clip=clip, optimiser=options).run(1, {net.conv.weight: target}, 0.3, look)
    _, wanted = gradients(plain, batches[0])
    assert all(torch.equal(*pair) for pair in zip(seen, wanted, strict=True))  # neither clipped nor pulled
    norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in wanted))
    assert norm > 2 * clip
    for parameter, start, gradient in zip(net.parameters(), plain.parameters(), wanted, strict=True):
        step = gradient * clip / norm + (0.3 * (start - target) if parameter is net.conv.weight else 0)
        torch.testing.assert_close(parameter.detach(), (start - 0.1 * step).detach(), rtol=1e-5, atol=1e-6)


def test_a_parameter_that_gets_no_gradient_follows_the_pull_alone() -> None:
    task, net = made(Normed)
    idle, target = net.idle, torch.tensor([[3.0, 1.0], [1.0, -1.0]])
    options = {"momentum": 0.0, "weight_decay": 0.0}
    training(task, net, schedule="constant", optimiser=options).run(3, {idle: target}, 2.0)
    wanted = target + (torch.ones(2, 2) - target) * (1 - 0.1 * 2.0) ** 3
    torch.testing.assert_close(idle.detach(), wanted)


def test_distillation_mixes_the_cross_entropy_with_the_divergence_from_the_dense_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    task, net = made()
    batches = recorded(task, monkeypatch)
    with torch.no_grad():
        net.head.weight.mul_(3)
    student, weight, heat = copy.deepcopy(net), 0.3, task.recipe.temperature
    loss = training(task, net, distill=weight).run(1, {}, 0.0)
    inputs, labels = batches[0]
    with torch.no_grad():
        mine, his = (F.log_softmax(one(inputs) / heat, dim=1) for one in (student, task.model))
        divergence = (his.exp() * (his - mine)).sum(1).mean() * heat**2
        wanted = (1 - weight) * F.cross_entropy(student(inputs), labels) + weight * divergence
    assert loss == pytest.approx(float(wanted), rel=1e-5)


OPTIMISERS: list[dict[str, Any]] = [
    {},
    {"name": "SGD", "momentum": 0.0},
    {"name": "Adam", "amsgrad": True},
    {"name": "AdamW"},
    {"name": "NAdam"},
    {"name": "RAdam"},
    {"name": "RMSprop", "momentum": 0.5, "centered": True},
]


def trained(
    folder: Path, stop: int | None, optimiser: dict[str, Any], accumulate: int = 1, kind: type[Plain] = Normed
) -> tuple[nn.Module, int]:
    """A network after 8 steps, stopped on the way and restored in new objects, and the samples that both have used."""
    used, state = 0, None
    for steps in (8,) if stop is None else (stop, 8 - stop):
        task, net = made(kind)
        run = training(task, net, lr=0.02, optimiser=optimiser, accumulate=accumulate)
        if state is not None:
            net.load_state_dict(state["model"])
            run.load_state_dict(state["training"])
            assert run.step == stop
        run.run(steps, {net.conv.weight: torch.ones_like(net.conv.weight)}, 0.1)
        save_state(folder / "state", {"model": net.state_dict(), "training": run.state_dict()})
        state, used = load_state(folder / "state"), used + task.meter.samples_trained
    return net, used


@pytest.mark.parametrize("accumulate", [1, 2])
@pytest.mark.parametrize("optimiser", OPTIMISERS[:3], ids=str)
def test_stopped_anywhere_it_goes_on_with_the_same_bits_and_count(
    tmp_path: Path, optimiser: dict[str, Any], accumulate: int
) -> None:
    unbroken, samples = trained(tmp_path, None, optimiser, accumulate)
    for stop in range(1, 8):
        network, used = trained(tmp_path, stop, optimiser, accumulate)
        assert same(network, unbroken), stop
        assert used == samples, stop


@pytest.mark.parametrize("optimiser", OPTIMISERS[3:], ids=str)
def test_the_state_of_every_optimiser_survives(tmp_path: Path, optimiser: dict[str, Any]) -> None:
    assert same(trained(tmp_path, 3, optimiser)[0], trained(tmp_path, None, optimiser)[0])


def test_a_layer_that_some_steps_skip_is_resumed_with_the_same_bits(tmp_path: Path) -> None:
    unbroken, _ = trained(tmp_path, None, {}, kind=Skipping)
    differ = [stop for stop in range(1, 8) if not same(trained(tmp_path, stop, {}, kind=Skipping)[0], unbroken)]
    assert differ == []


@pytest.mark.parametrize("lost", [{"optimiser": {}}, {"step": 0}], ids=["optimiser", "step"])
@pytest.mark.parametrize("optimiser", [OPTIMISERS[0], OPTIMISERS[2]], ids=["SGD", "Adam"])
def test_without_all_of_its_state_it_goes_another_way(optimiser: dict[str, Any], lost: dict[str, Any]) -> None:
    task, net = made(Normed)
    first = training(task, net, lr=0.02, optimiser=optimiser)
    first.run(3, {}, 0.0)
    ends = []
    for state in (first.state_dict(), first.state_dict() | lost):
        ends.append(copy.deepcopy(net))
        second = training(task, ends[-1], lr=0.02, optimiser=optimiser)
        second.load_state_dict(copy.deepcopy(state))
        second.run(5, {}, 0.0)
    assert not same(*ends)


def test_the_seed_fixes_every_bit_and_the_global_generator_is_left_alone() -> None:
    nets = []
    for seed in (1, 1, 2):
        task, net = made(Normed)
        torch.manual_seed(len(nets))
        before = torch.get_rng_state()
        training(task, net, seed).run(4, {}, 0.0)
        assert torch.equal(torch.get_rng_state(), before)
        assert not net.training
        nets.append(net)
    assert same(nets[0], nets[1])
    assert not same(nets[0], nets[2])


def test_every_step_draws_from_a_stream_of_its_own_seed() -> None:
    draws: list[float] = []
    for seed in (1, 2):
        task, net = made()
        net.register_forward_pre_hook(lambda *_: draws.append(float(torch.rand(()))))
        training(task, net, seed).run(BATCHES + 1, {}, 0.0)
    assert len(set(draws)) == 2 * (BATCHES + 1)


@pytest.mark.parametrize("poison", [math.nan, math.inf])
def test_a_loss_that_is_not_finite_is_an_error_that_names_the_step(poison: float) -> None:
    task, net = made()
    run = training(task, net)
    run.run(2, {}, 0.0)
    with torch.no_grad():
        net.head.bias[0] = poison
    with pytest.raises(EvaluationError, match="training loss became nan at step 3 of 15"):
        run.run(2, {}, 0.0)


def test_weights_that_overflow_at_the_last_step_are_an_error_that_names_it() -> None:
    """Else the next reader of the weights, the Z-step, meets them: no singular values exist."""
    task, net = made()
    with pytest.raises(EvaluationError, match="step 1 of 15"):
        training(task, net).run(1, {net.conv.weight: torch.full_like(net.conv.weight, 1e30)}, 1e20)


def test_bfloat16_runs_near_single_precision_and_is_not_it() -> None:
    (task, exact), (other, rough) = made(), made()
    losses = [
        training(task, exact).run(2, {}, 0.0),
        training(other, rough, precision="bfloat16").run(2, {}, 0.0),
    ]
    assert losses[0] != losses[1]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    assert not same(exact, rough)
    assert {parameter.dtype for parameter in rough.parameters()} == {torch.float32}


def test_a_limit_stops_it_before_the_batch_that_would_pass_it() -> None:
    task, net = made(samples_trained=20)
    run = training(task, net)
    with pytest.raises(LimitReached):
        run.run(3, {}, 0.0)
    assert (task.meter.samples_trained, run.step) == (16, 2)
