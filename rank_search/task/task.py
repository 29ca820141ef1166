"""The task: what a plan is worth. Searchers see it through :class:`Oracles`; the test set is not in it."""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.arrays import FloatArray
from rank_search.copying import copy_network
from rank_search.deploy.engines import Timing
from rank_search.digests import digest_of
from rank_search.errors import DataError, InvalidInputError, PlanError
from rank_search.isolation import trusted
from rank_search.nests import Nest, check_nest, filled, moved
from rank_search.running import device_of
from rank_search.space import DENSE, Budget, RankPlan, RankSpace, compress, plan_of
from rank_search.space.compress import check_saveable
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.space.verification import verify_cost
from rank_search.task.batch import Batch
from rank_search.task.data.data import Data
from rank_search.task.evaluation import Evaluation, validate, with_dense
from rank_search.task.finetune import train_on
from rank_search.task.latency import LATENCY_BATCH, timings, training_seconds
from rank_search.task.meter import Limits, Meter
from rank_search.task.mixed_network import MixedNetwork
from rank_search.task.mixup import check_mixable
from rank_search.task.networks.weights import check_finite
from rank_search.task.objectives.choose import ObjectiveSpec, make_objective
from rank_search.task.objectives.fit import check_fit
from rank_search.task.passes import TRAINING_PASSES, Passes
from rank_search.task.recipe import Recipe
from rank_search.task.repair.mender import Mended
from rank_search.task.repair.repair import Repair
from rank_search.task.task_loss import task_loss
from rank_search.task.training import Training


