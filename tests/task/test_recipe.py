"""The fine-tune: schedule, parameter groups, clipping and distillation against their formulas; seeds; refusals."""

from __future__ import annotations

import copy
import dataclasses
import math
from typing import Any

import numpy as np
import pytest
import torch
from tiny_task import SHORT, TRAIN, TinyNet, tiny_data, tiny_net
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.errors import EvaluationError, InvalidInputError, LimitReached
from rank_search.space import Budget, Choice, RankPlan, RankSpace, compress
from rank_search.task import ImageData, Recipe, load_data, load_model
from rank_search.task.evaluation import validate
from rank_search.task.objectives.classification import Classification
from rank_search.task.repair.recalibration import recalibrate
from rank_search.task.training import train

pytestmark = pytest.mark.usefixtures("single_thread")

ONE_STEP = Recipe(epochs=1, lr=0.1, batch_size=64, momentum=0, distill_weight=0, clip=1e9)


class Recorder:
    """What the optimiser had at every step: learning rates, decays and the norm of the whole gradient."""

    def __init__(self) -> None:
        self.rates: list[list[float]] = []
        self.norms: list[float] = []
        self.groups: dict[int, tuple[float, float]] = {}
        self.settings: dict[str, Any] = {}


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    seen = Recorder()

    class Watched(torch.optim.SGD):
        def __init__(self, params: list[dict[str, Any]], **settings: Any) -> None:
            seen.settings = settings
            for group in params:
                seen.groups |= {id(p): (group["lr"], group["weight_decay"]) for p in group["params"]}
            super().__init__(params, **settings)

        def step(self, closure: Any = None) -> Any:
            seen.rates.append([group["lr"] for group in self.param_groups])
            gradients = [p.grad for group in self.param_groups for p in group["params"] if p.grad is not None]
            seen.norms.append(math.sqrt(sum(float(g.double().square().sum()) for g in gradients)))
            return super().step(closure)

    monkeypatch.setattr("torch.optim.SGD", Watched)
    return seen


def bits(net: nn.Module) -> list[Tensor]:
    return [value.clone() for value in net.state_dict().values()]


def same_bits(one: list[Tensor], other: list[Tensor]) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one, other, strict=True))


# -- seeds -------------------------------------------------------------------------------------------------------------


def test_a_seed_fixes_every_bit_and_another_seed_gives_others() -> None:
    data = dataclasses.replace(tiny_data(), crop=1, flip=True)
    first, again, other = (bits(train(tiny_net(), data, SHORT, seed, teacher=tiny_net(3))) for seed in (4, 4, 5))
    assert same_bits(first, again)
    assert not same_bits(first, other)


def test_the_global_random_state_neither_matters_nor_moves() -> None:
    torch.manual_seed(1)
    first = bits(train(tiny_net(), tiny_data(), SHORT, seed=4))
    torch.manual_seed(2)
    state = torch.get_rng_state()
    second = bits(train(tiny_net(), tiny_data(), SHORT, seed=4))
    assert same_bits(first, second)
    assert torch.equal(state, torch.get_rng_state())


def test_dropout_is_drawn_from_the_seed_too() -> None:
    def trained(global_seed: int, seed: int) -> list[Tensor]:
        torch.manual_seed(global_seed)
        net = nn.Sequential(tiny_net(), nn.Dropout(0.5))
        return bits(train(net, tiny_data(), SHORT, seed))

    assert same_bits(trained(1, 4), trained(2, 4))
    assert not same_bits(trained(1, 4), trained(1, 5))


# -- schedule ----------------------------------------------------------------------------------------------------------


def test_the_rate_rises_in_a_line_then_falls_as_a_cosine_over_all_steps(recorder: Recorder) -> None:
    recipe = dataclasses.replace(SHORT, epochs=8, lr=0.2, warmup=0.25)
    train(tiny_net(), tiny_data(), recipe, seed=0)
    rates = [rates[0] for rates in recorder.rates]
    assert len(rates) == 8 * 3  # 41 images in batches of 16, 16 and 9
    rising = [0.2 * k / 6 for k in range(1, 7)]
    falling = [0.2 * 0.5 * (1 + math.cos(math.pi * k / 18)) for k in range(18)]
    assert rates == pytest.approx(rising + falling)
    assert [rates[6], rates[12], rates[15], rates[18]] == pytest.approx([0.2, 0.15, 0.1, 0.05])


def test_without_warmup_the_first_step_has_the_peak_rate(recorder: Recorder) -> None:
    train(tiny_net(), tiny_data(), dataclasses.replace(SHORT, warmup=0), seed=0)
    assert recorder.rates[0][0] == SHORT.lr


