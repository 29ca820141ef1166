"""Channels last in training: the same numbers, and only where the network can run so."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from rank_search.task.layout import channels_last


class Views(nn.Module):
    """Asks for a view of an activation, which channels last cannot give."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3)
        self.calls = 0

    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.conv(x).view(len(x), -1)


def last(module: nn.Conv2d) -> bool:
    return module.weight.is_contiguous(memory_format=torch.channels_last) and not module.weight.is_contiguous()


def test_a_network_of_images_is_laid_out_so_and_back_its_parameters_are_the_same_objects() -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.Flatten(), nn.Linear(4 * 36, 2))
    held = dict(network.named_parameters())
    with channels_last(network, torch.randn(2, 3, 8, 8)) as works:
        assert works
        assert last(network[0])
    assert network[0].weight.is_contiguous()
    assert all(parameter is held[name] for name, parameter in network.named_parameters())
    assert int(network[1].num_batches_tracked) == 0


@pytest.mark.parametrize("images", [torch.randn(2, 3, 8, 8), torch.full((2, 3, 8, 8), torch.nan)])
def test_a_network_that_cannot_run_so_stays_and_is_not_called(images: Tensor) -> None:
    network = Views()
    with channels_last(network, images) as works:
        assert not works
        assert network.conv.weight.is_contiguous()
    assert network.calls == 0


def test_a_network_without_images_stays() -> None:
    with channels_last(nn.Linear(3, 2), torch.randn(2, 3)) as works:
        assert not works


def test_gradients_are_those_of_the_other_layout() -> None:
    torch.manual_seed(0)
    network, images = (
        nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3, groups=4)),
        torch.randn(2, 3, 8, 8),
    )
    network(images).square().mean().backward()
    plain = [parameter.grad.clone() for parameter in network.parameters() if parameter.grad is not None]
    network.zero_grad()
    with channels_last(network, images):
        network(images).square().mean().backward()
    for parameter, wanted in zip(network.parameters(), plain, strict=True):
        assert torch.allclose(parameter.grad, wanted, atol=1e-6)  # type: ignore[arg-type]
