"""The task: what a plan is worth. It is all that a searcher sees; the test set is not in it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor, nn

from rank_search.arrays import FloatArray
from rank_search.errors import DataError, InvalidInputError
from rank_search.space import DENSE, Budget, RankPlan, RankSpace, compress, plan_of
from rank_search.task.data.image_data import Data, ImageSet
from rank_search.task.evaluation import Evaluation, validate
from rank_search.task.latency import LATENCY_BATCH, latencies
from rank_search.task.meter import Limits, Meter
from rank_search.task.networks.weights import check_finite
from rank_search.task.recipe import Recipe, train
from rank_search.task.repair.recalibration import has_running_statistics, recalibrate

RECALIBRATION_BATCH = 128  # the inputs of all batch norms of the dense network are held for one batch


class Task:
    """A model, its space, a budget and data, with metered oracles.

    Args:
        model: the trained dense network; never changed.
        space: built from that model.
        budget: hard; every oracle refuses a plan over it.
        data: None for searches that need only the weights. A test set in it is dropped.
        recipe: the common fine-tune.
        seed: of the fine-tune; the fixed subsets are the same for every seed.
        evaluation_images: size of the fixed validation subset that :meth:`evaluate` uses; None is all.
        recalibration_images: training images, without labels, on which batch norm is mended (see
            :func:`recalibrate`); 0 leaves it alone.

    Attributes:
        meter: what the oracles have used.

    Raises:
        InfeasibleBudgetError: if no plan of the space meets the budget.
        WeightsError: if a parameter of the model is NaN or infinite.
    """

    def __init__(
        self,
        model: nn.Module,
        space: RankSpace,
        budget: Budget,
        data: Data | None = None,
        recipe: Recipe | None = None,
        seed: int = 0,
        evaluation_images: int | None = None,
        recalibration_images: int = 256,
    ) -> None:
        for name, value, least in (
            ("evaluation_images", evaluation_images, 1),
            ("recalibration_images", recalibration_images, 0),
        ):
            if value is not None and value < least:
                raise InvalidInputError(f"{name}={value} is not allowed: it must be at least {least}")
        check_finite(model)
        space.require_feasible(budget)
        self.model, self.space, self.budget = model, space, budget
        self.recipe, self.seed = recipe or Recipe(), seed
        self.data = None if data is None else data.without_test()
        self._evaluation_images, self._recalibration_images = evaluation_images, recalibration_images
        self._subsets: tuple[ImageSet, ImageSet] | None = None
        self._used: set[tuple[str, str]] = set()
        self._has_norms = has_running_statistics(model)
        self.meter = Meter()

    def under(self, budget: Budget, seed: int | None = None, limits: Limits | None = None) -> Task:
        """The same task with another budget or seed and a fresh meter.

        Raises:
            InfeasibleBudgetError: if no plan of the space meets the budget.
        """
        self.space.require_feasible(budget)
        other = copy.copy(self)
        other.budget, other.seed = budget, self.seed if seed is None else seed
        other._used, other.meter = set(), Meter(limits)
        return other

    def admit(self, plan: RankPlan) -> dict[str, int]:
        """The plan's cost; the gate through which every plan passes.

        Raises:
            OverBudgetError: if it is over the budget.
        """
        return self.space.admit(plan, self.budget)

    def relative_errors(self) -> list[FloatArray]:
        """``||W - What||^2 / ||W||^2`` of every option, one array ``[n]`` per layer; charges every decomposition."""
        self._charge({(options.layer.name, form.name) for options in self.space.layers for form in options.forms})
        return self.space.relative_errors()

    def weight_error(self, plan: RankPlan) -> float:
        """``sum_l ||W_l - What_l||^2 / ||W_l||^2`` of the plan: data-free.

        Raises:
            OverBudgetError, LimitReached
        """
        self.admit(plan)
        self._charge(_used_by(plan))
        rows = zip(self.space.layers, self.space.indices(plan), strict=True)
        return sum(options.relative_error(int(row)) for options, row in rows)

    def compress(self, plan: RankPlan, trained: nn.Module | None = None) -> nn.Module:
        """The network under the plan, from cached factors, batch norm recalibrated on a fixed training subset.

        Args:
            plan: within the budget.
            trained: the dense network with weights of its own, as a one-shot search leaves them, which are decomposed
                on the spot (in Frobenius' metric) and recalibrated towards; None takes the task's.

        Raises:
            OverBudgetError, LimitReached, EvaluationError
            WeightsError: if a trained parameter is NaN or infinite.
        """
        self.admit(plan)
        if trained is not None:
            check_finite(trained)
        self._charge(_used_by(plan), samples_forward=self._recalibration_cost(plan))
        return self._build(plan, trained)

    def evaluate(self, plan: RankPlan) -> Evaluation:
        """Builds the network, recalibrates batch norm and validates it on the task's fixed validation subset.

        Raises:
            OverBudgetError: before anything is built.
            LimitReached: before anything is built, if a limit would be passed.
            EvaluationError: if the plan cannot be built or its loss is not finite.
            DataError: if the task has no data.
        """
        self.admit(plan)
        data, (_, validation) = self._data(), self._subset()
        images = len(validation) + self._recalibration_cost(plan)
        self._charge(_used_by(plan), evaluations=1, samples_forward=images)
        return validate(self._build(plan), data, validation)

    def validate(self, model: nn.Module) -> Evaluation:
        """Loss and accuracy on the WHOLE validation set; metered as forward samples.

        Args:
            model: the dense network, or one compressed within the budget.

        Raises:
            OverBudgetError, DataError, LimitReached, EvaluationError
        """
        data, plan = self._data(), plan_of(model)
        if len(plan):
            self.admit(plan)
        self.meter.charge(samples_forward=len(data.validation))
        return validate(model, data, data.validation)

    def train_batches(
        self, generator: torch.Generator, batch_size: int | None = None, skip: int = 0
    ) -> Iterator[tuple[Tensor, Tensor]]:
        """One epoch of augmented training batches for one-shot methods; metered as trained samples.

        Args:
            generator: where the order and the augmentation come from.
            batch_size: instead of the recipe's.
            skip: batches that were seen before a resume: drawn again, but neither yielded nor charged.

        Raises:
            DataError: if the task has no data.
            LimitReached: before the batch that would pass the limit.
        """
        batches = self._data().train_batches(batch_size or self.recipe.batch_size, generator)
        for inputs, labels in islice(batches, skip, None):
            self.meter.charge(samples_trained=len(labels))
            yield inputs, labels

    def finetune(self, plan: RankPlan, epochs: int | None = None, trained: nn.Module | None = None) -> nn.Module:
        """The common fine-tune of the plan's network, distilled from the dense one.

        Args:
            plan: within the budget.
            epochs: instead of the recipe's.
            trained: where the network starts from, as in :meth:`compress`.

        Raises:
            OverBudgetError, DataError, LimitReached, EvaluationError
        """
        recipe = self.recipe if epochs is None else replace(self.recipe, epochs=epochs)
        data = self._data()
        compressed = self.compress(plan, trained)
        return train(
            compressed,
            data,
            recipe,
            self.seed,
            teacher=self.model,
            charge=lambda images: self.meter.charge(samples_trained=images),
        )

    def latencies(self, models: Sequence[nn.Module]) -> list[float]:
        """Median milliseconds per image in a batch of 32, the networks measured in turn (see :func:`latencies`).

        Raises:
            DataError: if the task has no data.
        """
        data = self._data()
        inputs, _ = next(iter(data.batches(data.validation.subset(LATENCY_BATCH, seed=0), LATENCY_BATCH)))
        return latencies([model.eval() for model in models], inputs)

    def used(self) -> list[list[str]]:
        """The (layer, form) pairs charged so far, for a checkpoint."""
        return [list(pair) for pair in sorted(self._used)]

    def restore_used(self, used: list[list[str]]) -> None:
        """Goes on from :meth:`used`, so that nothing is charged twice after a resume."""
        self._used = {(layer, form) for layer, form in used}

    def _data(self) -> Data:
        if self.data is None:
            raise DataError("this task has no data: give Task(..., data=rank_search.load_data(...))")
        return self.data

    def _subset(self) -> tuple[ImageSet, ImageSet]:
        """The fixed training images for recalibration and validation images for evaluation; the same for all seeds."""
        if self._subsets is None:
            data = self._data()
            count = self._evaluation_images or len(data.validation)
            calibration = data.train.subset(max(1, self._recalibration_images), seed=0)
            self._subsets = (calibration, data.validation.subset(count, seed=0))
        return self._subsets

    def _build(self, plan: RankPlan, trained: nn.Module | None = None) -> nn.Module:
        dense = self.model if trained is None else trained
        compressed = self.space.compress(self.model, plan) if trained is None else compress(trained, plan)
        images = self._calibration_images(plan)
        if self.data is not None and images:
            batches = self.data.batches(self._subset()[0], RECALIBRATION_BATCH)
            recalibrate(compressed, dense, (inputs for inputs, _ in batches))
        return compressed.eval()

    def _calibration_images(self, plan: RankPlan) -> int:
        """Images that recalibration of this plan's network runs; the dense network keeps its own statistics."""
        if self.data is None or not self._recalibration_images or not self._has_norms or not _used_by(plan):
            return 0
        return len(self._subset()[0])

    def _recalibration_cost(self, plan: RankPlan) -> int:
        """Forward samples: the images run through the compressed network and through the dense one."""
        return 2 * self._calibration_images(plan)

    def _charge(self, used: set[tuple[str, str]], **counts: int) -> None:
        """Charges the counts and the decompositions that this task has not used before, all or none."""
        new = used - self._used
        self.meter.charge(decompositions=len(new), **counts)
        self._used |= new


def _used_by(plan: RankPlan) -> set[tuple[str, str]]:
    return {(name, choice.form) for name, choice in plan.items() if choice != DENSE}