def test_the_cosine_ends_with_the_training_when_a_left_over_image_joins_the_batch_before_it(recorder: Recorder) -> None:
    recipe = dataclasses.replace(SHORT, epochs=5, batch_size=10, warmup=0.1)
    train(tiny_net(), tiny_data(), recipe, seed=0)
    rates = [rates[0] / recipe.lr for rates in recorder.rates]
    assert len(rates) == 5 * 4  # 10, 10, 10 and 11 images
    assert rates == pytest.approx([0.5, 1.0] + [0.5 * (1 + math.cos(math.pi * k / 18)) for k in range(18)])


def test_every_form_keeps_its_share_of_the_rate_through_the_schedule(recorder: Recorder) -> None:
    net = compress(tiny_net(), RankPlan({"second": Choice("cp", (3,))}))
    train(net, tiny_data(), SHORT, seed=0)
    for rates in recorder.rates:
        assert min(rates) == pytest.approx(0.3 * max(rates))


# -- parameter groups --------------------------------------------------------------------------------------------------


def test_cp_factors_get_their_rate_and_biases_and_norms_are_not_decayed(recorder: Recorder) -> None:
    net = compress(tiny_net(), RankPlan({"first": Choice("tucker2", (2, 1)), "second": Choice("cp", (3,))}))
    train(net, tiny_data(), dataclasses.replace(SHORT, lr=0.1, weight_decay=0.01), seed=0)
    found = {name: recorder.groups[id(parameter)] for name, parameter in net.named_parameters()}
    plain, cp = 0.1, pytest.approx(0.03)
    assert found == {
        **{f"first.{i}.weight": (plain, 0.01) for i in range(3)},
        **{f"second.{i}.weight": (cp, 0.01) for i in range(3)},
        "second.2.bias": (cp, 0.0),
        "norm1.weight": (plain, 0.0),
        "norm1.bias": (plain, 0.0),
        "norm2.weight": (plain, 0.0),
        "norm2.bias": (plain, 0.0),
        "head.weight": (plain, 0.01),
        "head.bias": (plain, 0.0),
    }
    assert recorder.settings["momentum"] == 0.9
    assert recorder.settings["nesterov"] is True


def test_the_rate_of_any_form_can_be_set(recorder: Recorder) -> None:
    net = compress(tiny_net(), RankPlan({"first": Choice("tucker2", (2, 1)), "second": Choice("cp", (3,))}))
    train(net, tiny_data(), dataclasses.replace(SHORT, lr=0.1, form_lr={"tucker2": 2.0}), seed=0)
    found = {name.split(".")[0]: recorder.groups[id(parameter)][0] for name, parameter in net.named_parameters()}
    assert found == {"first": 0.2, "second": 0.1, "norm1": 0.1, "norm2": 0.1, "head": 0.1}


def test_one_step_is_the_gradient_times_the_rate_plus_the_decay() -> None:
    data, net = tiny_data(), tiny_net()
    start = {name: parameter.detach().double() for name, parameter in net.named_parameters()}
    reference = copy.deepcopy(net).double().train()
    inputs = data.normalise(data.train.images).double()
    F.cross_entropy(reference(inputs), data.train.labels).backward()
    train(net, data, dataclasses.replace(ONE_STEP, weight_decay=0.05), seed=0)
    for (name, parameter), (_, exact) in zip(net.named_parameters(), reference.named_parameters(), strict=True):
        decay = 0.05 * start[name] if name in ("first.weight", "second.weight", "head.weight") else 0
        assert exact.grad is not None
        expected = start[name] - 0.1 * (exact.grad + decay)
        torch.testing.assert_close(parameter.detach().double(), expected, rtol=1e-4, atol=1e-5)


# -- clipping ----------------------------------------------------------------------------------------------------------


def test_the_whole_gradient_is_never_longer_than_clip(recorder: Recorder) -> None:
    train(tiny_net(), tiny_data(), dataclasses.replace(SHORT, clip=1e9), seed=0)
    free, recorder.norms = recorder.norms, []
    assert min(free) > 0.01
    train(tiny_net(), tiny_data(), dataclasses.replace(SHORT, clip=0.01), seed=0)
    assert recorder.norms == pytest.approx([0.01] * len(free), rel=1e-3)
    recorder.norms = []
    train(tiny_net(), tiny_data(), dataclasses.replace(SHORT, clip=2 * max(free)), seed=0)
    assert recorder.norms == pytest.approx(free)


# -- distillation ------------------------------------------------------------------------------------------------------


def log_softmax(logits: np.ndarray) -> np.ndarray:
    return logits - np.log(np.exp(logits).sum(1, keepdims=True))


