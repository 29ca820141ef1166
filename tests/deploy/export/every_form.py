"""A network with a layer for every form: strides, dilation, groups, a transposed and a 1-D convolution, tokens.

It imports torch alone, as a user's own network does.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SHAPE = (4, 10, 10)


class EveryForm(nn.Module):
    """``[N, 4, 10, 10]`` to ``[N, 6]``."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(4, 8, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.strided = nn.Conv2d(8, 8, 3, stride=2, padding=1)
        self.dilated = nn.Conv2d(8, 8, 3, dilation=2, padding=2)
        self.grouped = nn.Conv2d(8, 8, 3, groups=2, padding=1)
        self.split = nn.Conv2d(8, 8, 3, padding=1)
        self.rise = nn.ConvTranspose2d(8, 8, 3, stride=2, padding=1)
        self.point = nn.Conv2d(8, 8, 1)
        self.series = nn.Conv1d(8, 8, 5, stride=5)
        self.token = nn.Linear(8, 6)

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.norm(self.first(images)))
        features = F.relu(self.dilated(self.strided(features)))
        features = F.relu(self.split(self.grouped(features)))
        features = F.relu(self.point(self.rise(features, output_size=(10, 10))))
        tokens = self.series(features.flatten(2)).transpose(1, 2)
        logits: Tensor = self.token(tokens).mean(1)
        return logits


def drawn() -> EveryForm:
    """With batch-norm statistics of its own, in evaluation mode."""
    torch.manual_seed(0)
    network = EveryForm()
    with torch.no_grad():
        for _ in range(3):
            network(torch.randn(8, *SHAPE) + 1)
    return network.eval()
