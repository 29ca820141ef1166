"""MNIST-1D, generated on the spot."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rank_search.errors import DataError
from rank_search.task import TensorData, load_data, load_model


def test_it_is_the_published_set_and_the_same_every_time() -> None:
    one, other = (
        load_data("mnist1d", train=80, validation=10, test=10),
        load_data("mnist1d", train=80, validation=10, test=10),
    )
    assert isinstance(one, TensorData)
    assert isinstance(other, TensorData)
    inputs = one.train.inputs
    assert isinstance(inputs, torch.Tensor)
    assert inputs.shape == (80, 1, 40)
    assert torch.equal(inputs, other.train.inputs)  # type: ignore[arg-type]
    everything = [part.targets for part in (one.train, one.validation, one.test) if part is not None]
    labels = torch.cat(everything)  # type: ignore[arg-type]
    assert np.bincount(labels.numpy()).tolist() == [10] * 10


def test_the_generators_of_the_process_are_left_alone() -> None:
    before = np.random.get_state()[1].tolist(), torch.get_rng_state().tolist()  # type: ignore[index]
    load_data("mnist1d", train=20, validation=5, test=5)
    assert before == (np.random.get_state()[1].tolist(), torch.get_rng_state().tolist())  # type: ignore[index]


def test_a_set_without_samples_is_refused() -> None:
    with pytest.raises(DataError, match="validation=0 is not allowed"):
        load_data("mnist1d", validation=0)


@pytest.mark.parametrize(
    ("name", "options", "shape", "params"),
    [
        ("mnist1d_net", {"width": 8}, (2, 1, 40), None),
        ("digits_transformer", {"width": 16, "blocks": 1, "heads": 2}, (2, 1, 8, 8), None),
        ("mnist1d_net", {}, (2, 1, 40), 29_114),
        ("digits_transformer", {}, (2, 1, 8, 8), 18_026),
    ],
)
def test_the_networks_of_the_recorded_tasks(
    name: str, options: dict[str, int], shape: tuple[int, ...], params: int | None
) -> None:
    model = load_model(name, **options)
    assert model(torch.zeros(shape)).shape == (2, 10)
    assert params is None or sum(parameter.numel() for parameter in model.parameters()) == params
