"""What a network's first batch norm says of the images that it is given."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from rank_search.run.compression.normalisation import KNOWN, Normalisation, better_normalisation, misfit


def network(mean: list[float], deviation: list[float]) -> nn.Module:
    """Three colours as they come, and a batch norm that remembers such colours; one that comes later says nothing."""
    model = nn.Sequential(nn.Conv2d(3, 3, 1, bias=False), nn.BatchNorm2d(3), nn.ReLU(), nn.BatchNorm2d(3))
    with torch.no_grad():
        model[0].weight.copy_(torch.eye(3).reshape(3, 3, 1, 1))
        model[1].running_mean.copy_(torch.tensor(mean))
        model[1].running_var.copy_(torch.tensor(deviation) ** 2)
        model[3].running_mean.fill_(5)
    return model


def two_values(low: float, high: float) -> torch.Tensor:
    """Half of each, in all three colours: mean ``(low + high) / 2``, standard deviation ``(high - low) / 2``."""
    return torch.tensor([low, high]).repeat(8).reshape(4, 1, 2, 2).expand(-1, 3, -1, -1).contiguous()


def test_the_distance_of_two_normal_distributions_counted_by_hand() -> None:
    inputs = two_values(0.0, 2.0)  # mean 1, standard deviation 1
    assert misfit(network([1.0] * 3, [1.0] * 3), inputs) == pytest.approx(0, abs=1e-9)
    # a colour each: mean off by 2 of 1; deviation 1 where 2 is remembered; both
    found = misfit(network([3.0, 1.0, 0.0], [1.0, 2.0, 0.5]), inputs)
    assert found == pytest.approx((4 / 1 + 1 / 4 + (1 + 0.25) / 0.25) / 3, rel=1e-3)


def test_a_network_that_remembers_nothing_says_nothing() -> None:
    inputs = two_values(0.0, 2.0)
    assert misfit(network([0.0] * 3, [1.0] * 3), inputs) is None
    assert misfit(nn.Sequential(nn.Conv2d(3, 3, 1)), inputs) is None
    assert misfit(nn.Sequential(nn.BatchNorm2d(3, track_running_stats=False)), inputs) is None
    assert better_normalisation(nn.Sequential(nn.Conv2d(3, 3, 1)), inputs, KNOWN["ImageNet's"]) is None


@pytest.mark.parametrize("trained_with", KNOWN)
def test_the_normalisation_of_the_training_is_found(trained_with: str) -> None:
    images = two_values(0.2, 0.7)  # mean .45, standard deviation .25, of images from 0 to 1
    mean, std = KNOWN[trained_with]
    model = network([(0.45 - m) / s for m, s in zip(mean, std, strict=True)], [0.25 / s for s in std])
    for name, given in KNOWN.items():
        alike = name == trained_with or {"ImageNet's", "CIFAR-10's"} >= {name, trained_with}
        assert better_normalisation(model, images, given) == (None if alike else trained_with), name


def test_images_of_another_kind_are_no_reason_to_name_a_normalisation() -> None:
    mean, std = KNOWN["ImageNet's"]
    model = network([(0.9 - m) / s for m, s in zip(mean, std, strict=True)], [0.01 / s for s in std])
    dark = two_values(0.1, 0.2)
    assert misfit(model, dark) > 1  # type: ignore[operator]
    assert better_normalisation(model, dark, Normalisation(mean, std)) is None


def test_the_network_stays_as_it_was() -> None:
    model = network([0.0] * 3, [1.0] * 3).train()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    misfit(model, two_values(0.0, 2.0))
    assert model.training
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert "forward" not in vars(model[1])
