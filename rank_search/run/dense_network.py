"""The dense network of a task: read, or trained on the spot and cached."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

import torch
from torch import nn

from rank_search import __version__
from rank_search.errors import InvalidInputError
from rank_search.files import write_tensors
from rank_search.run.config import TaskConfig
from rank_search.run.task_space import bare_space
from rank_search.task import Data, load_model
from rank_search.task.networks.weights import check_finite, load_weights
from rank_search.task.training import train

DENSE_WEIGHTS = "dense.safetensors"


def dense_model(section: TaskConfig, data: Data, device: str = "cpu") -> nn.Module:
    """The dense network with its weights: from the file, or trained on the spot and cached for this user.

    Raises:
        WeightsError: if the file does not fit.
    """
    settings = section.model
    if settings.weights is not None:
        return with_weights(section, Path(settings.weights))
    assert settings.train is not None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        model = load_model(settings.name, **settings.options)
    if settings.train.epochs == 0:
        check_finite(model)
        return model
    bare_space(section, model, data)  # what is wrong with the network or the space is said before it is trained
    cached = cache_folder() / "dense" / f"{_training_key(section, model, data, device)}.safetensors"
    if cached.exists():
        try:
            return with_weights(section, cached)
        except InvalidInputError:
            cached.unlink(missing_ok=True)
    train(model.to(device), data, settings.train, seed=0, objective=section.objective)
    check_finite(model)
    write_tensors(cached, model.state_dict())
    return model


def with_weights(section: TaskConfig, path: Path) -> nn.Module:
    model = load_model(section.model.name, **section.model.options)
    load_weights(model, path)
    return model.eval()


def _training_key(section: TaskConfig, model: nn.Module, data: Data, device: str) -> str:
    """A hash of all that the training starts from: network, data, recipe, objective, device."""
    texts, tensors = data.fingerprint()
    facts = [__version__, repr(model), str(section.model.train), str(section.objective), device, *texts]
    digest = hashlib.sha256(json.dumps(facts).encode())
    for tensor in (*model.state_dict().values(), *tensors):
        digest.update(tensor.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()[:32]


def cache_folder() -> Path:
    """``$RANK_SEARCH_CACHE``, or ``rank-search`` in the user's cache folder."""
    given = os.environ.get("RANK_SEARCH_CACHE")
    if given:
        return Path(given)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "rank-search"
