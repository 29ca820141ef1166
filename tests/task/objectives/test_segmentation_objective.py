"""Segmentation: cross-entropy of the pixels that count and the mean IoU of the classes that occur."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from sklearn.metrics import jaccard_score, log_loss
from torch import Tensor

from rank_search.errors import DataError, InvalidInputError
from rank_search.task.batch import Batch
from rank_search.task.objectives.objective import added
from rank_search.task.objectives.segmentation import Segmentation
from rank_search.testing import ObjectiveContract

CLASSES = 4


def drawn(samples: int, ignore: int = 255, seed: int = 0, classes: int = CLASSES) -> tuple[Tensor, Tensor]:
    """Logits ``[N, 4, 5, 3]`` and labels with some ignored pixels; unevenly many in each sample."""
    generator = torch.Generator().manual_seed(seed)
    labels = torch.randint(0, classes, (samples, 5, 3), generator=generator)
    logits = torch.randn(samples, CLASSES, 5, 3, generator=generator)
    logits += 2 * torch.nn.functional.one_hot(labels, CLASSES).movedim(-1, 1)
    share = torch.linspace(0.0, 0.6, samples)[:, None, None]
    labels[torch.rand(samples, 5, 3, generator=generator) < share] = ignore
    return logits, labels


def batch_of(targets: Tensor | None, samples: int = 3) -> Batch:
    return Batch(torch.zeros(samples, 1), targets)


def measured(logits: Tensor, targets: Tensor, *cuts: int, ignore: int = 255) -> dict[str, float]:
    objective = Segmentation(ignore)
    ends = [0, *cuts, len(targets)]
    pairs = itertools.pairwise(ends)
    return objective.measures(added([objective.totals(logits[i:j], batch_of(targets[i:j], j - i)) for i, j in pairs]))


def counted(logits: Tensor, targets: Tensor, ignore: int = 255) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels, predictions and log-probabilities ``[pixels, C]`` of the pixels that count."""
    keep = (targets != ignore).numpy()
    rows = log_softmax(logits.double().movedim(1, -1).numpy(), axis=-1)[keep]
    return targets.numpy()[keep], rows.argmax(1), rows


class TestContract(ObjectiveContract):
    def objective(self) -> Segmentation:
        return Segmentation()

    def case(self, samples: int) -> tuple[Tensor, Batch]:
        logits, targets = drawn(samples)
        return logits, Batch(torch.zeros(samples, 2), targets)


def test_what_it_reports() -> None:
    objective = Segmentation()
    assert (objective.measure, objective.higher, objective.percent) == ("iou", True, True)
    assert (objective.needs_targets, objective.by_dense) == (True, False)


@pytest.mark.parametrize("ignore", [255, 9, -1])
def test_loss_and_iou_are_those_of_scikit_learn_over_the_pixels_that_count(ignore: int) -> None:
    logits, targets = drawn(8, ignore)
    labels, predicted, rows = counted(logits, targets, ignore)
    assert len(labels) < targets.numel()
    measures = measured(logits, targets, 1, 6, ignore=ignore)
    wanted = log_loss(labels, np.exp(rows), labels=list(range(CLASSES)))
    assert measures["loss"] == pytest.approx(wanted, rel=1e-5)
    assert float(Segmentation(ignore).loss(logits, batch_of(targets, 8))) == pytest.approx(wanted, rel=1e-5)
    assert measures["iou"] == pytest.approx(jaccard_score(labels, predicted, average="macro"), rel=1e-6)


def test_the_iou_is_over_all_pixels_of_the_set_and_no_mean_of_batches() -> None:
    logits, targets = drawn(8)
    labels, predicted, _ = counted(logits, targets)
    means = [jaccard_score(*counted(logits[i : i + 1], targets[i : i + 1])[:2], average="macro") for i in range(8)]
    wanted = jaccard_score(labels, predicted, average="macro")
    assert wanted != pytest.approx(float(np.mean(means)), abs=1e-3)
    assert measured(logits, targets, *range(1, 8))["iou"] == pytest.approx(wanted, rel=1e-6)


def hot(*classes: int, count: int = 3) -> Tensor:
    """Logits ``[1, C, 1, pixels]`` that predict these classes."""
    return torch.nn.functional.one_hot(torch.tensor([[list(classes)]]), count).movedim(-1, 1).float() * 5


def test_a_class_that_occurs_nowhere_does_not_count() -> None:
    targets = torch.tensor([[[0, 0, 1, 1]]])
    assert measured(hot(0, 0, 1, 0), targets)["iou"] == pytest.approx((2 / 3 + 1 / 2) / 2)


