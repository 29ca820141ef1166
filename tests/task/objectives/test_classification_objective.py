"""Classification: cross-entropy in nats, accuracy and softened KL, as scikit-learn and NumPy compute them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import accuracy_score, log_loss
from torch import Tensor

from rank_search.errors import DataError, InvalidInputError
from rank_search.task.batch import Batch
from rank_search.task.objectives.classification import Classification
from rank_search.task.objectives.objective import added
from rank_search.testing import ObjectiveContract

CLASSES = 5


def drawn(samples: int, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(samples, CLASSES, generator=generator) * 2
    return logits, torch.randint(0, CLASSES, (samples,), generator=generator)


def batch_of(targets: Any, samples: int = 3) -> Batch:
    return Batch(torch.zeros(samples, 1), targets)


def kl(dense: Tensor, other: Tensor, temperature: float) -> float:
    """``t^2 mean_n sum_c p log(p / q)`` in float64 NumPy."""
    p, q = (log_softmax(logits.double().numpy() / temperature, axis=1) for logits in (dense, other))
    return float(temperature**2 * np.mean(np.sum(np.exp(p) * (p - q), axis=1)))


class TestContract(ObjectiveContract):
    def objective(self) -> Classification:
        return Classification()

    def case(self, samples: int) -> tuple[Tensor, Batch]:
        logits, targets = drawn(samples)
        return logits, Batch(torch.zeros(samples, 2), targets)


def test_what_it_reports() -> None:
    objective = Classification()
    assert (objective.measure, objective.higher, objective.percent) == ("accuracy", True, True)
    assert (objective.needs_targets, objective.by_dense) == (True, False)


def test_loss_is_the_log_loss_in_nats_and_accuracy_the_share_of_right_ones() -> None:
    logits, targets = drawn(40)
    batch = batch_of(targets, 40)
    probabilities = np.exp(log_softmax(logits.double().numpy(), axis=1))
    wanted = log_loss(targets.numpy(), probabilities, labels=list(range(CLASSES)))
    objective = Classification()
    measures = objective.measures(added([objective.totals(logits, batch)]))
    assert float(objective.loss(logits, batch)) == pytest.approx(wanted, rel=1e-5)
    assert measures["loss"] == pytest.approx(wanted, rel=1e-5)
    assert measures["accuracy"] == pytest.approx(accuracy_score(targets.numpy(), logits.argmax(1).numpy()), abs=1e-12)


def test_a_case_by_hand() -> None:
    logits = torch.tensor([[0.0, 0.0], [np.log(3.0), 0.0], [np.log(3.0), 0.0]])
    targets = torch.tensor([0, 0, 1])
    objective = Classification()
    measures = objective.measures(added([objective.totals(logits, batch_of(targets))]))
    assert measures["loss"] == pytest.approx((np.log(2) + np.log(4 / 3) + np.log(4)) / 3, rel=1e-6)


def test_batches_of_unequal_sizes_add_up_to_the_whole_set() -> None:
    logits, targets = drawn(23)
    objective = Classification()
    cuts = [(0, 1), (1, 17), (17, 23)]
    parts = [objective.totals(logits[i:j], batch_of(targets[i:j], j - i)) for i, j in cuts]
    measures = objective.measures(added(parts))
    probabilities = np.exp(log_softmax(logits.double().numpy(), axis=1))
    assert measures["loss"] == pytest.approx(log_loss(targets, probabilities, labels=list(range(CLASSES))), rel=1e-5)
    assert measures["accuracy"] == pytest.approx(accuracy_score(targets, logits.argmax(1)), abs=1e-12)


@pytest.mark.parametrize("temperature", [1.0, 2.0, 5.0])
def test_the_distance_is_t_squared_times_the_kl_from_dense_to_network(temperature: float) -> None:
    dense, other = drawn(7)[0], drawn(7, seed=1)[0]
    found = float(Classification().distance(other, dense, temperature))
    assert found == pytest.approx(kl(dense, other, temperature), rel=1e-4)
    assert found != pytest.approx(kl(other, dense, temperature), rel=1e-2)


def test_the_distance_takes_the_temperature_1_unless_told() -> None:
    dense, other = drawn(7)[0], drawn(7, seed=1)[0]
    assert float(Classification().distance(other, dense)) == pytest.approx(kl(dense, other, 1.0), rel=1e-4)


def test_the_distance_is_0_for_equal_outputs_and_for_logits_shifted_by_a_constant() -> None:
    logits, _ = drawn(6)
    assert float(Classification().distance(logits, logits, 2.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(Classification().distance(logits + 3.0, logits, 2.0)) == pytest.approx(0.0, abs=1e-5)


def test_the_distance_has_gradients_that_pull_towards_dense() -> None:
    dense = drawn(6)[0]
    other = drawn(6, seed=1)[0].requires_grad_(True)
    Classification().distance(other, dense, 2.0).backward()
    assert other.grad is not None
    with torch.no_grad():
        nearer = other - 0.5 * other.grad
    assert kl(dense, nearer, 2.0) < kl(dense, other.detach(), 2.0)


@dataclass
class Answer:
    loss: Tensor | None
    logits: Tensor


@dataclass
class Hidden:
    last_hidden_state: Tensor


@pytest.mark.parametrize("kind", ["tensor", "tuple", "out", "logits", "logits second", "object", "hidden"])
def test_the_logits_are_found_wherever_networks_put_them(kind: str) -> None:
    logits, targets = drawn(9)
    other = torch.full((9, 2), 7.0)
    outputs: Any = {
        "tensor": logits,
        "tuple": (logits, other),
        "out": {"aux": other, "out": logits},
        "logits": {"logits": logits, "out": other},
        "logits second": {"out": other, "logits": logits},
        "object": Answer(None, logits),
        "hidden": Hidden(logits),
    }[kind]
    objective = Classification()
    wanted = float(torch.nn.functional.cross_entropy(logits, targets))
    assert float(objective.loss(outputs, batch_of(targets, 9))) == pytest.approx(wanted, rel=1e-6)
    measures = objective.measures(added([objective.totals(outputs, batch_of(targets, 9))]))
    assert measures["accuracy"] == pytest.approx(float((logits.argmax(1) == targets).double().mean()))
    assert float(objective.distance(outputs, outputs, 2.0)) == pytest.approx(0.0, abs=1e-6)
    assert float(objective.distance(outputs, drawn(9, seed=1)[0])) == pytest.approx(
        kl(drawn(9, seed=1)[0], logits, 1.0), rel=1e-4
    )


@pytest.mark.parametrize("outputs", [None, "logits", 3.0, (), {}, object()])
def test_outputs_without_any_tensor_are_refused_in_one_line(outputs: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Classification().loss(outputs, batch_of(torch.tensor([0, 1, 2])))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("logits", "targets"),
    [
        (torch.zeros(3, 5), torch.zeros(4, dtype=torch.int64)),
        (torch.zeros(3, 5), torch.zeros(3, 5)),
        (torch.zeros(3, 5, 2), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(3), torch.zeros(3, dtype=torch.int64)),
        (torch.zeros(3, 5), torch.zeros(3)),
    ],
)
@pytest.mark.parametrize("method", ["loss", "totals"])
def test_outputs_and_targets_that_do_not_fit_are_named_with_both_shapes(
    logits: Tensor, targets: Tensor, method: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        getattr(Classification(), method)(logits, batch_of(targets))
    assert str(list(logits.shape)) in str(caught.value)
    assert str(list(targets.shape)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_labels_of_32_bits_are_as_good_or_refused_as_misfits() -> None:
    logits = torch.zeros(3, 5)
    try:
        loss = Classification().loss(logits, batch_of(torch.tensor([0, 1, 2], dtype=torch.int32)))
    except InvalidInputError:
        return
    assert float(loss) == pytest.approx(np.log(5), rel=1e-6)


@pytest.mark.parametrize("label", [5, -1])
def test_a_label_that_no_logit_stands_for_is_a_misfit_that_is_said(label: int) -> None:
    with pytest.raises(InvalidInputError):
        Classification().totals(torch.zeros(3, 5), batch_of(torch.tensor([0, 1, label])))


@pytest.mark.parametrize("method", ["loss", "totals"])
def test_missing_targets_are_a_data_error(method: str) -> None:
    with pytest.raises(DataError) as caught:
        getattr(Classification(), method)(torch.zeros(3, 5), batch_of(None))
    assert "targets" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_targets_that_are_no_tensor_are_a_data_error() -> None:
    with pytest.raises(DataError):
        Classification().loss(torch.zeros(3, 5), batch_of({"a": torch.zeros(3, dtype=torch.int64)}))
