"""The residual networks for 32 x 32 images: ResNet-20, 32, 44, 56, 110 and every other depth 6n + 2.

He, Zhang, Ren, Sun 2016, "Deep residual learning for image recognition", section 4.2, with the shortcuts that have no
parameters (option A).
"""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

WIDTHS = (16, 32, 64)
"""Channels of the three stages."""


class CifarResNet(nn.Module):
    """A 3 x 3 convolution, three stages of residual blocks, global average pooling and a linear classifier.

    Args:
        blocks: residual blocks per stage, n; the depth is 6n + 2.
        classes: outputs of the classifier.
        in_channels: channels of the images.
    """

    def __init__(self, blocks: int, classes: int = 10, in_channels: int = 3) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, WIDTHS[0], kernel_size=3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(WIDTHS[0])
        self.layer1 = _stage(WIDTHS[0], WIDTHS[0], blocks, stride=1)
        self.layer2 = _stage(WIDTHS[0], WIDTHS[1], blocks, stride=2)
        self.layer3 = _stage(WIDTHS[1], WIDTHS[2], blocks, stride=2)
        self.linear = nn.Linear(WIDTHS[2], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, images: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` float to logits ``[B, classes]``."""
        features = F.relu(self.bn1(self.conv1(images)))
        features = self.layer3(self.layer2(self.layer1(features)))
        logits: Tensor = self.linear(features.mean(dim=(2, 3)))
        return logits


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut that subsamples and appends zero channels, but learns nothing.

    Args:
        in_channels, out_channels: channels before and after.
        stride: of the first convolution and of the shortcut.
    """

    def __init__(self, in_channels: int, out_channels: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, out_channels, kernel_size=3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out_channels)
        self.conv2 = nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out_channels)
        self.stride = stride
        self.added = out_channels - in_channels

    def forward(self, features: Tensor) -> Tensor:
        """``[B, in_channels, H, W]`` to ``[B, out_channels, H / stride, W / stride]``, rounded up."""
        residual = F.relu(self.bn1(self.conv1(features)))
        residual = self.bn2(self.conv2(residual))
        shortcut = features[:, :, :: self.stride, :: self.stride] if self.stride > 1 else features
        if self.added:
            shortcut = F.pad(shortcut, (0, 0, 0, 0, self.added // 2, self.added - self.added // 2))
        return F.relu(residual + shortcut)


def _stage(in_channels: int, out_channels: int, blocks: int, stride: int) -> nn.Sequential:
    first = BasicBlock(in_channels, out_channels, stride)
    return nn.Sequential(first, *(BasicBlock(out_channels, out_channels, 1) for _ in range(blocks - 1)))
