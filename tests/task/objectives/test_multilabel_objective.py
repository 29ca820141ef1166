"""Multilabel: binary cross-entropy, micro F1, exact match and the Bernoulli divergence."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import expit
from sklearn.metrics import accuracy_score, f1_score, log_loss
from torch import Tensor

from rank_search.errors import DataError, InvalidInputError
from rank_search.task.batch import Batch
from rank_search.task.objectives.multilabel import Multilabel
from rank_search.task.objectives.objective import added
from rank_search.testing import ObjectiveContract


def drawn(samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    targets = (torch.rand(samples, 4, generator=generator) < torch.tensor([0.1, 0.3, 0.6, 0.8])).float()
    return torch.randn(samples, 4, generator=generator) + 2 * (targets - 0.5), targets


def batch_of(targets: Tensor | None, samples: int = 3) -> Batch:
    return Batch(torch.zeros(samples, 1), targets)


def measured(logits: Tensor, targets: Tensor, *cuts: int) -> dict[str, float]:
    objective = Multilabel()
    ends = [0, *cuts, len(targets)]
    pairs = itertools.pairwise(ends)
    return objective.measures(added([objective.totals(logits[i:j], batch_of(targets[i:j], j - i)) for i, j in pairs]))


class TestContract(ObjectiveContract):
    def objective(self) -> Multilabel:
        return Multilabel()

    def case(self, samples: int) -> tuple[Tensor, Batch]:
        logits, targets = drawn(samples)
        return logits, Batch(torch.zeros(samples, 2), targets)


def test_what_it_reports() -> None:
    objective = Multilabel()
    assert (objective.measure, objective.higher, objective.percent) == ("f1", True, True)
    assert (objective.needs_targets, objective.by_dense) == (True, False)


@pytest.mark.parametrize("dtype", [torch.float32, torch.int64, torch.bool])
def test_all_measures_are_those_of_scikit_learn(dtype: torch.dtype) -> None:
    logits, targets = drawn(30)
    predicted, wanted = (logits > 0).int().numpy(), targets.int().numpy()
    measures = measured(logits, targets.to(dtype), 1, 19)
    micro = f1_score(wanted, predicted, average="micro")
    assert micro != pytest.approx(f1_score(wanted, predicted, average="macro"), abs=0.01)
    assert measures["f1"] == pytest.approx(micro, rel=1e-6)
    assert measures["exact"] == pytest.approx(accuracy_score(wanted, predicted), rel=1e-6)
    cross_entropy = log_loss(wanted.ravel(), expit(logits.double().numpy().ravel()))
    assert measures["loss"] == pytest.approx(cross_entropy, rel=1e-5)
    assert float(Multilabel().loss(logits, batch_of(targets.to(dtype), 30))) == pytest.approx(cross_entropy, rel=1e-5)


def test_counts_by_hand() -> None:
    logits = torch.tensor([[1.0, -1.0, 1.0], [1.0, 1.0, -1.0], [-1.0, -1.0, -1.0]])
    targets = torch.tensor([[1.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 1.0, 0.0]])
    measures = measured(logits, targets, 2)
    assert measures["f1"] == pytest.approx(2 * 3 / (2 * 3 + 1 + 2))
    assert measures["exact"] == pytest.approx(1 / 3)


def test_a_logit_of_exactly_0_is_no_label() -> None:
    measures = measured(torch.zeros(2, 2), torch.tensor([[0.0, 0.0], [1.0, 0.0]]))
    assert measures["f1"] == pytest.approx(0.0)
    assert measures["exact"] == pytest.approx(0.5)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_the_distance_is_t_squared_times_the_bernoulli_kl_per_label(temperature: float) -> None:
    dense, other = drawn(6)[0], drawn(6, seed=1)[0]

    def kl(one: Tensor, two: Tensor) -> float:
        p, q = (expit(logits.double().numpy() / temperature) for logits in (one, two))
        return float(temperature**2 * np.mean(p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))))

    found = float(Multilabel().distance(other, dense, temperature))
    assert found == pytest.approx(kl(dense, other), rel=1e-4)
    assert found != pytest.approx(kl(other, dense), rel=1e-3)
    assert float(Multilabel().distance(dense, dense, temperature)) == pytest.approx(0.0, abs=1e-6)


def test_the_distance_stays_finite_where_the_labels_are_certain() -> None:
    dense, other = torch.tensor([[200.0, -200.0]]), torch.tensor([[-200.0, -200.0]])
    assert float(Multilabel().distance(other, dense)) == pytest.approx(100.0, rel=1e-4)


@pytest.mark.parametrize(
    ("outputs", "targets"), [((3, 4), (3,)), ((3, 4), (3, 1)), ((3, 4), (3, 5)), ((3, 4), (2, 4)), ((3, 1), (3, 4))]
)
@pytest.mark.parametrize("method", ["loss", "totals"])
def test_shapes_that_do_not_fit_are_named(outputs: tuple[int, ...], targets: tuple[int, ...], method: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        getattr(Multilabel(), method)(torch.zeros(outputs), batch_of(torch.zeros(targets)))
    assert str(list(outputs)) in str(caught.value)
    assert str(list(targets)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_missing_targets_are_a_data_error() -> None:
    with pytest.raises(DataError, match="targets"):
        Multilabel().loss(torch.zeros(3, 2), batch_of(None))