def test_a_class_that_is_only_predicted_counts_as_0() -> None:
    targets = torch.tensor([[[0, 0, 1, 1]]])
    assert measured(hot(0, 0, 1, 2), targets)["iou"] == pytest.approx((1 + 1 / 2 + 0) / 3)


def test_a_class_that_is_predicted_at_ignored_pixels_alone_does_not_count() -> None:
    targets = torch.tensor([[[0, 0, 1, 255]]])
    assert measured(hot(0, 0, 1, 2), targets)["iou"] == pytest.approx(1.0)


def test_an_ignored_class_is_left_out_of_loss_and_iou() -> None:
    targets = torch.tensor([[[0, 0, 1, 2]]])
    assert measured(hot(1, 2, 1, 2), targets, ignore=0)["iou"] == pytest.approx(1.0)
    assert measured(hot(1, 2, 1, 2), targets, ignore=255)["iou"] < 1.0


def test_a_batch_in_which_no_pixel_counts_changes_nothing() -> None:
    logits, targets = drawn(4)
    nothing = torch.full_like(targets[:2], 255)
    objective = Segmentation()
    alone = measured(logits, targets)
    parts = [
        objective.totals(logits[:2], batch_of(nothing, 2)),
        objective.totals(logits, batch_of(targets, 4)),
    ]
    assert objective.measures(added(parts)) == pytest.approx(alone)


def test_the_loss_of_a_batch_in_which_no_pixel_counts_is_a_number() -> None:
    logits = drawn(2)[0].requires_grad_(True)
    loss = Segmentation().loss(logits, batch_of(torch.full((2, 5, 3), 255), 2))
    assert float(loss) == 0.0
    loss.backward()
    assert logits.grad is not None
    assert float(logits.grad.abs().sum()) == 0.0


def test_pixels_may_have_any_number_of_axes() -> None:
    logits, targets = drawn(6)
    flat = measured(logits.flatten(2), targets.flatten(1))
    deep = measured(logits.unsqueeze(-1), targets.unsqueeze(-1))
    labels, predicted, _ = counted(logits, targets)
    for measures in (flat, deep):
        assert measures["iou"] == pytest.approx(jaccard_score(labels, predicted, average="macro"), rel=1e-6)


@pytest.mark.parametrize("temperature", [1.0, 3.0])
def test_the_distance_is_t_squared_times_the_kl_of_a_pixel(temperature: float) -> None:
    dense, other = drawn(3)[0], drawn(3, seed=1)[0]
    p, q = (log_softmax(x.double().numpy() / temperature, axis=1) for x in (dense, other))
    wanted = float(temperature**2 * np.mean(np.sum(np.exp(p) * (p - q), axis=1)))
    assert float(Segmentation().distance(other, dense, temperature)) == pytest.approx(wanted, rel=1e-4)
    assert float(Segmentation().distance(dense, dense, temperature)) == pytest.approx(0.0, abs=1e-6)


def test_the_outputs_may_be_what_torchvision_returns() -> None:
    logits, targets = drawn(4)
    loss = float(Segmentation().loss({"out": logits, "aux": logits * 0}, batch_of(targets, 4)))
    labels, _, rows = counted(logits, targets)
    assert loss == pytest.approx(float(-rows[np.arange(len(labels)), labels].mean()), rel=1e-5)


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [((3, 4, 5, 3), (3, 5, 4)), ((3, 4, 5, 3), (3, 1, 5, 3)), ((3, 4, 5, 3), (2, 5, 3)), ((3, 4, 5, 3), (3,))],
)
@pytest.mark.parametrize("method", ["loss", "totals"])
def test_shapes_that_do_not_fit_are_named(outputs: tuple[int, ...], targets: tuple[int, ...], method: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        getattr(Segmentation(), method)(torch.zeros(outputs), batch_of(torch.zeros(targets, dtype=torch.int64)))
    assert str(list(outputs)) in str(caught.value)
    assert str(list(targets)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_label_that_no_logit_stands_for_is_a_misfit_that_is_said() -> None:
    with pytest.raises(InvalidInputError):
        Segmentation().totals(torch.zeros(1, 3, 2, 2), batch_of(torch.full((1, 2, 2), 7), 1))


def test_missing_targets_are_a_data_error() -> None:
    with pytest.raises(DataError, match="targets"):
        Segmentation().loss(torch.zeros(3, 2, 4, 4), batch_of(None))
