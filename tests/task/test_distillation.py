"""Distillation from layers: the loss against explicit hooks and closed forms, its gradient, its hooks, refusals."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from tiny_task import SHORT, TinyNet, tiny_data, tiny_net, tiny_task
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.errors import ConfigError, EvaluationError, InvalidInputError
from rank_search.run import load_config
from rank_search.searching.one_shot_training import OneShotTraining, TrainingOptions
from rank_search.space import Budget, Choice, RankPlan, compress
from rank_search.space.forms.factor_modules import weight_for
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.layers.layer import Layer
from rank_search.task import Recipe
from rank_search.task.batch import Batch
from rank_search.task.distillation import multiplied_out
from rank_search.task.objectives.classification import Classification
from rank_search.task.task_loss import task_loss
from rank_search.task.training import train

pytestmark = pytest.mark.usefixtures("single_thread")

PLAN = RankPlan({"first": Choice("tucker2", (2, 1)), "second": Choice("tucker2", (2, 3)), "head": Choice("svd", (1,))})
AIM = Classification()
LAYERS = dataclasses.replace(SHORT, distill="layers", distill_weight=0.3)
SUM = dataclasses.replace(LAYERS, layer_sum=True)
MODES = pytest.mark.parametrize("recipe", [LAYERS, SUM], ids=["layers", "sum"])


def pair(teacher: nn.Module | None = None, plan: RankPlan = PLAN) -> tuple[nn.Module, nn.Module]:
    """A compressed network and the dense one, in float64."""
    teacher = (teacher or tiny_net()).double().eval()
    return compress(teacher, plan), teacher


def batch(size: int = 5) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(8)
    images = torch.randn(size, 1, 6, 6, generator=generator, dtype=torch.float64)
    return images, torch.randint(0, 3, (size,), generator=generator)


def outputs(net: nn.Module, names: list[str], inputs: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the layers' outputs of every call, by hooks of the test's own."""
    found: dict[str, list[Tensor]] = {name: [] for name in names}
    handles = [
        net.get_submodule(name).register_forward_hook(lambda m, a, out, name=name: found[name].append(out.clone()))
        for name in names
    ]
    logits = net(inputs)
    for handle in handles:
        handle.remove()
    return logits, [output for name in names for output in found[name]]


def same_gradients(one: Tensor, other: Tensor, net: nn.Module) -> None:
    parameters = list(net.parameters())
    pairs = [torch.autograd.grad(loss, parameters, allow_unused=True) for loss in (one, other)]
    for mine, his, parameter in zip(*pairs, parameters, strict=True):
        zero = torch.zeros_like(parameter)
        torch.testing.assert_close(zero if mine is None else mine, zero if his is None else his)


# -- the layer term ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_the_loss_is_cross_entropy_and_the_weighted_mean_over_layers_of_their_mean_squared_difference(
    training: bool,
) -> None:
    (student, teacher), (inputs, labels) = pair(), batch()
    student.train(training)
    logits, ours = outputs(student, list(PLAN), inputs)
    with torch.no_grad():
        _, theirs = outputs(teacher, list(PLAN), inputs)
    errors = [((a - b) ** 2).sum() / a.numel() for a, b in zip(ours, theirs, strict=True)]
    assert [output.shape[1:] for output in ours] == [(4, 6, 6), (4, 3, 3), (3,)]
    expected = F.cross_entropy(logits, labels) + 0.3 * sum(errors) / 3
    loss = task_loss(student, teacher, Batch(inputs, labels), LAYERS, AIM)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    same_gradients(loss, expected, student)


def test_a_layer_that_stays_dense_has_no_part_in_the_term() -> None:
    (student, teacher), (inputs, labels) = pair(plan=RankPlan({"second": Choice("cp", (3,))})), batch()
    logits, ours = outputs(student, ["second"], inputs)
    _, theirs = outputs(teacher, ["second"], inputs)
    expected = F.cross_entropy(logits, labels) + 0.3 * (ours[0] - theirs[0]).square().mean()
    assert task_loss(student, teacher, Batch(inputs, labels), LAYERS, AIM).item() == pytest.approx(
        expected.item(), rel=1e-12
    )


