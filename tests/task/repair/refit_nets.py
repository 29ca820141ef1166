"""Small networks with something awkward each."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class Residual(nn.Module):
    """A block with batch norms and a strided shortcut, and a classifier."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm0 = nn.Conv2d(3, 6, 3, padding=1, bias=False), nn.BatchNorm2d(6)
        self.conv1, self.norm1 = nn.Conv2d(6, 8, 3, stride=2, padding=1, bias=False), nn.BatchNorm2d(8)
        self.conv2, self.norm2 = nn.Conv2d(8, 8, 3, padding=1), nn.BatchNorm2d(8)
        self.short, self.norm3 = nn.Conv2d(6, 8, 1, stride=2, bias=False), nn.BatchNorm2d(8)
        self.head = nn.Linear(8, 5)

    def forward(self, images: Tensor) -> Tensor:
        trunk = F.relu(self.norm0(self.stem(images)))
        inner = F.relu(self.norm1(self.conv1(trunk)))
        joined = F.relu(self.norm2(self.conv2(inner)) + self.norm3(self.short(trunk)))
        logits: Tensor = self.head(joined.mean((2, 3)))
        return logits


class Attention(nn.Module):
    """Queries, keys and values from one tensor; tokens ``[N, T, 8]``, or ``[T, N, 8]`` inside if sequences go first."""

    def __init__(self, sequence_first: bool = False) -> None:
        super().__init__()
        self.q, self.k, self.v = nn.Linear(8, 8), nn.Linear(8, 8, bias=False), nn.Linear(8, 8)
        self.out = nn.Linear(8, 6)
        self.sequence_first = sequence_first

    def forward(self, tokens: Tensor) -> Tensor:
        if self.sequence_first:
            tokens = tokens.transpose(0, 1)
        q, k, v = self.q(tokens), self.k(tokens), self.v(tokens)
        if self.sequence_first:
            mixed = F.scaled_dot_product_attention(*(value.transpose(0, 1) for value in (q, k, v))).transpose(0, 1)
        else:
            mixed = F.scaled_dot_product_attention(q, k, v)
        out: Tensor = self.out(tokens + mixed)
        return out.transpose(0, 1) if self.sequence_first else out


class Twice(nn.Module):
    """One layer, called on what it put out, and once more through ``forward`` by keyword if asked to."""

    def __init__(self, keyword: bool = False, bias: bool = True) -> None:
        super().__init__()
        self.ahead, self.shared, self.head = nn.Linear(6, 8), nn.Linear(8, 8, bias=bias), nn.Linear(8, 3)
        self.keyword = keyword

    def forward(self, inputs: Tensor) -> Tensor:
        features = F.relu(self.shared(torch.tanh(self.ahead(inputs))))
        again = self.shared.forward(input=features) if self.keyword else self.shared(features)
        out: Tensor = self.head(again)
        return out


class Keyword(nn.Module):
    """Layers called through ``forward`` with a keyword argument only."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.head = nn.Conv1d(4, 6, 3, padding=1), nn.Linear(6, 3)

    def forward(self, signals: Tensor) -> Tensor:
        out: Tensor = self.head.forward(input=F.relu(self.conv.forward(input=signals)).mean(2))
        return out


class InPlace(nn.Module):
    """ReLUs and sums in place, and an input that is changed."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1, self.conv2, self.conv3 = (nn.Conv2d(4, 4, 3, padding=1, bias=at > 0) for at in range(3))
        self.relu = nn.ReLU(inplace=True)

    def forward(self, images: Tensor) -> Tensor:
        images += 0.5
        features = self.relu(self.conv1(images))
        branch = self.conv2(features)
        features += self.relu(branch)
        out: Tensor = self.conv3(features).mul_(2)
        return out


class Dropping(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.first, self.drop, self.second = nn.Linear(6, 8), nn.Dropout(0.5), nn.Linear(8, 4)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.second(self.drop(F.relu(self.first(inputs))))
        return out


class Words(nn.Module):
    """Token numbers and a mask, by name; what it puts out is a mapping."""

    def __init__(self) -> None:
        super().__init__()
        self.embedding, self.inner, self.head = nn.Embedding(20, 8), nn.Linear(8, 8), nn.Linear(8, 3)

    def forward(self, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        hidden = F.gelu(self.inner(self.embedding(ids))) * mask[..., None]
        return {"logits": self.head(hidden.sum(1))}


class Pair(nn.Module):
    """Two inputs in their order."""

    def __init__(self) -> None:
        super().__init__()
        self.left, self.right, self.head = nn.Linear(6, 8), nn.Conv1d(3, 8, 3), nn.Linear(8, 4)

    def forward(self, vector: Tensor, signal: Tensor) -> tuple[Tensor, Tensor]:
        joined = torch.tanh(self.left(vector) + self.right(signal).mean(2))
        return self.head(joined), joined


class Fickle(nn.Module):
    """What it calls depends on the inputs: ``order``, ``skip`` or ``more``; the first input says which."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.a, self.b, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 4)
        self.how = how

    def forward(self, inputs: Tensor) -> Tensor:
        features, other = inputs, bool(inputs[0, 0] > 0)
        if self.how == "order":
            layers = [self.b, self.a] if other else [self.a, self.b]
        elif self.how == "skip":
            layers = [self.b] if other else [self.a, self.b]
        else:
            layers = [self.a, self.a, self.b] if other else [self.a, self.b]
        for layer in layers:
            features = torch.tanh(layer(features))
        out: Tensor = self.head(features)
        return out


class Uncalled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.used, self.spare = nn.Linear(6, 5), nn.Linear(6, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.used(inputs)
        return out
