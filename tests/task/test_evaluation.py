"""Loss and accuracy against the same numbers worked out in float64."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tiny_task import TinyNet, tiny_data, tiny_net
from torch import Tensor, nn

from rank_search.errors import EvaluationError, InvalidInputError
from rank_search.task import ImageData, ImageSet
from rank_search.task.evaluation import BATCH, validate
from rank_search.task.objectives.classification import Classification

pytestmark = pytest.mark.usefixtures("single_thread")


def linear_net(classes: int = 3) -> nn.Sequential:
    with torch.random.fork_rng():
        torch.manual_seed(1)
        return nn.Sequential(nn.Flatten(), nn.Linear(36, classes))


def many_images(count: int) -> ImageSet:
    rng = np.random.default_rng(3)
    return ImageSet.from_arrays(rng.integers(0, 256, (count, 6, 6, 1)).astype(np.uint8), rng.integers(0, 3, count))


def data_of(images: ImageSet) -> ImageData:
    return ImageData(images, images, None, mean=(0.35,), std=(0.2,))


def test_loss_and_accuracy_are_those_worked_out_by_hand_over_unequal_batches() -> None:
    images, net = many_images(2 * BATCH + 120), linear_net()
    weight, bias = (parameter.detach().double().numpy() for parameter in net[1].parameters())
    inputs = (images.images.numpy().astype(np.float64) / 255 - 0.35) / 0.2
    logits = inputs.reshape(len(images), -1) @ weight.T + bias
    labels = images.labels.numpy()
    log_sums = np.log(np.exp(logits).sum(1))
    losses = log_sums - logits[np.arange(len(labels)), labels]

    found = validate(net, data_of(images), images, Classification())
    assert found.samples == 620
    assert found.score == pytest.approx(losses.mean(), rel=1e-6)
    assert found.measures["accuracy"] == (logits.argmax(1) == labels).sum() / 620


def test_validation_is_in_evaluation_mode_and_takes_no_gradient() -> None:
    seen: list[tuple[bool, bool]] = []

    class Watching(TinyNet):
        def forward(self, images: Tensor) -> Tensor:
            seen.append((self.training, torch.is_grad_enabled()))
            return super().forward(images)

    net, data = Watching().train(), tiny_data()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    validate(net, data, data.validation, Classification())
    assert seen == [(False, False)]
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_outputs_that_are_not_finite_are_an_error(value: float) -> None:
    net, data = tiny_net(), tiny_data()
    with torch.no_grad():
        net.head.weight[1, 2] = value
    with pytest.raises(EvaluationError, match="the validation loss is nan: the network's outputs are not finite"):
        validate(net, data, data.validation, Classification())


def test_a_network_of_another_shape_is_an_error_of_one_line() -> None:
    data = tiny_data()
    with pytest.raises(EvaluationError, match="the network cannot be validated: RuntimeError: ") as caught:
        validate(nn.Sequential(nn.Flatten(), nn.Linear(7, 3)), data, data.validation, Classification())
    assert "\n" not in str(caught.value)


def test_a_network_with_too_few_outputs_does_not_fit_and_the_label_is_said() -> None:
    data = tiny_data()
    with pytest.raises(
        InvalidInputError, match=r"a target is 2, and the network's outputs \[30, 2\] stand for .* 0 to 1"
    ):
        validate(linear_net(classes=2), data, data.validation, Classification())