@pytest.mark.parametrize("weight", [0.0, 4.0])
def test_the_weight_scales_the_term(weight: float) -> None:
    (student, teacher), (inputs, labels) = pair(), batch()
    entropy = F.cross_entropy(student(inputs), labels).item()
    unit, scaled = (
        task_loss(student, teacher, Batch(inputs, labels), dataclasses.replace(LAYERS, distill_weight=w), AIM).item()
        - entropy
        for w in (1.0, weight)
    )
    assert unit > 0.01
    assert scaled == pytest.approx(weight * unit, abs=1e-12)


# -- the sum of the paper ----------------------------------------------------------------------------------------------


def test_the_sum_is_that_of_the_paper_with_the_outputs_per_image() -> None:
    (student, teacher), (inputs, labels) = pair(), batch()
    logits, ours = outputs(student, list(PLAN), inputs)
    with torch.no_grad():
        _, theirs = outputs(teacher, list(PLAN), inputs)
    of_outputs = sum(((a - b) ** 2).sum() for a, b in zip(ours, theirs, strict=True)) / 5
    of_weights = torch.zeros(())
    for name in ("first", "second"):
        into, core, out = (factor.weight for factor in student.get_submodule(name))
        product = torch.einsum("oa,abhw,bi->oihw", out[:, :, 0, 0], core, into[:, :, 0, 0])
        of_weights = of_weights + ((teacher.get_submodule(name).weight.detach() - product) ** 2).sum()
    head = student.get_submodule("head")
    of_weights = of_weights + ((teacher.head.weight.detach() - head[1].weight @ head[0].weight) ** 2).sum()
    assert of_weights > 0.1
    assert of_outputs > 0.1
    expected = F.cross_entropy(logits, labels) + 0.5 * (of_weights + of_outputs)
    loss = task_loss(student, teacher, Batch(inputs, labels), SUM, AIM)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    same_gradients(loss, expected, student)


@MODES
def test_the_loss_does_not_depend_on_the_size_of_the_batch(recipe: Recipe) -> None:
    (student, teacher), (inputs, labels) = pair(), batch()
    once = task_loss(student, teacher, Batch(inputs, labels), recipe, AIM).item()
    twice = task_loss(student, teacher, Batch(inputs.repeat(2, 1, 1, 1), labels.repeat(2)), recipe, AIM).item()
    assert twice == pytest.approx(once, rel=1e-12)


C2, C1, C3, T2 = nn.Conv2d, nn.Conv1d, nn.Conv3d, nn.ConvTranspose2d
KINDS: dict[str, tuple[nn.Module, tuple[int, ...], list[Choice]]] = {
    "linear": (nn.Linear(5, 7), (5,), [Choice("svd", (3,))]),
    "conv1d": (
        C1(4, 6, 3, stride=2, padding=1),
        (4, 11),
        [Choice("tucker2", (3, 2)), Choice("cp", (3,)), Choice("svd_channel", (2,)), Choice("tensor_train", (2, 3))],
    ),
    "conv2d": (
        C2(4, 6, (3, 2), stride=(1, 2), padding="valid", dilation=2),
        (4, 9, 8),
        [Choice("tucker2", (3, 2)), Choice("svd_spatial", (3,)), Choice("cp", (3,)), Choice("svd_grouped", (2, 2))],
    ),
    "conv2d 1x1": (C2(4, 6, 1, stride=2), (4, 5, 5), [Choice("svd", (3,)), Choice("svd_grouped", (2, 1))]),
    "conv2d circular": (C2(4, 6, 3, padding=1, padding_mode="circular"), (4, 5, 6), [Choice("svd_spatial", (4,))]),
    "conv3d": (
        C3(4, 3, (2, 3, 2), padding=1),
        (4, 4, 5, 4),
        [Choice("tucker2", (2, 3)), Choice("cp", (3,)), Choice("tensor_train", (2, 2))],
    ),
    "transposed": (
        T2(4, 6, (3, 2), stride=2, padding=1, output_padding=1),
        (4, 5, 4),
        [Choice("tucker2", (3, 2)), Choice("svd_spatial", (3,)), Choice("cp", (3,)), Choice("svd_channel", (2,))],
    ),
    "grouped": (
        C2(8, 6, 3, groups=2, padding=1),
        (8, 5, 5),
        [Choice("tucker2", (2, 3)), Choice("svd_spatial", (3,)), Choice("cp", (3,)), Choice("svd_grouped", (2, 2))],
    ),
    "grouped 1x1": (C2(8, 6, 1, groups=2), (8, 3, 3), [Choice("svd", (2,))]),
    "grouped transposed": (
        T2(6, 4, 3, groups=2, stride=2),
        (6, 4, 4),
        [Choice("tucker2", (2, 2)), Choice("svd_spatial", (2,)), Choice("svd_channel", (1,))],
    ),
}


