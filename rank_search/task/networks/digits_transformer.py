"""A small transformer that reads the rows of an 8 x 8 digit, made for benchmarks that finish in seconds."""

from __future__ import annotations

import torch
from pydantic import PositiveInt
from torch import Tensor, nn
from torch.nn import functional as F

ROWS = 8


class DigitsTransformer(nn.Module):
    """Eight tokens, one per row of pixels; blocks of pre-norm attention and a two-layer perceptron; mean pooling.

    Args:
        classes: outputs of the classifier.
        width: of a token.
        blocks: of attention and perceptron.
        heads: of the attention; they divide the width.
    """

    def __init__(self, classes: int = 10, width: int = 32, blocks: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.embed = nn.Linear(ROWS, width)
        self.places = nn.Parameter(0.02 * torch.randn(ROWS, width))
        self.blocks = nn.ModuleList(_Block(width, heads) for _ in range(blocks))
        self.norm = nn.LayerNorm(width)
        self.linear = nn.Linear(width, classes)

    def forward(self, images: Tensor) -> Tensor:
        """``[B, 1, 8, 8]`` float to logits ``[B, classes]``."""
        tokens = self.embed(images.squeeze(1)) + self.places
        for block in self.blocks:
            tokens = block(tokens)
        logits: Tensor = self.linear(self.norm(tokens).mean(dim=1))
        return logits


class _Block(nn.Module):
    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self._heads = heads
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.out = nn.Linear(width, 3 * width), nn.Linear(width, width)
        self.fc1, self.fc2 = nn.Linear(width, 2 * width), nn.Linear(2 * width, width)

    def forward(self, tokens: Tensor) -> Tensor:
        batch, length, width = tokens.shape
        mixed = self.qkv(self.norm1(tokens)).view(batch, length, 3, self._heads, -1)
        query, key, value = mixed.permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(query, key, value).transpose(1, 2).reshape(batch, length, width)
        tokens = tokens + self.out(attended)
        perceptron: Tensor = self.fc2(F.gelu(self.fc1(self.norm2(tokens))))
        return tokens + perceptron


def digits_transformer(
    classes: PositiveInt = 10, width: PositiveInt = 32, blocks: PositiveInt = 2, heads: PositiveInt = 4
) -> nn.Module:
    """A freshly initialised :class:`DigitsTransformer`."""
    return DigitsTransformer(classes, width, blocks, heads)
