"""The contract of an objective as tests."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any

import pytest
import torch
from torch import Tensor

from rank_search.errors import InvalidInputError
from rank_search.nests import mapped
from rank_search.task.batch import Batch
from rank_search.task.objectives.objective import Objective, added


class ObjectiveContract:
    """What every objective must keep. Write :meth:`objective` and :meth:`case`."""

    @abstractmethod
    def objective(self) -> Objective:
        """What is tested."""

    @abstractmethod
    def case(self, samples: int) -> tuple[Tensor, Batch]:
        """Outputs of random weights, ``[samples, ...]``, and a batch that goes with them."""

    def test_its_loss_is_a_finite_number_with_gradients(self) -> None:
        outputs, batch = self.case(6)
        outputs = outputs.clone().requires_grad_(True)
        loss = self.objective().loss(outputs, batch)
        assert loss.ndim == 0
        assert torch.isfinite(loss)
        loss.backward()  # type: ignore[no-untyped-call]
        assert outputs.grad is not None
        assert outputs.grad.abs().sum() > 0

    def test_its_measures_hold_the_loss_and_the_reported_one(self) -> None:
        objective = self.objective()
        outputs, batch = self.case(6)
        measures = objective.measures(added([objective.totals(outputs, batch)]))
        assert objective.measure in measures
        assert all(isinstance(value, float) for value in measures.values())
        assert measures["loss"] == pytest.approx(float(objective.loss(outputs, batch)), rel=1e-4)
        assert not objective.percent or 0 <= measures[objective.measure] <= 1

    def test_the_measures_of_a_set_do_not_depend_on_how_it_is_batched(self) -> None:
        objective = self.objective()
        outputs, batch = self.case(7)
        whole = objective.measures(added([objective.totals(outputs, batch)]))
        parts = [objective.totals(outputs[i:j], _part(batch, i, j)) for i, j in ((0, 3), (3, 4), (4, 7))]
        assert objective.measures(added(parts)) == pytest.approx(whole, rel=1e-9)

    def test_outputs_in_a_tuple_a_mapping_or_an_object_are_understood(self) -> None:
        objective = self.objective()
        outputs, batch = self.case(4)

        class Answer:
            logits = outputs

        answers: list[Any] = [(outputs, outputs * 0), {"logits": outputs, "hidden": outputs * 0}, Answer()]
        for answer in answers:
            assert float(objective.loss(answer, batch)) == float(objective.loss(outputs, batch))

    def test_the_distance_is_0_to_itself_and_above_elsewhere(self) -> None:
        objective = self.objective()
        outputs, _ = self.case(5)
        other = outputs + torch.randn(outputs.shape, generator=torch.Generator().manual_seed(3))
        assert float(objective.distance(outputs, outputs)) == pytest.approx(0.0, abs=1e-6)
        assert float(objective.distance(other, outputs)) > 1e-4
        assert math.isfinite(float(objective.distance(other, outputs, temperature=3.0)))

    def test_outputs_that_do_not_fit_are_said_with_both_shapes(self) -> None:
        objective = self.objective()
        outputs, batch = self.case(4)
        with pytest.raises(InvalidInputError) as caught:
            objective.loss(outputs[:3, None, None], batch)
        assert str([3, 1, 1, *outputs.shape[1:]]) in str(caught.value)
        assert "\n" not in str(caught.value)


def _part(batch: Batch, start: int, stop: int) -> Batch:
    def cut(tensor: Tensor) -> Tensor:
        return tensor[start:stop]

    return Batch(mapped(batch.inputs, cut), None if batch.targets is None else mapped(batch.targets, cut))