@pytest.mark.parametrize(("kind", "choice"), [(kind, choice) for kind, row in KINDS.items() for choice in row[2]])
def test_the_dense_layer_with_the_multiplied_out_weight_computes_what_the_factors_do(kind: str, choice: Choice) -> None:
    module, shape, _ = KINDS[kind]
    net = nn.Sequential(copy.deepcopy(module)).double()
    low_rank = compress(net, RankPlan({"0": choice}))[0]
    assert isinstance(low_rank, LowRank)
    inputs = torch.randn(2, *shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with torch.no_grad():
        assert not torch.allclose(net(inputs), low_rank(inputs), atol=1e-3)
        net[0].weight.copy_(weight_for(net[0], multiplied_out(low_rank, Layer.of("0", net[0]))))
        torch.testing.assert_close(net(inputs), low_rank(inputs), rtol=1e-10, atol=1e-12)


def test_factors_of_another_kernel_are_refused_by_name() -> None:
    net = nn.Sequential(nn.Conv2d(2, 3, 3))
    smaller = LowRank(Choice("own", (2,)), [nn.Conv2d(2, 2, 1), nn.Conv2d(2, 3, 1)])
    with pytest.raises(
        InvalidInputError, match=r"'0' \(own.*\) multiply out to \[1, 3, 2, 1\], the dense weight has 9 taps"
    ):
        multiplied_out(smaller, Layer.of("0", net[0]))


# -- a network like its teacher, or without a replaced layer -----------------------------------------------------------


def wrapped(teacher: TinyNet) -> TinyNet:
    """The same network with the dense layers themselves as the one factor of each replaced layer."""
    student = copy.deepcopy(teacher)
    for name in PLAN:
        setattr(student, name, LowRank(Choice("svd", (1,)), [getattr(student, name)]))
    return student


@MODES
def test_a_network_that_computes_what_the_teacher_does_has_no_layer_term(recipe: Recipe) -> None:
    teacher, (inputs, labels) = tiny_net().double(), batch()
    student = wrapped(teacher)
    entropy = F.cross_entropy(student(inputs), labels)
    assert task_loss(student, teacher, Batch(inputs, labels), recipe, AIM).item() == entropy.item()
    with torch.no_grad():
        student.first[0].weight[0] += 0.1
        entropy = F.cross_entropy(student(inputs), labels)
    assert task_loss(student, teacher, Batch(inputs, labels), recipe, AIM).item() > entropy.item() + 1e-6


@MODES
def test_a_network_without_replaced_layers_learns_from_the_labels_alone(recipe: Recipe) -> None:
    student, (inputs, labels) = tiny_net(1).double(), batch()
    loss = task_loss(student, tiny_net().double(), Batch(inputs, labels), recipe, AIM)
    assert loss.item() == F.cross_entropy(student(inputs), labels).item()


# -- calls -------------------------------------------------------------------------------------------------------------


class Twice(nn.Module):
    """One layer that is called twice, and one whose output an activation writes over."""

    def __init__(self, inplace: bool = False, calls: int = 2) -> None:
        super().__init__()
        self.stem, self.again, self.head = nn.Linear(36, 6), nn.Linear(6, 6), nn.Linear(6, 3)
        self.activation, self.calls = nn.ReLU(inplace), calls

    def forward(self, images: Tensor) -> Tensor:
        features = self.activation(self.stem(images.flatten(1)))
        for _ in range(self.calls):
            features = self.activation(self.again(features))
        logits: Tensor = self.head(features)
        return logits


TWICE = RankPlan({"stem": Choice("svd", (2,)), "again": Choice("svd", (2,))})


def twice(inplace: bool = False) -> tuple[nn.Module, nn.Module]:
    with torch.random.fork_rng():
        torch.manual_seed(5)
        return pair(Twice(inplace), TWICE)


@pytest.mark.parametrize("inplace", [False, True])
def test_every_call_counts_with_the_output_as_the_layer_gave_it(inplace: bool) -> None:
    (student, teacher), (inputs, labels) = twice(inplace), batch()
    logits, ours = outputs(twice()[0], list(TWICE), inputs)
    _, theirs = outputs(twice()[1], list(TWICE), inputs)
    errors = [(a - b).square() for a, b in zip(ours, theirs, strict=True)]
    assert len(errors) == 3
    assert all((output < 0).any() for output in (*ours, *theirs))
    entropy = F.cross_entropy(logits, labels).item()
    expected = entropy + 0.3 * sum(error.mean().item() for error in errors) / 3
    loss = task_loss(student, teacher, Batch(inputs, labels), LAYERS, AIM)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    loss.backward()
    of_weights = sum(
        (
            teacher.get_submodule(name).weight
            - student.get_submodule(name)[1].weight @ student.get_submodule(name)[0].weight
        )
        .square()
        .sum()
        .item()
        for name in TWICE
    )
    expected = entropy + 0.5 * (of_weights + sum(error.sum().item() for error in errors) / 5)
    assert task_loss(student, teacher, Batch(inputs, labels), SUM, AIM).item() == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(
    ("calls", "message"), [(1, "teacher calls the layer 'again' more"), (3, "'again' is not called")]
)
def test_other_calls_than_the_teachers_are_an_error_that_names_the_layer(calls: int, message: str) -> None:
    student, teacher = twice()
    student.calls = calls
    with pytest.raises(EvaluationError, match=message):
        task_loss(student, teacher, Batch(*batch()), LAYERS, AIM)
    assert hooks(student, teacher) == 0


@pytest.mark.parametrize("teacher", [nn.Flatten(), compress(tiny_net(), PLAN)], ids=["other", "compressed"])
def test_a_teacher_that_is_not_the_dense_network_is_refused(teacher: nn.Module) -> None:
    with pytest.raises(InvalidInputError, match="the teacher has no dense layer 'first'"):
        task_loss(pair()[0], teacher, Batch(*batch()), LAYERS, AIM)


# -- what is left behind -----------------------------------------------------------------------------------------------


def hooks(*nets: nn.Module) -> int:
    """Hooks, and layers that something listens to."""
    return sum(len(module._forward_hooks) + ("forward" in vars(module)) for net in nets for module in net.modules())


@MODES
def test_no_hook_stays_and_others_stay(recipe: Recipe) -> None:
    student, teacher = pair()
    seen: list[int] = []

    def count(module: nn.Module, arguments: Any, output: Any) -> None:
        seen.append(hooks(student, teacher))

    handles = [net.norm2.register_forward_hook(count) for net in (student, teacher)]
    task_loss(student, teacher, Batch(*batch()), recipe, AIM)
    assert seen == [2 + 3, 2 + 3]  # three while the teacher runs, three while the network does
    assert hooks(student, teacher) == 2
    for handle in handles:
        handle.remove()


@pytest.mark.parametrize("failing", ["student", "teacher"])
def test_no_hook_stays_when_a_network_fails(failing: str) -> None:
    student, teacher = pair()

    def fail(module: nn.Module, arguments: Any) -> None:
        raise RuntimeError(f"broken with {hooks(student, teacher)} hooks")

    (student if failing == "student" else teacher).norm2.register_forward_pre_hook(fail)
    with pytest.raises(RuntimeError, match="broken with 3 hooks"):
        task_loss(student, teacher, Batch(*batch()), LAYERS, AIM)
    assert hooks(student, teacher) == 0


@MODES
def test_the_gradient_reaches_every_factor_and_nothing_of_the_teacher(recipe: Recipe) -> None:
    student, teacher = pair()
    before = [value.clone() for value in teacher.state_dict().values()]
    task_loss(student, teacher, Batch(*batch()), recipe, AIM).backward()
    assert all(parameter.requires_grad and parameter.grad is None for parameter in teacher.parameters())
    for name in PLAN:
        assert all(float(parameter.grad.norm()) > 0 for parameter in student.get_submodule(name).parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, teacher.state_dict().values(), strict=True))


