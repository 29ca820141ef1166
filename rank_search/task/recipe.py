"""The one fine-tune recipe, the same for every method: distillation from the dense net, SGD-Nesterov, cosine."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import ClassVar

import torch
from torch import Tensor, nn

from rank_search.errors import EvaluationError, InvalidInputError, RankSearchError, told
from rank_search.nests import call
from rank_search.plugins import nearest
from rank_search.running import device_of, evaluating
from rank_search.space.forms.low_rank import LowRank
from rank_search.task.batch import Batch
from rank_search.task.data.data import Data
from rank_search.task.distillation import run_beside, weight_error
from rank_search.task.evaluation import with_dense
from rank_search.task.objectives.choose import ObjectiveSpec, make_objective
from rank_search.task.objectives.objective import Objective

FORM_LR = {"cp": 0.3}
"""Factor on the learning rate of a form's own parameters: CP factors are ill-conditioned (docs/methods.md)."""

DISTILL = ("logits", "layers")


@dataclass(frozen=True)
class Recipe:
    """How a compressed network is trained after its ranks are chosen.

    Args:
        epochs: passes over the training set; 0 leaves the network as it is.
        lr: peak learning rate; rises over the first ``warmup`` of all steps, then falls to 0 as a cosine.
        form_lr: factor on ``lr`` per form for the parameters of layers of that form; 1 where a form is not named.
        momentum, weight_decay: of SGD with Nesterov's momentum; biases and norm layers are not decayed.
        batch_size: samples per step.
        distill: what is learned from the dense network beside the targets: its ``logits`` (the network's outputs,
            whatever they are), or the outputs of its ``layers`` (see :func:`task_loss`).
        distill_weight: of that term; 0 is the objective's loss alone. With ``logits`` at most 1: the loss has the rest.
        layer_sum: with ``layers``: the paper's own sum, which has the factor 0.5 in place of ``distill_weight``.
        temperature: of the softmax of ``logits`` (Hinton et al., 2015).
        clip: largest norm of the whole gradient.
        warmup: fraction of all steps.
    """

    epochs: int = 5
    lr: float = 0.02
    form_lr: Mapping[str, float] = field(default_factory=lambda: dict(FORM_LR))
    momentum: float = 0.9
    weight_decay: float = 1e-4
    batch_size: int = 64
    distill: str = "logits"
    distill_weight: float = 0.7
    layer_sum: bool = False
    temperature: float = 2.0
    clip: float = 1.0
    warmup: float = 0.1

    # how a config file reads this section; a number as `distill`, which was its weight, is refused below
    __pydantic_config__: ClassVar[dict[str, str | bool]] = {"extra": "forbid", "coerce_numbers_to_str": True}

    def __post_init__(self) -> None:
        if self.distill not in DISTILL:
            raise InvalidInputError(
                f"finetune distill={self.distill!r} is not allowed{nearest(str(self.distill), DISTILL)}: it must be "
                f"{' or '.join(DISTILL)}; a weight goes to distill_weight"
            )
        if not isinstance(self.layer_sum, bool) or (self.layer_sum and self.distill != "layers"):
            raise InvalidInputError(
                f"finetune layer_sum={self.layer_sum!r} is not allowed with distill={self.distill}: it must be False, "
                "or True with distill=layers"
            )
        ranges = {
            "epochs": (0, math.inf),
            "momentum": (0, 0.9999),
            "weight_decay": (0, math.inf),
            "distill_weight": (0, 1 if self.distill == "logits" else math.inf),
            "warmup": (0, 1),
        }
        for item in fields(self):
            if item.name in ("distill", "layer_sum"):
                continue
            value = getattr(self, item.name)
            low, high = ranges.get(item.name, (None, math.inf))
            values = value.values() if isinstance(value, Mapping) else [value]
            for number in values:
                inside = number > 0 if low is None else low <= number <= high
                if isinstance(number, bool) or not inside or not math.isfinite(number):
                    allowed = "above 0" if low is None else f"from {low}" + (f" to {high}" if high < math.inf else "")
                    raise InvalidInputError(f"finetune {item.name}={value!r} is not allowed: it must be {allowed}")


def train(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    seed: int = 0,
    teacher: nn.Module | None = None,
    charge: Callable[[int], None] = lambda samples: None,
    after_epoch: Callable[[int, float], None] = lambda epoch, loss: None,
    objective: ObjectiveSpec | None = None,
) -> nn.Module:
    """Trains a network in place; the same seed gives the same bits on the same machine and thread count.

    Args:
        model: dense or compressed; returned in eval mode.
        data: its training set is used, augmented where it is images.
        recipe: how.
        seed: of the order and augmentation of the samples.
        teacher: the dense network to distil from; None trains by the objective alone.
        charge: called with the number of samples before each step.
        after_epoch: called with the epoch (from 1) and its mean loss.
        objective: what the network is trained for: an objective or its name; None is classification.

    Raises:
        EvaluationError: if the network fails or the loss is not finite; says at which step.
        InvalidInputError: if the objective does not fit the network's outputs, or needs a teacher that is not there.
    """
    aim = make_objective(objective)
    if aim.by_dense and teacher is None:
        raise InvalidInputError(
            f"the objective {type(aim).__name__} compares with the dense network: it cannot train one without a teacher"
        )
    if recipe.epochs == 0:
        return model.eval()
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise InvalidInputError(
            f"every parameter of {type(model).__name__} is frozen (requires_grad=False): nothing can be trained; thaw "
            "some, or set epochs=0"
        )
    device = device_of(model)
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)  # dropout and stochastic depth draw from the global generator
        _run_epochs(model, data, recipe, torch.Generator().manual_seed(seed), teacher, charge, after_epoch, aim)
    return model.eval()


