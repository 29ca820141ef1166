"""Training a network by a recipe: SGD-Nesterov, a cosine, distillation from the dense network."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import nn

from rank_search.errors import EvaluationError, InvalidInputError, RankSearchError, told
from rank_search.running import device_of
from rank_search.space.forms.low_rank import LowRank
from rank_search.task.data.data import Data
from rank_search.task.evaluation import with_dense
from rank_search.task.objectives.choose import ObjectiveSpec, make_objective
from rank_search.task.objectives.objective import Objective
from rank_search.task.recipe import Recipe
from rank_search.task.task_loss import task_loss


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
