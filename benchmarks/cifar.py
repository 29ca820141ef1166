"""The CIFAR ResNet-20 of two benchmarks, with trained or random weights."""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from rank_search.task.models import load_model


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", default=None, help="a .safetensors or .pt file; default: random, seed 0")


def resnet20(weights: str | None) -> tuple[nn.Module, Tensor]:
    """The network and an example input; says which weights it has."""
    torch.manual_seed(0)
    model = load_model("cifar_resnet20", weights)
    print(f"CIFAR ResNet-20, weights: {'random initialisation, seed 0' if weights is None else weights}")
    return model, torch.randn(1, 3, 32, 32)
