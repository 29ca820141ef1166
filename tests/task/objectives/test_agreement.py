from __future__ import annotations

import math

import pytest
import torch

from rank_search.errors import InvalidInputError
from rank_search.task.batch import Batch
from rank_search.task.objectives.agreement import Agreement


def test_the_loss_is_the_divergence_and_the_measure_how_often_both_name_a_class() -> None:
    """By hand: of p = (.8, .2) from q = (.5, .5) the divergence is .8 ln 1.6 + .2 ln .4; the second sample is alike."""
    dense = torch.tensor([[0.8, 0.2], [0.1, 0.9]]).log()
    found = torch.tensor([[0.49999, 0.50001], [0.1, 0.9]]).log()
    objective, batch = Agreement(), Batch(torch.zeros(2, 1), dense)
    expected = (0.8 * math.log(1.6) + 0.2 * math.log(0.4)) / 2
    assert float(objective.loss(found, batch)) == pytest.approx(expected, abs=1e-4)
    measures = objective.measures(objective.totals(found, batch))
    assert measures["loss"] == pytest.approx(expected, abs=1e-4)
    assert measures["agreement"] == 0.5


def test_every_place_of_a_map_counts() -> None:
    torch.manual_seed(0)
    dense, found = torch.randn(2, 3, 4, 5), torch.randn(2, 3, 4, 5)
    totals = Agreement().totals(found, Batch(torch.zeros(2, 1), dense))
    assert totals["samples"] == 2 * 4 * 5
    assert totals["alike"] == int((found.argmax(1) == dense.argmax(1)).sum())


@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3)])
def test_outputs_that_are_no_classes_or_other_ones_are_said(shape: tuple[int, ...]) -> None:
    batch = Batch(torch.zeros(4, 1), torch.zeros(4, 2) if shape == (4, 3) else torch.zeros(shape))
    with pytest.raises(InvalidInputError, match="at least two classes"):
        Agreement().loss(torch.zeros(shape), batch)
