"""Regression: mean squared error, rmse, mae and R^2, as scikit-learn computes them."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from sklearn.metrics import mean_absolute_error, mean_squared_error, r2_score
from torch import Tensor

from rank_search.errors import DataError, InvalidInputError
from rank_search.task.batch import Batch
from rank_search.task.objectives.objective import added
from rank_search.task.objectives.regression import Regression
from rank_search.testing import ObjectiveContract


def drawn(*shape: int, seed: int = 0, offset: float = 0.0) -> tuple[Tensor, Tensor]:
    """Predictions and targets; the outputs' variances differ."""
    generator = torch.Generator().manual_seed(seed)
    targets = torch.randn(shape, generator=generator) * torch.linspace(0.5, 3.0, shape[-1]) + offset
    return targets + 0.4 * torch.randn(shape, generator=generator), targets


def batch_of(targets: Tensor | None, samples: int = 3) -> Batch:
    return Batch(torch.zeros(samples, 1), targets)


def measured(outputs: Tensor, targets: Tensor, *cuts: int) -> dict[str, float]:
    """The measures of the set, in batches that end at the cuts."""
    objective = Regression()
    ends = [0, *cuts, len(targets)]
    pairs = itertools.pairwise(ends)
    return objective.measures(added([objective.totals(outputs[i:j], batch_of(targets[i:j], j - i)) for i, j in pairs]))


class TestContract(ObjectiveContract):
    def objective(self) -> Regression:
        return Regression()

    def case(self, samples: int) -> tuple[Tensor, Batch]:
        outputs, targets = drawn(samples, 3)
        return outputs, Batch(torch.zeros(samples, 2), targets)


def test_what_it_reports() -> None:
    objective = Regression()
    assert (objective.measure, objective.higher, objective.percent) == ("rmse", False, False)
    assert (objective.needs_targets, objective.by_dense) == (True, False)


@pytest.mark.parametrize("shape", [(30,), (30, 1), (30, 4), (30, 2, 3)])
def test_all_measures_are_those_of_scikit_learn(shape: tuple[int, ...]) -> None:
    outputs, targets = drawn(*shape)
    one, two = (tensor.double().reshape(30, -1).numpy() for tensor in (targets, outputs))
    measures = measured(outputs, targets, 1, 12, 14)
    assert measures["loss"] == pytest.approx(mean_squared_error(one, two), rel=1e-5)
    assert measures["rmse"] == pytest.approx(math.sqrt(mean_squared_error(one, two)), rel=1e-5)
    assert measures["mae"] == pytest.approx(mean_absolute_error(one, two), rel=1e-5)
    assert measures["r2"] == pytest.approx(r2_score(one, two, multioutput="variance_weighted"), rel=1e-5)


def test_r2_of_several_outputs_weights_them_by_their_variance() -> None:
    outputs, targets = drawn(30, 4)
    outputs[:, 0] = 0.0
    wanted = r2_score(targets, outputs, multioutput="variance_weighted")
    assert wanted != pytest.approx(r2_score(targets, outputs, multioutput="uniform_average"), abs=0.01)
    assert measured(outputs, targets)["r2"] == pytest.approx(wanted, rel=1e-5)


def test_the_mean_of_the_targets_explains_nothing_and_worse_is_below_0() -> None:
    _, targets = drawn(20, 2)
    assert measured(targets.mean(0).expand(20, 2), targets, 3, 9)["r2"] == pytest.approx(0.0, abs=1e-5)
    assert measured(targets, targets, 3)["r2"] == pytest.approx(1.0, abs=1e-6)
    flipped = 2 * targets.mean(0) - targets
    assert measured(flipped, targets, 7)["r2"] == pytest.approx(-3.0, rel=1e-4)


def test_targets_far_from_0_keep_their_variance() -> None:
    outputs, targets = drawn(64, 2, offset=1e4)
    wanted = r2_score(targets.double().numpy(), outputs.double().numpy(), multioutput="variance_weighted")
    assert measured(outputs, targets, 5, 40)["r2"] == pytest.approx(wanted, abs=1e-3)


def test_the_loss_is_a_mean_over_samples_and_outputs() -> None:
    loss = Regression().loss(
        torch.tensor([[1.0, 2.0], [3.0, 5.0]]), batch_of(torch.tensor([[0.0, 0.0], [3.0, 1.0]]), 2)
    )
    assert float(loss) == pytest.approx((1 + 4 + 0 + 16) / 4)


@pytest.mark.parametrize(("left", "right"), [((5,), (5, 1)), ((5, 1), (5,))])
def test_a_column_and_a_vector_are_the_same_numbers(left: tuple[int, ...], right: tuple[int, ...]) -> None:
    outputs, targets = torch.arange(5.0) * 2, torch.arange(5.0)
    wanted = (0 + 1 + 4 + 9 + 16) / 5
    assert float(Regression().loss(outputs.view(left), batch_of(targets.view(right), 5))) == pytest.approx(wanted)
    measures = measured(outputs.view(left), targets.view(right), 2)
    assert measures["rmse"] == pytest.approx(math.sqrt(wanted), rel=1e-6)
    assert measures["mae"] == pytest.approx(2.0, rel=1e-6)
    assert measures["r2"] == pytest.approx(1 - 30 / 10, rel=1e-6)


@pytest.mark.parametrize(
    ("outputs", "targets"),
    [((3, 4), (3, 1)), ((3, 4), (3,)), ((3, 1), (3, 4)), ((3, 4), (4, 3)), ((3,), (4,)), ((3, 1, 4), (3, 4))],
)
@pytest.mark.parametrize("method", ["loss", "totals"])
def test_shapes_that_would_only_broadcast_are_refused_with_both(
    outputs: tuple[int, ...], targets: tuple[int, ...], method: str
) -> None:
    with pytest.raises(InvalidInputError) as caught:
        getattr(Regression(), method)(torch.zeros(outputs), batch_of(torch.zeros(targets)))
    assert str(list(outputs)) in str(caught.value)
    assert str(list(targets)) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_the_distance_is_the_mean_squared_difference_at_any_temperature() -> None:
    dense, other = drawn(6, 3)[0], drawn(6, 3, seed=1)[0]
    wanted = float(np.mean((dense.double().numpy() - other.double().numpy()) ** 2))
    for temperature in (1.0, 4.0):
        assert float(Regression().distance(other, dense, temperature)) == pytest.approx(wanted, rel=1e-5)
    assert float(Regression().distance(dense, dense)) == 0.0


def test_missing_targets_are_a_data_error() -> None:
    with pytest.raises(DataError, match="targets"):
        Regression().loss(torch.zeros(3, 2), batch_of(None))
