"""What the refit is worth for a whole network: the bundled digits, against recalibration alone."""

from __future__ import annotations

import pytest
import torch
from repairing import cut, mended
from sklearn.datasets import load_digits
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.task.networks.digits_net import DigitsNet
from rank_search.task.repair.recalibration import recalibrate

FORMS_LISTS = [("svd_channel", "svd"), ("svd_spatial", "svd_channel", "svd"), ("tucker2", "svd")]


@pytest.fixture(scope="module")
def digits() -> tuple[nn.Module, Tensor, Tensor, Tensor]:
    """A trained network, calibration images, fresh images and their labels."""
    bunch = load_digits()
    images = torch.tensor(bunch.images, dtype=torch.float32)[:, None] / 16
    labels = torch.tensor(bunch.target)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = DigitsNet(width=6)
        optimiser = torch.optim.Adam(net.parameters(), lr=0.01)
        for _ in range(4):
            for rows in torch.randperm(1000).split(50):
                optimiser.zero_grad()
                F.cross_entropy(net(images[rows]), labels[rows]).backward()
                optimiser.step()
    return net.eval(), images[:512], images[1000:], labels[1000:]


@torch.no_grad()
def distance(model: nn.Module, dense: nn.Module, images: Tensor) -> float:
    """Of the probabilities: Kullback and Leibler's, in nats."""
    logits = [net(images).log_softmax(1) for net in (model, dense)]
    return float(F.kl_div(*logits, reduction="batchmean", log_target=True))


@pytest.mark.parametrize("size", [None, 200])
@pytest.mark.parametrize("forms", FORMS_LISTS)
def test_fresh_images_come_nearer_to_the_dense_network_than_by_recalibration_alone(
    digits: tuple[nn.Module, Tensor, Tensor, Tensor], forms: tuple[str, ...], size: int | None
) -> None:
    dense, calibration, fresh, labels = digits
    refitted, recalibrated = cut(dense, forms, share=0.5), cut(dense, forms, share=0.5)
    found = mended(refitted, dense, calibration, size)
    recalibrate(recalibrated, dense, [calibration])
    assert sum(value.left is None for value in found.values()) >= 4
    assert distance(refitted, dense, fresh) < 0.8 * distance(recalibrated, dense, fresh)
    with torch.no_grad():
        right = [int((net(fresh).argmax(1) == labels).sum()) for net in (dense, refitted, recalibrated)]
    assert right[0] > 0.85 * len(labels)
    assert right[1] >= right[2] - 0.01 * len(labels)
