"""All that a searcher sees of a task: metered oracles and read-only tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.arrays import FloatArray
from rank_search.nests import Nest
from rank_search.space import Budget, RankPlan, RankSpace
from rank_search.task.batch import Batch
from rank_search.task.evaluation import Evaluation
from rank_search.task.objectives.objective import Objective
from rank_search.task.recipe import Recipe
from rank_search.task.task import Task


class Oracles:
    """A task as its searcher sees it. Neither the data nor an unmetered task can be reached from here.

    Args:
        task: whose meter everything is charged to.

    Attributes:
        space: the tables of options: ``layers``, ``plan``, ``indices``, ``costs``, ``project``, ``minimise`` and more.
        budget: hard.
        recipe: of the common fine-tune.
        objective: what is good.
    """

    def __init__(self, task: Task) -> None:
        self.__task = task
        self.space: RankSpace = task.space
        self.budget: Budget = task.budget
        self.recipe: Recipe = task.recipe
        self.objective: Objective = task.objective

    def __repr__(self) -> str:
        return f"Oracles({self.__task!r})"

    @property
    def has_data(self) -> bool:
        """Whether plans can be evaluated and networks trained."""
        return self.__task.has_data

    @property
    def device(self) -> torch.device:
        """Where the network is."""
        return self.__task.device

    @property
    def epoch_samples(self) -> int:
        """Training samples of an epoch.

        Raises:
            DataError: if there is no data.
        """
        return self.__task.epoch_samples

    @property
    def spent(self) -> dict[str, float | int]:
        """All counts and seconds so far (see :class:`Limits`)."""
        return self.__task.meter.reading()

    def admit(self, plan: RankPlan) -> dict[str, int]:
        """The plan's cost per metric.

        Raises:
            OverBudgetError: if it is over the budget.
        """
        return self.__task.admit(plan)

    def evaluate(self, plan: RankPlan) -> Evaluation:
        """What the plan's network is worth on the fixed validation samples; charged as an evaluation.

        Raises:
            OverBudgetError, LimitReached, DataError: before anything is built.
            EvaluationError: if the plan cannot be built or its loss is not finite.
        """
        return self.__task.evaluate(plan)

    def relative_errors(self) -> list[FloatArray]:
        """``||W - What||^2 / ||W||^2`` of every option, an array ``[n]`` per layer; charges each decomposition once."""
        return self.__task.relative_errors()

    def trained_errors(self, weights: Mapping[str, Tensor]) -> list[FloatArray]:
        """As :meth:`relative_errors`, of weights that the searcher trains: charged anew at every call.

        Args:
            weights: of every layer of the space, by name, in the shape of the module's weight.

        Raises:
            InvalidInputError: if one is missing or of another shape.
            LimitReached
        """
        return self.__task.trained_errors(weights)

    def approximation(self, layer: int, option: int) -> Tensor:
        """The weight that an option puts in a layer's place, canonical ``[groups, Co / groups, Ci / groups, taps]``.

        Float64; its form's decomposition of that layer is charged once.

        Args:
            layer: its place in ``space.layers``.
            option: its row there; 0 is the dense weight itself.

        Raises:
            LimitReached
        """
        return self.__task.approximation(layer, option)

    def weight_error(self, plan: RankPlan) -> float:
        """``sum_l ||W_l - What_l||^2 / ||W_l||^2`` of the plan: data-free.

        Raises:
            OverBudgetError, LimitReached
        """
        return self.__task.weight_error(plan)

    def train_batches(
        self, generator: torch.Generator, batch_size: int | None = None, skip: int = 0
    ) -> Iterator[Batch]:
        """One epoch of training batches (inputs and targets, images augmented), charged as trained samples.

        Args:
            generator: where the order and the augmentation come from.
            batch_size: instead of the recipe's.
            skip: batches that were seen before a resume: drawn again, but neither yielded nor charged.

        Raises:
            DataError: if there is no data.
            LimitReached: before the batch that would pass the limit.
        """
        return self.__task.train_batches(generator, batch_size, skip)

    def fixed_inputs(self, samples: int) -> Nest:
        """The inputs of fixed training samples, without targets, the same for every seed, where the network is.

        They cost nothing; running a network on them is counted (see :meth:`dense_model`).
        """
        return self.__task.fixed_inputs(samples)

    def fixed_batch(self, samples: int) -> Batch:
        """Fixed training samples as :meth:`fixed_inputs` has them, with their targets, where the network is.

        They cost nothing; running a network on them is counted.

        Raises:
            DataError: if there is no data.
        """
        return self.__task.fixed_batch(samples)

    def outputs_with(self, weights: Mapping[str, Tensor], inputs: Nest, batch_statistics: bool = False) -> Any:
        """The dense network's outputs with the weights of some layers replaced, with gradients in them.

        The network is a frozen copy in evaluation mode; its passes are counted as those of :meth:`dense_model` are.

        Args:
            weights: canonical, ``[groups, Co / groups, Ci / groups, taps]``, by layer name; mixtures of options, say.
            inputs: of batches, or fixed ones.
            batch_statistics: whether batch norms use the batch's statistics, as if they had been recalibrated.
        """
        return self.__task.outputs_with(weights, inputs, batch_statistics)

    def loss(self, model: nn.Module, batch: Batch, distill_weight: float = 0.0) -> Tensor:
        """The objective's loss of a network on a batch of :meth:`train_batches`, with gradients.

        Args:
            model: called as the dense network is.
            batch: where the model is.
            distill_weight: w of ``(1 - w) loss + w distance`` to the dense network's outputs, at the recipe's
                temperature.
        """
        return self.__task.loss(model, batch, distill_weight)

    def dense_model(self) -> nn.Module:
        """A copy of the dense network, the searcher's own to train.

        Its passes are counted, and those of its copies: samples that were charged (:meth:`charge`) may be run once, a
        training batch twice, and what is run beyond that is charged as forward samples.

        Raises:
            LimitReached: from a call of the network that would pass a limit.
        """
        return self.__task.dense_model()

    def charge(self, **counts: int) -> None:
        """Charges work that the searcher does by itself, e.g. ``decompositions=3``, all or nothing.

        Raises:
            LimitReached: if a limit would be passed; then the work is not to be done.
        """
        self.__task.charge(**counts)


def task_of(seen: Task | Oracles) -> Task:
    """The task behind what a searcher sees; for the loop, which drives it."""
    return seen if isinstance(seen, Task) else seen._Oracles__task  # type: ignore[attr-defined]