def first_loss(student: nn.Module, data: ImageData, recipe: Recipe, teacher: nn.Module | None) -> float:
    losses: list[float] = []
    train(student, data, recipe, 0, teacher=teacher, after_epoch=lambda epoch, loss: losses.append(loss))
    return losses[0]


@pytest.mark.parametrize(("share", "temperature"), [(0.7, 2.0), (1.0, 5.0), (0.25, 0.5), (0.0, 2.0)])
def test_the_loss_is_cross_entropy_and_the_divergence_from_the_teacher(share: float, temperature: float) -> None:
    data, recipe = tiny_data(), dataclasses.replace(ONE_STEP, distill_weight=share, temperature=temperature)
    with torch.random.fork_rng():
        torch.manual_seed(6)
        student, teacher = (nn.Sequential(nn.Flatten(), nn.Linear(36, 3)) for _ in range(2))
    inputs = (data.train.images.numpy().astype(np.float64) / 255 - 0.35) / 0.2
    logits, wanted = (
        inputs.reshape(TRAIN, -1) @ net[1].weight.detach().double().numpy().T + net[1].bias.detach().double().numpy()
        for net in (student, teacher)
    )
    labels = data.train.labels.numpy()
    hard = -log_softmax(logits)[np.arange(TRAIN), labels].mean()
    of_teacher, of_student = log_softmax(wanted / temperature), log_softmax(logits / temperature)
    divergence = (np.exp(of_teacher) * (of_teacher - of_student)).sum(1).mean()
    expected = (1 - share) * hard + share * temperature**2 * divergence
    assert first_loss(student, data, recipe, teacher) == pytest.approx(expected, rel=1e-5)


def test_without_a_teacher_the_labels_alone_are_learned() -> None:
    data = tiny_data()
    recipe = dataclasses.replace(ONE_STEP, distill_weight=0.9)
    assert first_loss(tiny_net(), data, recipe, None) == first_loss(tiny_net(), data, ONE_STEP, tiny_net(1))


def test_the_teacher_stays_as_it_is_and_runs_without_gradient() -> None:
    seen: list[tuple[bool, bool]] = []

    class Watching(TinyNet):
        def forward(self, images: Tensor) -> Tensor:
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(images)

    teacher = Watching().eval()
    before = bits(teacher)
    train(tiny_net(), tiny_data(), SHORT, seed=0, teacher=teacher)
    assert same_bits(before, bits(teacher))
    assert seen == [(False, False)] * 6
    assert all(parameter.grad is None for parameter in teacher.parameters())


# -- steps, charges, failures ------------------------------------------------------------------------------------------


def test_every_step_is_charged_before_it_is_taken() -> None:
    charged: list[int] = []
    epochs: list[int] = []

    def refuse(images: int) -> None:
        if len(charged) == 4:
            raise LimitReached("no more")
        charged.append(images)

    net = tiny_net()
    with pytest.raises(LimitReached):
        train(net, tiny_data(), SHORT, 0, charge=refuse, after_epoch=lambda epoch, loss: epochs.append(epoch))
    assert charged == [16, 16, 9, 16]
    assert epochs == [1]
    assert int(net.norm1.num_batches_tracked) == 1 + 4  # one batch when it was made


def test_no_epochs_leave_the_network_as_it_is_in_evaluation_mode() -> None:
    net = tiny_net().train()
    before, charged = bits(net), []
    trained = train(net, tiny_data(), dataclasses.replace(SHORT, epochs=0), 0, charge=charged.append)
    assert trained is net
    assert same_bits(before, bits(net))
    assert not net.training
    assert charged == []


def test_a_trained_network_comes_back_in_evaluation_mode() -> None:
    assert not any(module.training for module in train(tiny_net(), tiny_data(), SHORT, 0).modules())


class Failing(TinyNet):
    """Its outputs are NaN from one call on."""

    def __init__(self, call: int) -> None:
        super().__init__()
        self.left = call

    def forward(self, images: Tensor) -> Tensor:
        self.left -= 1
        return super().forward(images) * (math.nan if self.left <= 0 else 1)


@pytest.mark.parametrize("step", [1, 5])
def test_a_loss_that_is_not_finite_is_an_error_that_names_the_step(step: int) -> None:
    message = rf"the training loss became nan at step {step} of 6; lower finetune lr \(0.05\) or clip"
    with pytest.raises(EvaluationError, match=message):
        train(Failing(step), tiny_data(), SHORT, seed=0)


def test_a_network_that_does_not_fit_the_images_is_an_error_that_names_the_step() -> None:
    with pytest.raises(
        EvaluationError, match="cannot be trained on these samples, at step 1: RuntimeError: "
    ) as caught:
        train(nn.Sequential(nn.Flatten(), nn.Linear(7, 3)), tiny_data(), SHORT, seed=0)
    assert "\n" not in str(caught.value)


