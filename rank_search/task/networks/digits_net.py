"""A small convolutional network for 8 x 8 digits, made for examples and tests that finish in seconds."""

from __future__ import annotations

from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F


class DigitsNet(nn.Module):
    """Five 3 x 3 convolutions with batch norm, one of stride 2, global average pooling and a linear classifier.

    Args:
        classes: outputs of the classifier.
        width: channels of the first two convolutions; the next two have twice as many, the last four times.
    """

    def __init__(self, classes: int = 10, width: int = 16) -> None:
        super().__init__()
        self.conv1, self.bn1 = _convolution(1, width), nn.BatchNorm2d(width)
        self.conv2, self.bn2 = _convolution(width, width), nn.BatchNorm2d(width)
        self.conv3, self.bn3 = _convolution(width, 2 * width, stride=2), nn.BatchNorm2d(2 * width)
        self.conv4, self.bn4 = _convolution(2 * width, 2 * width), nn.BatchNorm2d(2 * width)
        self.conv5, self.bn5 = _convolution(2 * width, 4 * width), nn.BatchNorm2d(4 * width)
        self.linear = nn.Linear(4 * width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 1, H, W]`` float to logits ``[B, classes]``."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = F.relu(self.bn2(self.conv2(features)))
        features = F.relu(self.bn3(self.conv3(features)))
        features = F.relu(self.bn4(self.conv4(features)))
        features = F.relu(self.bn5(self.conv5(features)))
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits


def digits_net(classes: PositiveInt = 10, width: PositiveInt = 16) -> nn.Module:
    """A freshly initialised :class:`DigitsNet`."""
    return DigitsNet(classes, width)


def _convolution(in_channels: int, out_channels: int, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
