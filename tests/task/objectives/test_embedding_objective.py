"""Embedding: one minus the cosine of every sample to the dense network's output."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics.pairwise import paired_cosine_distances
from torch import Tensor

from rank_search.errors import InvalidInputError
from rank_search.task.batch import Batch
from rank_search.task.objectives.embedding import Embedding
from rank_search.task.objectives.objective import added
from rank_search.testing import ObjectiveContract


def drawn(*shape: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    dense = torch.randn(shape, generator=generator)
    return dense + 0.7 * torch.randn(shape, generator=generator), dense


def cosines(one: Tensor, two: Tensor) -> np.ndarray:
    left, right = (tensor.double().flatten(1).numpy() for tensor in (one, two))
    return np.asarray(1 - paired_cosine_distances(left, right))


class TestContract(ObjectiveContract):
    def objective(self) -> Embedding:
        return Embedding()

    def case(self, samples: int) -> tuple[Tensor, Batch]:
        outputs, dense = drawn(samples, 5)
        return outputs, Batch(torch.zeros(samples, 2), dense)


def test_what_it_reports() -> None:
    objective = Embedding()
    assert (objective.measure, objective.higher) == ("cosine", True)
    assert (objective.needs_targets, objective.by_dense) == (False, True)


@pytest.mark.parametrize("shape", [(9, 5), (9, 2, 3)])
def test_loss_and_cosine_are_those_of_scikit_learn(shape: tuple[int, ...]) -> None:
    outputs, dense = drawn(*shape)
    wanted = float(cosines(outputs, dense).mean())
    objective = Embedding()
    batch = Batch(torch.zeros(9, 1), dense)
    cuts = [(0, 1), (1, 6), (6, 9)]
    parts = [objective.totals(outputs[i:j], Batch(torch.zeros(j - i, 1), dense[i:j])) for i, j in cuts]
    measures = objective.measures(added(parts))
    assert float(objective.loss(outputs, batch)) == pytest.approx(1 - wanted, rel=1e-5)
    assert measures["loss"] == pytest.approx(1 - wanted, rel=1e-5)
    assert measures["cosine"] == pytest.approx(wanted, rel=1e-5)


def test_every_sample_is_one_vector_and_its_length_does_not_matter() -> None:
    outputs = torch.tensor([[[1.0, 0.0], [0.0, 0.0]], [[3.0, 0.0], [0.0, 4.0]]])
    dense = torch.tensor([[[1.0, 1.0], [1.0, 1.0]], [[30.0, 0.0], [0.0, 40.0]]])
    loss = Embedding().loss(outputs, Batch(torch.zeros(2, 1), dense))
    assert float(loss) == pytest.approx(1 - (0.5 + 1.0) / 2, rel=1e-6)


def test_opposite_vectors_have_the_cosine_minus_1() -> None:
    objective = Embedding()
    _, dense = drawn(4, 3)
    measures = objective.measures(added([objective.totals(-dense, Batch(dense, dense))]))
    assert measures["cosine"] == pytest.approx(-1.0, abs=1e-5)
    assert measures["loss"] == pytest.approx(2.0, abs=1e-5)


def test_the_distance_is_the_mean_of_one_minus_the_cosine() -> None:
    outputs, dense = drawn(6, 4)
    found = float(Embedding().distance(outputs, dense, 3.0))
    assert found == pytest.approx(float((1 - cosines(outputs, dense)).mean()), rel=1e-5)
    assert float(Embedding().distance(dense, dense)) == pytest.approx(0.0, abs=1e-6)


def test_the_distance_of_equal_outputs_is_0_even_where_a_sample_has_no_direction() -> None:
    dense = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
    assert float(Embedding().distance(dense, dense)) == pytest.approx(0.0, abs=1e-6)


def test_outputs_of_another_shape_than_dense_are_named() -> None:
    with pytest.raises(InvalidInputError) as caught:
        Embedding().loss(torch.zeros(3, 4), Batch(torch.zeros(3, 1), torch.zeros(3, 1)))
    assert "[3, 4]" in str(caught.value)
    assert "[3, 1]" in str(caught.value)