def _run_epochs(
    model: nn.Module,
    data: Data,
    recipe: Recipe,
    generator: torch.Generator,
    teacher: nn.Module | None,
    charge: Callable[[int], None],
    after_epoch: Callable[[int, float], None],
    objective: Objective,
) -> None:
    device = device_of(model)
    optimiser = torch.optim.SGD(
        _groups(model, recipe), lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0
    )
    per_epoch = math.ceil((len(data.train) - 1) / recipe.batch_size)  # a single sample left over joins a batch
    total = recipe.epochs * per_epoch
    schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: _cosine(step, total, recipe.warmup))
    step = 0
    for epoch in range(1, recipe.epochs + 1):
        model.train()
        losses = []
        batches = data.train_batches(recipe.batch_size, generator)
        for batch in with_dense(batches, objective, model if teacher is None else teacher):
            charge(batch.samples)
            batch = batch.to(device)
            step += 1
            try:
                loss = task_loss(model, teacher, batch, recipe, objective)
            except RankSearchError:
                raise
            except (RuntimeError, IndexError, ValueError) as error:
                raise EvaluationError(
                    f"the network cannot be trained on these samples, at step {step}: {told(error)}"
                ) from error
            if not torch.isfinite(loss):
                raise EvaluationError(
                    f"the training loss became {float(loss.detach())} at step {step} of {total}; "
                    f"lower finetune lr ({recipe.lr}) or clip"
                )
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), recipe.clip)
            optimiser.step()
            schedule.step()
            losses.append(float(loss.detach()))
        after_epoch(epoch, sum(losses) / len(losses))


def task_loss(
    model: nn.Module, teacher: nn.Module | None, batch: Batch, recipe: Recipe, objective: Objective
) -> Tensor:
    """The objective's loss, and the distillation term where there is a teacher.

    With w the ``distill_weight`` and O, D the outputs of a replaced layer in the network and in the teacher:

    - ``logits``: ``(1 - w) loss + w distance`` of the networks' outputs; of classes the distance is
      ``t^2 KL(teacher || network)`` of the softmax at temperature t (Hinton et al., 2015).
    - ``layers``: ``loss + w mean_l mean (O_l - D_l)^2``, the inner mean over all elements of a call, not divided by the
      scale of D; every call of a layer counts as a layer. The outputs are those of arXiv 2409.03555, the means ours:
      the term depends neither on the batch nor on how many layers there are, or how large.
    - ``layers`` with ``layer_sum``: ``loss + 0.5 (sum_l ||W_l - What_l||^2 + sum_l ||O_l - D_l||^2)``, as that paper
      has it; What is what the factors multiply out to. That the second sum is averaged over the batch is a
      RECONSTRUCTION.

    A network without replaced layers has no layer term.
    """
    if teacher is None or recipe.distill_weight == 0:
        return objective.loss(call(model, batch.inputs), batch)
    if recipe.distill == "layers":
        return _with_layers(model, teacher, batch, recipe, objective)
    outputs = call(model, batch.inputs)
    loss = objective.loss(outputs, batch)
    with evaluating(teacher):
        wanted = call(teacher, batch.inputs)
    soft = objective.distance(outputs, wanted, recipe.temperature)
    return (1 - recipe.distill_weight) * loss + recipe.distill_weight * soft


def _with_layers(model: nn.Module, teacher: nn.Module, batch: Batch, recipe: Recipe, objective: Objective) -> Tensor:
    found, differences = run_beside(model, teacher, batch.inputs)
    loss = objective.loss(found, batch)
    if recipe.layer_sum:
        outputs = sum(difference.square().sum() for difference in differences) / batch.samples
        return loss + 0.5 * (weight_error(model, teacher) + outputs)
    if not differences:
        return loss
    return loss + recipe.distill_weight * torch.stack([part.square().mean() for part in differences]).mean()


def _groups(model: nn.Module, recipe: Recipe) -> list[dict[str, object]]:
    """Parameter groups by the form of their layer (its learning rate) and by whether they are decayed."""
    factor_of: dict[int, float] = {}
    for module in model.modules():
        if isinstance(module, LowRank):
            factor = recipe.form_lr.get(module.choice.form, 1.0)
            factor_of |= {id(parameter): factor for parameter in module.parameters()}
    groups: dict[tuple[float, float], list[nn.Parameter]] = {}
    for parameter in model.parameters():
        decay = recipe.weight_decay if parameter.ndim > 1 else 0.0
        groups.setdefault((factor_of.get(id(parameter), 1.0), decay), []).append(parameter)
    return [
        {"params": parameters, "lr": recipe.lr * factor, "weight_decay": decay}
        for (factor, decay), parameters in groups.items()
    ]


def _cosine(step: int, total: int, warmup: float) -> float:
    rising = max(1, round(total * warmup))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, total - rising)))
