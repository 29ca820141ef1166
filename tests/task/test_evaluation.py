"""Loss, accuracy and recalibrated batch norm against the same numbers worked out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_task import TinyNet, tiny_data, tiny_net
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.errors import EvaluationError
from rank_search.task import Data, ImageSet
from rank_search.task.evaluation import BATCH, recalibrate, validate

pytestmark = pytest.mark.usefixtures("single_thread")


def linear_net(classes: int = 3) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, classes))


def many_images(count: int) -> ImageSet:
    rng = np.random.default_rng(3)
    return ImageSet.from_arrays(rng.integers(0, 256, (count, 6, 6, 1)).astype(np.uint8), rng.integers(0, 3, count))


def data_of(images: ImageSet) -> Data:
    return Data(images, images, None, mean=(0.35,), std=(0.2,))


def test_loss_and_accuracy_are_those_worked_out_by_hand_over_unequal_batches() -> None:
    images, net = many_images(2 * BATCH + 120), linear_net()
    weight, bias = (parameter.detach().double().numpy() for parameter in net[1].parameters())
    inputs = (images.images.numpy().astype(np.float64) / 255 - 0.35) / 0.2
    logits = inputs.reshape(len(images), -1) @ weight.T + bias
    labels = images.labels.numpy()
    log_sums = np.log(np.exp(logits).sum(1))
    losses = log_sums - logits[np.arange(len(labels)), labels]

    found = validate(net, data_of(images), images)
    assert found.images == 620
    assert found.loss == pytest.approx(losses.mean(), rel=1e-6)
    assert found.accuracy == (logits.argmax(1) == labels).sum() / 620


def test_validation_is_in_evaluation_mode_and_takes_no_gradient() -> None:
    seen: list[tuple[bool, bool]] = []

    class Watching(TinyNet):
        def forward(self, images: Tensor) -> Tensor:
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(images)

    net, data = Watching().train(), tiny_data()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    validate(net, data, data.validation)
    assert seen == [(False, False)]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_an_error(value: float) -> None:
    net, data = tiny_net(), tiny_data()
    with torch.no_grad():
        net.head.weight[1, 2] = value
    with pytest.raises(EvaluationError, match="the validation loss is nan: the network's outputs are not finite"):
        validate(net, data, data.validation)


def test_a_network_with_too_few_outputs_or_of_another_shape_is_an_error_of_one_line() -> None:
    data = tiny_data()
    for net in (linear_net(classes=2), nn.Sequential(nn.Flatten(), nn.Linear(7, 3))):
        with pytest.raises(EvaluationError, match="the network cannot be validated: ") as caught:
            validate(net, data, data.validation)
        assert "\n" not in str(caught.value)


def test_recalibrated_statistics_are_the_mean_over_batches_of_the_batch_statistics() -> None:
    net = tiny_net()
    with torch.random.fork_rng():
        torch.manual_seed(5)
        batches = [torch.randn(count, 1, 6, 6) * 2 + 1 for count in (11, 7, 2)]
    expected: list[list[tuple[Tensor, Tensor]]] = [[], []]
    exact = {name: value.double() for name, value in net.state_dict().items()}
    for batch in batches:
        features = batch.double()
        for place, (layer, norm, stride) in enumerate((("first", "norm1", 1), ("second", "norm2", 2))):
            bias = exact.get(f"{layer}.bias")
            features = F.conv2d(features, exact[f"{layer}.weight"], bias, stride=stride, padding=1)
            values = features.transpose(0, 1).flatten(1)
            mean, n = values.mean(1), values.shape[1]
            squares = (values - mean[:, None]).square().sum(1)
            expected[place].append((mean, squares / (n - 1)))  # torch keeps the unbiased variance, uses the biased
            scale = exact[f"{norm}.weight"] / (squares / n + 1e-5).sqrt()
            shift = exact[f"{norm}.bias"] - mean * scale
            features = F.relu(features * scale[:, None, None] + shift[:, None, None])

    recalibrate(net, iter(batches))
    for norm, statistics in zip((net.norm1, net.norm2), expected, strict=True):
        mean = torch.stack([mean for mean, _ in statistics]).mean(0)
        variance = torch.stack([variance for _, variance in statistics]).mean(0)
        assert norm.running_mean is not None
        assert norm.running_var is not None
        torch.testing.assert_close(norm.running_mean.double(), mean, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(norm.running_var.double(), variance, rtol=1e-5, atol=1e-6)


def test_recalibration_changes_nothing_but_the_statistics() -> None:
    net = tiny_net()
    net.norm1.momentum, net.norm2.momentum = 0.03, None
    net.train()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    recalibrate(net, [torch.randn(9, 1, 6, 6)])
    changed = {name for name, value in net.state_dict().items() if not torch.equal(value, before[name])}
    statistics = {f"{norm}.{name}" for norm in ("norm1", "norm2") for name in ("running_mean", "running_var")}
    assert statistics <= changed <= statistics | {"norm1.num_batches_tracked", "norm2.num_batches_tracked"}
    assert (net.norm1.momentum, net.norm2.momentum) == (0.03, None)
    assert not any(module.training for module in net.modules())
    assert all(parameter.grad is None for parameter in net.parameters())


def test_dropout_is_off_while_statistics_are_gathered() -> None:
    net = nn.Sequential(nn.Flatten(), nn.Dropout(0.9), nn.BatchNorm1d(36))
    inputs = torch.randn(50, 1, 6, 6)
    recalibrate(net, [inputs])
    torch.testing.assert_close(net[2].running_mean, inputs.flatten(1).mean(0))


def test_momenta_come_back_when_the_network_fails() -> None:
    net = tiny_net()
    with pytest.raises(EvaluationError, match="batch norm cannot be recalibrated: RuntimeError: ") as caught:
        recalibrate(net, [torch.randn(4, 3, 6, 6)])
    assert "\n" not in str(caught.value)
    assert (net.norm1.momentum, net.norm2.momentum) == (0.1, 0.1)
    assert not any(module.training for module in net.modules())


def test_networks_whose_norms_keep_no_statistics_are_not_run() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.GroupNorm(1, 2))
    batches = iter([torch.randn(2, 1, 6, 6)])
    recalibrate(net, batches)
    assert len(list(batches)) == 1
