"""Models by name: families of ours, torchvision's, and any function of the user."""

from __future__ import annotations

import inspect
import re
from pathlib import Path
from typing import Any

from pydantic import PositiveInt
from torch import nn

from rank_search.errors import InvalidInputError, UnknownNameError
from rank_search.plugins import nearest
from rank_search.task.calling import call_users_function, call_with_options
from rank_search.task.networks.cifar_resnet import CifarResNet
from rank_search.task.networks.digits_net import digits_net
from rank_search.task.networks.digits_transformer import digits_transformer
from rank_search.task.networks.mnist1d_net import mnist1d_net
from rank_search.task.networks.weights import load_weights

SMALL = {"digits_net": digits_net, "digits_transformer": digits_transformer, "mnist1d_net": mnist1d_net}
NAMES = (
    *SMALL,
    *("cifar_resnet20", "cifar_resnet32", "cifar_resnet44", "cifar_resnet56", "cifar_resnet110"),
)
"""The names of our own models; ``cifar_resnetN`` exists for every N = 6n + 2."""


def load_model(name: str, weights: str | Path | None = None, **options: Any) -> nn.Module:
    """Builds a model, loads its weights and puts it in evaluation mode. Nothing is ever downloaded.

    Args:
        name: one of

            - ``digits_net``: options ``classes=10, width=16``; input ``[B, 1, 8, 8]``;
            - ``digits_transformer``: options ``classes=10, width=32, blocks=2, heads=4``; input ``[B, 1, 8, 8]``;
            - ``mnist1d_net``: options ``classes=10, width=16``; input ``[B, 1, L]``;
            - ``cifar_resnetN`` with N = 6n + 2: options ``classes=10, in_channels=3``; input ``[B, 3, 32, 32]``;
            - ``torchvision:NAME``: any model that torchvision lists, with that model's options;
            - ``module:function``: a function of yours, called with the options, that returns an ``nn.Module``.

        weights: a ``.safetensors``, ``.pt`` or ``.pth`` file (see :func:`load_weights`); without it the weights are
            freshly drawn from torch's global random generator.
        options: passed to the model.

    Returns:
        The model, on the CPU unless a function of yours puts it elsewhere.

    Raises:
        UnknownNameError: if there is no model of that name.
        InvalidInputError: if the model does not take these options.
        PluginError: if a function of yours raises or returns something else than a module.
        WeightsError: if the weights are missing, do not fit or are not finite.
    """
    model = _build(name, options)
    if weights is not None:
        load_weights(model, weights)
    return model.eval()


def _build(name: str, options: dict[str, Any]) -> nn.Module:
    if name in SMALL:
        return call_with_options(SMALL[name], options, f"model {name!r}", InvalidInputError)
    if match := re.fullmatch(r"cifar_resnet([0-9]+)", name):
        return _cifar_resnet(name, int(match[1]), options)
    if name.startswith("torchvision:"):
        return _torchvision_model(name, options)
    if ":" in name:
        return call_users_function(name, options, "model", nn.Module)
    hint = f" (did you mean 'torchvision:{name}'?)" if name in _torchvision_names() else nearest(name, NAMES)
    raise UnknownNameError(
        f"unknown model {name!r}{hint}; known: {', '.join(SMALL)}, cifar_resnetN with N = 6n + 2, "
        "torchvision:NAME, "
        "or give 'module:function'"
    )


def _cifar_resnet(name: str, depth: int, options: dict[str, Any]) -> nn.Module:
    blocks, rest = divmod(depth - 2, 6)
    if rest or blocks < 1:
        closest = 6 * max(1, round((depth - 2) / 6)) + 2
        raise UnknownNameError(
            f"unknown model {name!r} (did you mean 'cifar_resnet{closest}'?); the depth N of cifar_resnetN must be "
            "6n + 2 with n >= 1: 8, 14, 20, 26, 32, 44, 56, 110, ..."
        )

    def build(classes: PositiveInt = 10, in_channels: PositiveInt = 3) -> nn.Module:
        return CifarResNet(blocks, classes, in_channels)

    return call_with_options(build, options, f"model {name!r}", InvalidInputError)


def _torchvision_model(name: str, options: dict[str, Any]) -> nn.Module:
    from torchvision import models

    short = name.removeprefix("torchvision:")
    known = _torchvision_names()
    if short not in known:
        raise UnknownNameError(f"torchvision has no model {short!r}{nearest(short, known)}; it has {len(known)} models")
    for option, value in options.items():
        if option.startswith(("weights", "pretrained")) and value:
            raise InvalidInputError(
                f"model {name!r}: the option {option!r} would download weights; give a file of weights instead"
            )
    if "weights_backbone" in inspect.signature(models.get_model_builder(short)).parameters:
        options = {**options, "weights_backbone": None}  # its default downloads
    try:
        model: nn.Module = models.get_model(short, weights=None, **options)
    except Exception as error:
        raise InvalidInputError(
            f"model {name!r} does not take the options {options}: {type(error).__name__}: {error}"
        ) from error
    return model


def _torchvision_names() -> list[str]:
    from torchvision import models

    names: list[str] = models.list_models()
    return names