# -- training ----------------------------------------------------------------------------------------------------------


def layer_term(student: nn.Module) -> float:
    """The mean squared difference over the training images, by hooks of the test's own."""
    data = tiny_data()
    inputs = data.normalise(data.train.images)
    with torch.no_grad():
        ours, theirs = (outputs(net, list(PLAN), inputs)[1] for net in (student.eval(), tiny_net()))
    return sum(float((a - b).square().mean()) for a, b in zip(ours, theirs, strict=True)) / 3


@MODES
def test_a_short_training_lowers_the_layer_term_and_by_more_than_the_labels_alone_do(recipe: Recipe) -> None:
    start = tiny_task(Budget(macs=0.8)).compress(PLAN)

    def trained(recipe: Recipe) -> float:
        return layer_term(train(copy.deepcopy(start), tiny_data(), recipe, seed=0, teacher=tiny_net()))

    recipe = dataclasses.replace(recipe, distill_weight=30.0, epochs=8)
    after, without = trained(recipe), trained(dataclasses.replace(recipe, distill_weight=0.0))
    assert after < 0.85 * layer_term(start)
    assert after < 0.5 * without


@MODES
def test_a_seed_fixes_every_bit_and_another_seed_gives_others(recipe: Recipe) -> None:
    task = tiny_task(Budget(macs=0.8), recipe=recipe)
    first, again, other = (
        list(task.under(task.budget, seed=seed).finetune(PLAN).state_dict().values()) for seed in (1, 1, 2)
    )
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


