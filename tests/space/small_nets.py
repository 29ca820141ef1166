"""Networks of a few hundred weights, each with something that a count of costs can get wrong."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class ConvNet(nn.Module):
    """Strides, a kernel that is not square, a strided 1x1 shortcut, biases, batch norm, a layer that stays dense."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(2, 6, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.wide = nn.Conv2d(6, 8, (1, 3), stride=2, padding=(0, 1))
        self.shortcut = nn.Conv2d(6, 8, 1, stride=2)
        self.depthwise = nn.Conv2d(8, 8, 3, groups=8)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        features = F.relu(self.bn(self.stem(images)))
        features = F.relu(self.wide(features) + self.shortcut(features))
        pooled: Tensor = self.head(self.depthwise(features).mean((2, 3)))
        return pooled


CONV_NET_INPUT = (1, 2, 9, 11)


class Tiny(nn.Module):
    """Few enough plans to list them all: each layer has one form under ``("tucker2", "svd")``."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(2, 3, 3)
        self.second = nn.Conv2d(3, 4, (2, 1), stride=2)
        self.head = nn.Linear(4, 5)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.second(self.first(images)).mean((2, 3)))
        return logits


TINY_INPUT = (1, 2, 6, 6)


class Padded(nn.Conv2d):
    """A subclass, which may compute anything."""


class Zoo(nn.Module):
    """One layer for every reason why a layer cannot be decomposed, and one of every kind that can."""

    def __init__(self) -> None:
        super().__init__()
        self.plain = nn.Conv2d(3, 8, 3, padding=1)
        self.depthwise = nn.Conv2d(8, 8, 3, padding=1, groups=8)
        self.grouped = nn.Conv2d(8, 8, 3, padding=1, groups=2)
        self.pointwise = nn.Conv2d(8, 8, 1)
        self.upward = nn.ConvTranspose2d(8, 8, 2)
        self.small = nn.Conv2d(8, 1, 3, padding=1)
        self.narrow = nn.Conv2d(1, 1, 3, padding=1)
        self.own = Padded(1, 1, 1)
        self.series = nn.Conv1d(1, 8, 1)
        self.rise = nn.ConvTranspose1d(8, 8, 1)
        self.embedding = nn.Embedding(8, 8)
        self.tied = nn.Linear(8, 8, bias=False)
        self.tied.weight = self.embedding.weight
        self.one = nn.Linear(8, 8)
        self.other = nn.Linear(8, 8)
        self.other.weight = self.one.weight
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.idle = nn.Linear(8, 8)

    def forward(self, images: Tensor) -> Tensor:
        features = self.upward(self.pointwise(self.grouped(self.depthwise(self.plain(images)))))
        rows = self.own(self.narrow(self.small(features))).flatten(2)
        tokens = self.rise(self.series(rows)).transpose(1, 2)
        tokens = self.other(self.one(self.tied(tokens)))
        attended: Tensor = self.attention(tokens, tokens, tokens)[0]
        return attended


ZOO_INPUT = (1, 3, 6, 6)


class Shaped(nn.Module):
    """Layers that run on more than the batch: tokens, calls in a row, samples folded into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.tokens = nn.Linear(12, 10)
        self.twice = nn.Linear(10, 10)
        self.folded = nn.Linear(10, 16)
        self.frames = nn.Conv2d(4, 6, (2, 1))
        self.unbatched = nn.Conv2d(6, 6, (2, 1))

    def forward(self, series: Tensor) -> Tensor:
        """``[N, T, 12]`` to ``[N, 6, 6, 2]``."""
        tokens = self.twice(F.relu(self.twice(self.tokens(series))))
        count, length, width = tokens.shape
        maps = self.folded(tokens.reshape(count * length, width)).reshape(count * length, 4, 2, 2)
        frames = self.frames(maps).reshape(count, length, 6, 1, 2).transpose(1, 2).squeeze(3)
        return torch.stack([self.unbatched(frame) for frame in frames])


SHAPED_INPUT = (1, 7, 12)


class Frames(nn.Module):
    """Every kind of convolution, grouped ones, strides, and frames of one sample folded into the batch."""

    def __init__(self) -> None:
        super().__init__()
        self.film = nn.Conv3d(4, 6, (2, 3, 3), padding=(1, 1, 1), stride=(1, 2, 1))
        self.down = nn.Conv2d(6, 8, 3, stride=(2, 1), padding=1, groups=2)
        self.up = nn.ConvTranspose2d(8, 6, 3, stride=2, output_padding=(1, 0), groups=2)
        self.time = nn.Conv1d(6, 8, 3, dilation=2, padding_mode="circular", padding=1)
        self.head = nn.Linear(8, 5)

    def forward(self, films: Tensor) -> Tensor:
        """``[N, 4, T, H, W]`` to ``[N, 5]``."""
        films = F.relu(self.film(films))
        count, _, length = films.shape[:3]
        frames = self.up(self.down(films.transpose(1, 2).flatten(0, 1)))
        series = frames.mean((2, 3)).reshape(count, length, -1).transpose(1, 2)
        logits: Tensor = self.head(self.time(series).mean(2))
        return logits


FRAMES_INPUT = (1, 4, 5, 6, 5)
