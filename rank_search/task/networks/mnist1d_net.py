"""A small one-dimensional convolutional network for MNIST-1D's signals, made for benchmarks that finish in seconds."""

from __future__ import annotations

from itertools import pairwise

from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F


class Mnist1dNet(nn.Module):
    """Six convolutions of five taps with batch norm, two of stride 2, global average pooling and a linear classifier.

    Args:
        classes: outputs of the classifier.
        width: channels of the first two convolutions; the next two have twice as many, the last two three times.
    """

    def __init__(self, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        widths = [1, width, width, 2 * width, 2 * width, 3 * width, 3 * width]
        for number, (into, out) in enumerate(pairwise(widths), start=1):
            stride = 2 if number in (3, 5) else 1
            setattr(self, f"conv{number}", nn.Conv1d(into, out, 5, stride=stride, padding=2, bias=False))
            setattr(self, f"bn{number}", nn.BatchNorm1d(out))
        self.linear = nn.Linear(widths[-1], classes)

    def forward(self, signals: Tensor) -> Tensor:
        """``[B, 1, L]`` float to logits ``[B, classes]``."""
        features = signals
        for number in range(1, 7):
            convolution, norm = getattr(self, f"conv{number}"), getattr(self, f"bn{number}")
            features = F.relu(norm(convolution(features)))
        logits: Tensor = self.linear(features.mean(dim=2))
        return logits


def mnist1d_net(classes: PositiveInt = 10, width: PositiveInt = 16) -> nn.Module:
    """A freshly initialised :class:`Mnist1dNet`."""
    return Mnist1dNet(classes, width)
