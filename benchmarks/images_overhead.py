"""What data and objective as values cost on images: an epoch and an evaluation of a ResNet-20 against plain loops.

The plain loops do the same arithmetic with nothing between: normalise, run, cross-entropy, step.
"""

from __future__ import annotations

import copy
import time

import numpy as np
import torch
from timing import Spread, alternate, parser, print_table, print_verdict, use_threads
from torch import nn
from torch.nn.functional import cross_entropy

from rank_search import ImageData, ImageSet, Recipe, load_model, train
from rank_search.task.evaluation import BATCH, validate
from rank_search.task.objectives.classification import Classification

TRAINED, JUDGED, TARGET = 1024, 2000, 1.03
RECIPE = Recipe(epochs=1, batch_size=64)


def images(count: int, seed: int) -> ImageSet:
    """Random images of ten classes."""
    rng = np.random.default_rng(seed)
    return ImageSet.from_arrays(
        rng.integers(0, 256, (count, 32, 32, 3), dtype=np.uint8), rng.integers(0, 10, count, dtype=np.int64)
    )


def plain_epoch(model: nn.Module, data: ImageData) -> None:
    """The recipe's epoch without a teacher, written out."""
    decayed = [parameter for parameter in model.parameters() if parameter.ndim > 1]
    others = [parameter for parameter in model.parameters() if parameter.ndim <= 1]
    groups = [{"params": decayed, "weight_decay": RECIPE.weight_decay}, {"params": others, "weight_decay": 0.0}]
    optimiser = torch.optim.SGD(groups, lr=RECIPE.lr, momentum=RECIPE.momentum, nesterov=True)
    generator = torch.Generator().manual_seed(0)
    model.train()
    order = torch.randperm(len(data.train), generator=generator)
    for part in order.split(RECIPE.batch_size):
        inputs = data.normalise(data.augment(data.train.images[part], generator))
        loss = cross_entropy(model(inputs), data.train.labels[part])
        float(loss.detach())
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(model.parameters(), RECIPE.clip)
        optimiser.step()


def plain_evaluation(model: nn.Module, data: ImageData) -> None:
    """Loss and accuracy, written out."""
    model.eval()
    loss, right = 0.0, 0
    with torch.inference_mode():
        for start in range(0, len(data.validation), BATCH):
            part = slice(start, start + BATCH)
            logits, labels = model(data.normalise(data.validation.images[part])), data.validation.labels[part]
            loss += float(cross_entropy(logits.double(), labels, reduction="sum"))
            right += int((logits.argmax(1) == labels).sum())


def main() -> None:
    arguments = parser(__doc__).parse_args()
    use_threads(arguments.threads)
    data = ImageData(images(TRAINED, 0), images(JUDGED, 1), None, (0.5,) * 3, (0.25,) * 3, crop=4, flip=True)
    dense = load_model("cifar_resnet20")

    def measured(name: str, epoch: bool, ours: bool) -> dict[str, float]:
        model = copy.deepcopy(dense)
        start = time.process_time()
        if epoch:
            train(model, data, RECIPE) if ours else plain_epoch(model, data)
        elif ours:
            validate(model, data, data.validation, Classification())
        else:
            plain_evaluation(model, data)
        return {name: time.process_time() - start}

    found = alternate(
        [
            lambda: measured("epoch, ours", True, True),
            lambda: measured("epoch, plain", True, False),
            lambda: measured("evaluation, ours", False, True),
            lambda: measured("evaluation, plain", False, False),
        ],
        arguments.repetitions or 7,
        limit_s=600,
    )
    rows, ratios = [], []
    for what in ("epoch", "evaluation"):
        ratio = Spread.of(np.array(found[f"{what}, ours"]) / np.array(found[f"{what}, plain"]))
        ratios.append(ratio.median)
        cells = [
            *Spread.of(found[f"{what}, ours"]).cells(),
            *Spread.of(found[f"{what}, plain"]).cells(),
            *ratio.cells(),
        ]
        rows.append([what, *cells])
    print_table(["", "ours (CPU s)", "range", "plain", "range", "ratio", "range"], rows)
    print_verdict(
        f"CPU time at most {TARGET} of the plain loops",
        f"epoch {ratios[0]:.3f}, evaluation {ratios[1]:.3f}",
        max(ratios) <= TARGET,
    )


if __name__ == "__main__":
    main()
