"""The CIFAR ResNet-20 of several benchmarks, with trained or random weights, and its data."""

from __future__ import annotations

import argparse

import torch
from torch import Tensor, nn

from rank_search import load_data
from rank_search.space import patch_moments
from rank_search.task import ImageData
from rank_search.task.networks.models import load_model

CALIBRATION = 512


def add_weights(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--weights", default=None, help="a .safetensors or .pt file; default: random, seed 0")


def add_data(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--train", required=True, help="an .npz file of training images")
    parser.add_argument("--validation", required=True, help="an .npz file of validation images")


def add_network(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--model", default="cifar_resnet20")
    parser.add_argument("--weights", required=True)
    parser.add_argument("--cache", default=None, help="folder that keeps the decompositions for another run")


def moments_of(model: nn.Module, data: ImageData) -> dict[str, Tensor]:
    """Second moments of the patches of 512 training images."""
    samples = data.train.subset(CALIBRATION, seed=0)
    return patch_moments(model, (batch.inputs for batch in data.batches(samples, 128)), CALIBRATION)


def resnet20(weights: str | None) -> tuple[nn.Module, Tensor]:
    """The network and an example input; says which weights it has."""
    torch.manual_seed(0)
    model = load_model("cifar_resnet20", weights)
    print(f"CIFAR ResNet-20, weights: {'random initialisation, seed 0' if weights is None else weights}")
    return model, torch.randn(1, 3, 32, 32)


def load(arguments: argparse.Namespace) -> ImageData:
    """The images that :func:`add_data` names, normalised as the pretrained network expects."""
    return load_data(
        "npz",
        train=arguments.train,
        validation=arguments.validation,
        mean=[0.485, 0.456, 0.406],
        std=[0.229, 0.224, 0.225],
    )