class Task:
    """A model, its space, a budget, data and an objective, with metered oracles.

    Args:
        model: the trained dense network; never changed.
        space: built from that model.
        budget: hard; every oracle refuses a plan over it.
        data: None for searches that need only the weights. A test set in it is dropped.
        recipe: the common fine-tune.
        seed: of the fine-tune; the fixed subsets are the same for every seed.
        evaluation_samples: size of the fixed validation subset that :meth:`evaluate` uses; None is all.
        recalibration_samples: training inputs, without targets, on which :meth:`evaluate` repairs a network; 0 leaves
            it as it was cut.
        objective: what is good: ``classification``, ``regression``, ``multilabel``, ``segmentation``,
            ``language_modelling``, ``embedding``, ``module:Class``, ``{name: {option: value}}`` or an
            :class:`Objective`; None is classification.
        repair: of every network that is fine-tuned or returned: ``none``, ``recalibrate`` (batch norm: see
            :func:`recalibrate`) or ``refit`` (the factors, too: see :func:`refit`).
        repair_inputs: training inputs, without targets, for it.
        evaluation_repair: the same for networks that are only evaluated, many times in a search.

    Attributes:
        meter: what the oracles have used.
        mended: what the last refit made of each layer, by name.

    Raises:
        InfeasibleBudgetError: if no plan of the space meets the budget.
        WeightsError: if a parameter of the model is NaN or infinite, or its state cannot be saved.
        InvalidInputError: if the objective does not fit the network's outputs and the targets.
        DataError: if it needs targets and the data has none.
    """

    def __init__(
        self,
        model: nn.Module,
        space: RankSpace,
        budget: Budget,
        data: Data | None = None,
        recipe: Recipe | None = None,
        seed: int = 0,
        evaluation_samples: int | None = None,
        recalibration_samples: int = 256,
        objective: ObjectiveSpec | None = None,
        repair: str = "refit",
        repair_inputs: int = 512,
        evaluation_repair: str = "recalibrate",
    ) -> None:
        if evaluation_samples is not None and evaluation_samples < 1:
            raise InvalidInputError(f"evaluation_samples={evaluation_samples} is not allowed: it must be at least 1")
        check_saveable(model)
        check_finite(model)
        space.require_feasible(budget)
        self.model, self.space, self.budget = model, space, budget
        self.recipe, self.seed = recipe or Recipe(), seed
        self.objective = make_objective(objective)
        self.data = None if data is None else data.without_test()
        self._evaluation_samples = evaluation_samples
        self._evaluation_set: Any = None
        self._used: set[tuple[str, str]] = set()
        self._repair = Repair(repair, repair_inputs, model, self.data, ("repair", "repair_inputs"))
        self._evaluation_repair = Repair(
            evaluation_repair,
            recalibration_samples,
            model,
            self.data,
            ("evaluation_repair", "recalibration_samples"),
        )
        self.mended: dict[str, Mended] = {}
        self._mixed = MixedNetwork(model)
        self._lock = threading.RLock()
        self._threads = threading.get_ident(), torch.get_num_threads()
        self.meter = Meter()
        self._passes = Passes(self._charge_passes)
        if self.data is not None:
            check_mixable(self.data.example(), self.recipe.mixup)
            check_fit(self.objective, self.data, model)

    def __repr__(self) -> str:
        return f"Task({type(self.model).__name__}, {self.space!r}, {self.budget!r}, {self.objective!r}, {self.data!r})"

    def __deepcopy__(self, memo: dict[int, Any]) -> Task:
        other = copy.copy(self)
        for name, value in vars(self).items():
            setattr(other, name, threading.RLock() if name == "_lock" else copy.deepcopy(value, memo))
        return other

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name not in ("_lock", "_threads", "_passes")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state, _lock=threading.RLock(), _passes=Passes(self._charge_passes))
        self._threads = threading.get_ident(), torch.get_num_threads()

    def under(self, budget: Budget, seed: int | None = None, limits: Limits | None = None) -> Task:
        """The same task with another budget or seed and a fresh meter.

        Raises:
            InfeasibleBudgetError: if no plan of the space meets the budget.
        """
        self.space.require_feasible(budget)
        other = copy.copy(self)
        other.budget, other.seed = budget, self.seed if seed is None else seed
        other._used, other.meter = set(), Meter(limits)
        other._passes = Passes(other._charge_passes)
        return other

    # -- what searchers see, too (documented in Oracles) ---------------------------------------------------------------

    def admit(self, plan: RankPlan) -> dict[str, int]:
        """The plan's cost; the gate through which every plan passes.

        Raises:
            OverBudgetError: if it is over the budget.
        """
        return self.space.admit(plan, self.budget)

    def relative_errors(self) -> list[FloatArray]:
        """``||W - What||^2 / ||W||^2`` of every option, one array ``[n]`` per layer; charges every decomposition."""
        with self._working():
            self._charge({(options.layer.name, form.name) for options in self.space.layers for form in options.forms})
            return self.space.relative_errors()

    def trained_errors(self, weights: Mapping[str, Tensor]) -> list[FloatArray]:
        """As :meth:`relative_errors`, of other weights (see :class:`Oracles`)."""
        found = []
        for options in self.space.layers:
            weight = weights.get(options.layer.name)
            if weight is None:
                raise InvalidInputError(
                    f"trained_errors needs the weight of every layer of the space: {options.layer.name!r}"
                )
            if tuple(weight.shape) != options.layer.shape:
                raise InvalidInputError(
                    f"the weight of layer {options.layer.name!r} has shape {list(weight.shape)}, "
                    f"the layer's is {list(options.layer.shape)}"
                )
            with self._working():
                self.meter.charge(decompositions=len(options.forms))
                other = LayerWeight(options.layer, weight, None, options.weight.whitening)
                found.append(options.relative_errors_of(other))
        return found

    def approximation(self, layer: int, option: int) -> Tensor:
        """The weight that an option puts in a layer's place (see :class:`Oracles`)."""
        options = self.space.layers[layer]
        with self._working():
            if option:
                self._charge({(options.layer.name, options.forms[int(options.form[option])].name)})
            return options.approximation(option)

    def weight_error(self, plan: RankPlan) -> float:
        """``sum_l ||W_l - What_l||^2 / ||W_l||^2`` of the plan: data-free.

        Raises:
            OverBudgetError, LimitReached
        """
        self.admit(plan)
        with self._working():
            self._charge(_used_by(plan))
            rows = zip(self.space.layers, self.space.indices(plan), strict=True)
            return sum(options.relative_error(int(row)) for options, row in rows)

    def evaluate(self, plan: RankPlan) -> Evaluation:
        """Builds the network, repairs it cheaply and validates it on the task's fixed validation subset.

        Raises:
            OverBudgetError: before anything is built.
            LimitReached: before anything is built, if a limit would be passed.
            EvaluationError: if the plan cannot be built or its loss is not finite.
            DataError: if the task has no data.
        """
        self.charge_evaluation(plan)
        return self.judge(plan)

    def charge_evaluation(self, plan: RankPlan, epochs: int = 0) -> None:
        """Admits the plan and charges what :meth:`judge` will use, all or nothing.

        Args:
            plan: to be judged.
            epochs: that it is trained for before.

        Raises:
            OverBudgetError, LimitReached, DataError
        """
        self.admit(plan)
        trained = epochs * len(self._data().train)
        with self._lock:
            repair = self._repair if epochs else self._evaluation_repair
            samples = self._scoring_cost() + repair.cost(plan)
            self._charge(_used_by(plan), evaluations=1, samples_forward=samples, samples_trained=trained)

    def charge_rung(self, epochs: int) -> None:
        """Charges so many epochs more of a training, and that its network is scored again, all or nothing.

        Raises:
            LimitReached, DataError
        """
        trained = epochs * len(self._data().train)
        self._charge(set(), samples_forward=self._scoring_cost(), samples_trained=trained)

    def _scoring_cost(self) -> int:
        """Forward samples of :meth:`score`."""
        return len(self.evaluation_set) * (2 if self.objective.by_dense else 1)

    def judge(self, plan: RankPlan) -> Evaluation:
        """What :meth:`evaluate` says of a plan that was charged before.

        Raises:
            OverBudgetError, EvaluationError, DataError
        """
        self.admit(plan)
        with self._working():  # what listens to the dense network and the caches of factors serve one plan at a time
            return self.score(self._build(plan, self._evaluation_repair))

    def score(self, network: nn.Module) -> Evaluation:
        """What a network is worth on the fixed validation samples; charges nothing.

        Raises:
            EvaluationError, DataError
        """
        with self._working():
            return validate(network, self._data(), self.evaluation_set, self.objective, self.model)

    def train_batches(
        self, generator: torch.Generator, batch_size: int | None = None, skip: int = 0
    ) -> Iterator[Batch]:
        """One epoch of training batches for one-shot methods (see :class:`Oracles`); metered as trained samples."""
        batches = self._data().train_batches(batch_size or self.recipe.batch_size, generator)
        for batch in islice(batches, skip, None):
            with self._lock:
                self.meter.charge(samples_trained=batch.samples)
                self._passes.pay(TRAINING_PASSES * batch.samples)
            yield from with_dense(iter([batch]), self.objective, self.model)

    @property
    def epoch_samples(self) -> int:
        """Samples of an epoch.

        Raises:
            DataError: if the task has no data.
        """
        return len(self._data().train)

    def fixed_inputs(self, samples: int) -> Nest:
        """The inputs of fixed training samples, the same for every seed, where the model is."""
        data = self._data()
        batch = next(iter(data.batches(data.train.subset(samples, seed=0), samples)))
        return moved(batch.inputs, self.device)

    def fixed_batch(self, samples: int) -> Batch:
        """Fixed training samples with their targets (see :class:`Oracles`)."""
        data = self._data()
        batch = next(iter(data.batches(data.train.subset(samples, seed=0), samples))).to(self.device)
        return next(iter(with_dense(iter([batch]), self.objective, self.model)))

    def outputs_with(self, weights: Mapping[str, Tensor], inputs: Nest, batch_statistics: bool = False) -> Any:
        """The dense network's outputs with some weights replaced, differentiable in them (see :class:`Oracles`)."""
        with self._lock:
            self._passes.run(check_nest(inputs, "the inputs"))
        return self._mixed.outputs(weights, inputs, batch_statistics)

    def loss(self, model: nn.Module, batch: Batch, distill_weight: float = 0.0) -> Tensor:
        """The objective's loss of a network, distilled from the dense one (see :class:`Oracles`)."""
        recipe = replace(self.recipe, distill="logits", distill_weight=distill_weight, layer_sum=False)
        return task_loss(model, self.model, batch, recipe, self.objective)

    def dense_model(self) -> nn.Module:
        """A copy of the dense network, the caller's own; its passes are counted."""
        with self._lock:
            return self._passes.watch(copy_network(self.model))

    @property
    def device(self) -> torch.device:
        """Where the model is."""
        return device_of(self.model)

    @property
    def has_data(self) -> bool:
        """Whether there are samples to evaluate and train on."""
        return self.data is not None

    def charge(self, **counts: int) -> None:
        """Charges work that a searcher does by itself (see :class:`Limits`), all or nothing.

        Raises:
            LimitReached: if a limit would be passed.
        """
        with self._lock:
            self.meter.charge(**counts)
            self._passes.pay(counts.get("samples_forward", 0))

    # -- what only the house sees --------------------------------------------------------------------------------------

    def compress(self, plan: RankPlan, trained: nn.Module | None = None) -> nn.Module:
        """The network under the plan, from cached factors, repaired on a fixed training subset.

        Args:
            plan: within the budget.
            trained: the dense network with weights of its own, as a one-shot search leaves them, which are decomposed
                on the spot (in Frobenius' metric) and repaired towards; or the plan's own network, trained already,
                which is copied as it stands. None takes the task's.

        Raises:
            OverBudgetError, LimitReached, EvaluationError
            WeightsError: if a trained parameter is NaN or infinite.
            PlanError: if the trained network is that of another plan.
        """
        self.admit(plan)
        if trained is not None:
            check_finite(trained)
        with self._working():
            if trained is not None and _is_of(trained, plan):
                compressed = copy_network(trained).eval()
            else:
                self._charge(_used_by(plan), samples_forward=self._repair.cost(plan))
                compressed = self._build(plan, self._repair, trained)
            verify_cost(self.space, compressed, plan)
        return compressed

    def validate(self, model: nn.Module) -> Evaluation:
        """The measures on the WHOLE validation set; metered as forward samples.

        Args:
            model: the dense network, or one compressed within the budget.

        Raises:
            OverBudgetError, DataError, LimitReached, EvaluationError
        """
        data, plan = self._data(), plan_of(model)
        if len(plan):
            self.admit(plan)
        with self._working():
            self.meter.charge(samples_forward=len(data.validation))
            return validate(model, data, data.validation, self.objective, self.model)

    def finetune(
        self,
        plan: RankPlan,
        epochs: int | None = None,
        trained: nn.Module | None = None,
        checkpoint: Path | None = None,
        after_epoch: Callable[[], None] = lambda: None,
    ) -> nn.Module:
        """The common fine-tune of the plan's network, distilled from the dense one; counted once more at the end.

        Args:
            plan: within the budget.
            epochs: instead of the recipe's.
            trained: where the network starts from, as in :meth:`compress`.
            checkpoint: a file that is rewritten after every epoch; if it is of this fine-tune, it goes on from there.
            after_epoch: called when the checkpoint is written.

        Raises:
            OverBudgetError, DataError, LimitReached, EvaluationError, StorageError
        """
        training = self.training(plan, epochs, trained)
        start = digest_of(training.model.state_dict().values())
        belongs_to = {"plan": plan.to_dict(), "recipe": asdict(training.recipe), "seed": self.seed, "start": start}
        with self._working():
            train_on(training, checkpoint, belongs_to, self._charge_training, after_epoch)
            verify_cost(self.space, training.model, plan)
        return training.model

    def training(self, plan: RankPlan, epochs: int | None = None, trained: nn.Module | None = None) -> Training:
        """The common fine-tune as a :class:`Training`, not begun: whoever runs it may stop after any epoch and go on.

        Args:
            plan, epochs, trained: as in :meth:`finetune`.

        Raises:
            OverBudgetError, DataError, LimitReached, EvaluationError
        """
        recipe = self.recipe if epochs is None else replace(self.recipe, epochs=epochs)
        data = self._data()
        return Training(
            self.compress(plan, trained), data, recipe, self.seed, self.model, self._charge_training, self.objective
        )

    def cut(self, plan: RankPlan, trained: nn.Module | None = None) -> nn.Module | None:
        """The network as the plan cuts it, before any repair; charges nothing.

        Args:
            plan, trained: as in :meth:`compress`.

        Returns:
            None if ``trained`` is the plan's own network, which nobody cuts.

        Raises:
            OverBudgetError, PlanError
        """
        self.admit(plan)
        if trained is not None and _is_of(trained, plan):
            return None
        with self._working():
            return (self.space.compress(self.model, plan) if trained is None else compress(trained, plan)).eval()

    @property
    def final_repair(self) -> Repair:
        """What networks are corrected by that are fine-tuned or returned."""
        return self._repair

    @property
    def evaluation_repair(self) -> Repair:
        """What :meth:`evaluate` corrects a network by."""
        return self._evaluation_repair

    @property
    def evaluation_set(self) -> Any:
        """The fixed validation samples that :meth:`evaluate` looks at, alike for all seeds.

        Raises:
            DataError: if the task has no data.
        """
        if self._evaluation_set is None:
            validation = self._data().validation
            self._evaluation_set = validation.subset(self._evaluation_samples or len(validation), seed=0)
        return self._evaluation_set

    def timings(self, models: Sequence[nn.Module]) -> list[Timing]:
        """Seconds of a run of a batch of 32 in eager PyTorch, the networks timed in turn (see :func:`timings`).

        Where fewer samples are held out, they fill the batch over and over.

        Raises:
            DataError: if the task has no data.
        """
        data = self._data()
        batch = next(iter(data.batches(data.validation.subset(LATENCY_BATCH, seed=0), LATENCY_BATCH)))
        return timings([model.eval() for model in models], filled(batch.inputs, LATENCY_BATCH))

    def seconds_of_samples(self) -> float:
        """CPU seconds that the samples which a searcher ran by itself take by this task's own timing."""
        samples = max(self.meter.samples_trained, self._passes.ran)
        if self.data is None or not samples:
            return 0.0
        with self._working(), torch.random.fork_rng(devices=[]), torch.enable_grad():
            return samples * training_seconds(self.model, self.data, self.objective)

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

    def _build(self, plan: RankPlan, repair: Repair, trained: nn.Module | None = None) -> nn.Module:
        compressed = self.space.compress(self.model, plan) if trained is None else compress(trained, plan)
        self.mended = repair.apply(compressed, plan, trained)
        return compressed

    def _charge(self, used: set[tuple[str, str]], **counts: int) -> None:
        """Charges the counts and the decompositions that this task has not used before, all or none."""
        with self._lock:
            new = used - self._used
            self.meter.charge(decompositions=len(new), **counts)
            self._used |= new

    def _charge_training(self, samples: int) -> None:
        self.meter.charge(samples_trained=samples)

    def _charge_passes(self, samples: int) -> None:
        self.meter.charge(samples_forward=samples)

    @contextmanager
    def _working(self) -> Iterator[None]:
        """One oracle at a time, with the cores that the task was made with, whatever thread asks."""
        with self._lock:
            owner, threads = self._threads
            if threading.get_ident() != owner and torch.get_num_threads() != threads:
                torch.set_num_threads(threads)
            with self.meter.inside(), trusted():
                yield


def _is_of(trained: nn.Module, plan: RankPlan) -> bool:
    """Whether a trained network is the plan's own, and not the dense one with weights of its own.

    Raises:
        PlanError: if it is that of another plan.
    """
    found = plan_of(trained)
    if len(found) and found != plan:
        raise PlanError(f"the trained network is that of {found!r}, not of {plan!r}")
    return len(found) > 0


def _used_by(plan: RankPlan) -> set[tuple[str, str]]:
    return {(name, choice.form) for name, choice in plan.items() if choice != DENSE}