# -- options -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"distill": "layer"},
            r"distill='layer' is not allowed \(did you mean 'layers'\?\): it must be logits or layers",
        ),
        (
            {"distill": 0.5},
            r"distill=0.5 is not allowed: it must be logits or layers; a weight goes to distill_weight$",
        ),
        ({"distill_weight": 1.5}, "distill_weight=1.5 is not allowed: it must be from 0 to 1$"),
        ({"distill": "layers", "distill_weight": -1}, "distill_weight=-1 is not allowed: it must be from 0$"),
        ({"layer_sum": True}, "layer_sum=True is not allowed with distill=logits: .* or True with distill=layers$"),
        ({"distill": "layers", "layer_sum": 1}, "layer_sum=1 is not allowed"),
    ],
)
def test_options_that_cannot_be_are_refused_in_one_line(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        Recipe(**options)
    assert "\n" not in str(caught.value)


FINETUNE = "tasks.digits.finetune"


def test_a_config_file_sets_every_option_and_reads_back_as_it_was_written(tmp_path: Path) -> None:
    keys = {"distill": "layers", "distill_weight": "1.5", "layer_sum": "true"}
    config = load_config("quickstart", [f"{FINETUNE}.{key}={value}" for key, value in keys.items()])
    expected = Recipe(epochs=2, lr=0.01, distill="layers", distill_weight=1.5, layer_sum=True)
    assert config.tasks["digits"].finetune == expected
    (tmp_path / "again.yaml").write_text(config.to_yaml())
    assert load_config(tmp_path / "again.yaml").tasks["digits"].finetune == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("distill=0.5", "distill='0.5' is not allowed: it must be logits or layers; a weight goes to distill_weight"),
        ("distill=1", "distill='1' is not allowed: it must be logits or layers; a weight goes to distill_weight"),
        ("distill=layer", r"distill='layer' is not allowed \(did you mean 'layers'\?\)"),
        ("distill=true", "finetune.distill: .*string.*True was given"),
        ("distil_weight=0.5", "unknown key 'tasks.digits.finetune.distil_weight' .did you mean 'distill_weight'"),
    ],
)
def test_a_config_file_with_another_value_is_refused_in_one_line(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        load_config("quickstart", [f"{FINETUNE}.{setting}"])
    assert "\n" not in str(caught.value)
    assert FINETUNE in str(caught.value)


def test_a_one_shot_search_of_a_task_that_distils_from_layers_keeps_its_own_loss() -> None:
    losses = []
    for recipe in (SHORT, SUM):
        task = tiny_task(recipe=recipe)
        training = OneShotTraining(task, tiny_net(), TrainingOptions(epochs=1, lr=0.1, distill=0.4), seed=0)
        losses.append(training.run(1, {}, 0.0))
    assert losses[0] == losses[1]