def test_a_rate_that_is_far_too_high_is_found_out() -> None:
    recipe = dataclasses.replace(SHORT, lr=1e30, clip=1e9, epochs=5)
    with pytest.raises(EvaluationError, match=r"the training loss became (nan|inf) at step \d+ of 15"):
        train(nn.Sequential(nn.Flatten(), nn.Linear(36, 20), nn.Linear(20, 3)), tiny_data(), recipe, seed=0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"lr": 0}, "finetune lr=0 is not allowed: it must be above 0"),
        ({"lr": math.nan}, "lr=nan"),
        ({"lr": math.inf}, "lr=inf"),
        ({"epochs": -1}, "epochs=-1 is not allowed: it must be from 0$"),
        ({"epochs": True}, "epochs=True"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"momentum": 1.0}, "momentum=1.0 is not allowed: it must be from 0 to 0.9999"),
        ({"momentum": -0.1}, "momentum=-0.1"),
        ({"weight_decay": -1e-4}, "weight_decay=-0.0001 is not allowed: it must be from 0$"),
        ({"distill_weight": 1.5}, "distill_weight=1.5 is not allowed: it must be from 0 to 1"),
        ({"temperature": 0}, "temperature=0 is not allowed: it must be above 0"),
        ({"clip": -1}, "clip=-1"),
        ({"warmup": 1.1}, "warmup=1.1 is not allowed: it must be from 0 to 1"),
        ({"form_lr": {"cp": 0.3, "svd": 0}}, r"form_lr=\{'cp': 0.3, 'svd': 0\} is not allowed"),
    ],
)
def test_a_recipe_that_cannot_work_is_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message):
        Recipe(**options)


@pytest.mark.parametrize(
    "options", [{"epochs": 0}, {"weight_decay": 0}, {"distill_weight": 1}, {"warmup": 0}, {"form_lr": {}}]
)
def test_the_edges_of_what_is_allowed_are_allowed(options: dict[str, Any]) -> None:
    Recipe(**options)


# -- what it is for ----------------------------------------------------------------------------------------------------


def test_a_short_fine_tune_brings_back_the_accuracy_of_a_compressed_digits_net() -> None:
    data = load_data("digits")
    with torch.random.fork_rng():
        torch.manual_seed(0)
        dense = load_model("digits_net", width=8)
    train(dense, data, Recipe(epochs=4, lr=0.1, clip=5), seed=0)
    space = RankSpace.from_model(dense, torch.zeros(1, 1, 8, 8))
    plan = space.plan(space.minimise(space.relative_errors(), Budget(macs=0.3)).indices)
    net = space.compress(dense, plan)
    recalibrate(net, dense, (inputs for inputs, _ in data.batches(data.train.subset(256, 0), 128)))
    before = validate(net, data, data.validation, Classification()).measures["accuracy"]
    train(net, data, Recipe(epochs=2, lr=0.05), seed=0, teacher=dense)
    after = validate(net, data, data.validation, Classification()).measures["accuracy"]
    full = validate(dense, data, data.validation, Classification()).measures["accuracy"]
    assert full > 0.9
    assert before < 0.8
    assert after > before + 0.1


def test_fixed_norms_train_from_the_network_as_it_is_in_eval_mode() -> None:
    """A step of plain SGD against the gradient of the loss in eval mode; the statistics stay."""
    data, net = tiny_data(), tiny_net()
    reference = copy.deepcopy(net).eval()
    images, labels = data.normalise(data.train.images), data.train.labels
    recipe = dataclasses.replace(ONE_STEP, batch_size=len(data.train), weight_decay=0.0, fix_norms=True)
    flat = dataclasses.replace(data, crop=0, flip=False)
    loss = F.cross_entropy(reference(images), labels)
    loss.backward()
    trained = train(copy.deepcopy(net), flat, recipe)
    for name, parameter in reference.named_parameters():
        assert parameter.grad is not None
        wanted = parameter.detach() - 0.1 * parameter.grad
        assert torch.allclose(trained.get_parameter(name), wanted, atol=1e-5), name
    for name, buffer in net.named_buffers():
        assert torch.equal(trained.get_buffer(name), buffer), name
    assert not trained.training


def test_norms_that_are_not_fixed_see_the_batches() -> None:
    net = tiny_net()
    trained = train(copy.deepcopy(net), tiny_data(), ONE_STEP)
    assert not torch.equal(trained.norm1.running_mean, net.norm1.running_mean)


def test_fix_norms_is_a_yes_or_a_no() -> None:
    with pytest.raises(InvalidInputError, match=r"fix_norms='some' is not allowed: it must be True or False"):
        Recipe(fix_norms="some")  # type: ignore[arg-type]
