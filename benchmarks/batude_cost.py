"""What BATUDE costs beside the training itself: its Z-step on a ResNet-20, its greedy budget step on a ResNet-50."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from cifar import add_weights, resnet20
from timing import Spread, alternate, parser, print_table, print_verdict, seconds, use_threads
from torch import Tensor, nn

from rank_search.searchers.batude.gated_layer import GatedLayer, gated_layers
from rank_search.searchers.batude.greedy_ranks import greedy_ranks
from rank_search.searchers.batude.split_variables import SplitVariables
from rank_search.searching.one_shot_training import OneShotTraining, TrainingOptions
from rank_search.space import Budget, RankSpace
from rank_search.task import ImageData, ImageSet, Task
from rank_search.task.networks.models import load_model

FORMS = ("tucker2", "svd")
IMAGES, BUDGET = 4000, Budget(macs=0.3)
Z_TARGET, GREEDY_TARGET_S = 0.15, 0.5
EPOCH, ZSTEP, SVDS = "epoch of 4,000 images", "Z-step", "float32 SVDs of the same unfoldings"
GREEDY, RESCAN = "greedy step", "the same without a heap or paths"


def images(count: int) -> ImageData:
    """Random images of CIFAR's size: what they show does not change what training on them costs."""
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(0, 256, (count, 3, 32, 32), dtype=torch.uint8, generator=generator)
    both = ImageSet(pixels, torch.arange(count) % 10)
    return ImageData(both, both, None, (0.5,) * 3, (0.25,) * 3, crop=4, flip=True)


def weights_of(model: nn.Module, layers: list[GatedLayer]) -> dict[str, Tensor]:
    found = {}
    for layer in layers:
        weight = model.get_submodule(layer.name).weight
        assert isinstance(weight, Tensor)
        found[layer.name] = layer.layer.canonical(weight.detach().double())
    return found


def svds(layers: list[GatedLayer], weights: dict[str, Tensor]) -> float:
    """Seconds of the full SVDs that the Gram bases stand for."""
    unfoldings = [one.float() for layer in layers for one in layer.unfold(weights[layer.name])]
    return sum(seconds(lambda one=one: torch.linalg.svd(one, full_matrices=False)) for one in unfoldings)  # type: ignore[misc]


def zstep(weights_file: str | None, repetitions: int | None) -> Spread:
    """The Z-step over all layers against an epoch of training, in alternation; returns the ratio."""
    model, example = resnet20(weights_file)
    space = RankSpace.from_model(model, example, forms=FORMS[:1])
    task = Task(model, space, BUDGET, images(IMAGES))
    layers = gated_layers(space, BUDGET, None)
    split = SplitVariables(space, BUDGET, layers, soft=True, gradient_weight=0.0)
    training = OneShotTraining(task, model, TrainingOptions(epochs=100, lr=1e-5), seed=0)
    weights = weights_of(model, layers)
    works: list[Callable[[], dict[str, float]]] = [
        lambda: {EPOCH: seconds(lambda: training.run(training.steps_per_epoch, {}, rho=1e-3))},
        lambda: {ZSTEP: seconds(lambda: split.split(weights, None, frozen=False))},
        lambda: {SVDS: svds(layers, weights)},
    ]
    found = alternate(works, repetitions or 5, limit_s=240, warm_up=False)
    rows = []
    for part in (EPOCH, ZSTEP, SVDS):
        ratio = Spread.of([a / b for a, b in zip(found[part], found[EPOCH], strict=True)])
        rows.append([part, *Spread.of(found[part]).cells(), *ratio.cells()])
    print_table(["ResNet-20", "seconds", "range", "to epoch", "range"], rows)
    return Spread.of([a / b for a, b in zip(found[ZSTEP], found[EPOCH], strict=True)])


def rescan(tables: list[Any], capacity: np.ndarray[Any, np.dtype[np.float64]]) -> None:
    """A greedy step that looks at every mode of every layer before each drop, from all ranks full."""
    ranks = [tuple(size - 1 for size in table.lost.shape) for table in tables]
    total = sum(table.costs[here] for table, here in zip(tables, ranks, strict=True))
    while (total > capacity).any():
        best, chosen = np.inf, None
        for i, (table, here) in enumerate(zip(tables, ranks, strict=True)):
            for mode in range(len(here)):
                there = tuple(rank - (mode == m) for m, rank in enumerate(here))
                if not table.possible[there]:
                    continue
                saved = float((table.costs[here] - table.costs[there])[0])
                key = (table.lost[there] - table.lost[here]) / saved
                if key < best:
                    best, chosen = key, (i, there)
        if chosen is None:
            return
        i, there = chosen
        total = total - tables[i].costs[ranks[i]] + tables[i].costs[there]
        ranks[i] = there


def greedy(repetitions: int | None) -> Spread:
    """The greedy step over all singular values of a ResNet-50; returns its seconds."""
    torch.manual_seed(0)
    model, example = load_model("torchvision:resnet50"), torch.randn(1, 3, 224, 224)
    space = RankSpace.from_model(model, example, forms=FORMS)
    layers = gated_layers(space, BUDGET, None)
    weights = weights_of(model, layers)
    tables = [layer.table(layer.analyse(weights[layer.name]).lost()) for layer in layers]
    values = sum(rank for layer in layers for rank in layer.full)
    print(f"\nResNet-50: {len(layers)} layers, {values:,} singular values")
    limit = BUDGET.limits(space.dense_cost)["macs"] - space.fixed_cost["macs"]
    gated = {layer.name for layer in layers}
    column = space.metric_names.index("macs")
    limit -= sum(int(o.costs[0, column]) for o in space.layers if o.layer.name not in gated)
    capacity = np.array([limit], dtype=np.float64)
    works: list[Callable[[], dict[str, float]]] = [
        lambda: {GREEDY: seconds(lambda: greedy_ranks(tables, capacity))},
    ]
    found = alternate(works, repetitions or 7, limit_s=60)
    found[RESCAN] = [seconds(lambda: rescan(tables, capacity))]
    ratios = Spread.of([found[RESCAN][0] / one for one in found[GREEDY]])
    rows = [[part, *Spread.of(found[part]).cells()] for part in (GREEDY, RESCAN)]
    print_table(["ResNet-50", "seconds", "range"], rows)
    print(f"the rescan, run once, takes {ratios.median:.0f} times as long")
    return Spread.of(found[GREEDY])


def main() -> None:
    command = parser(__doc__)
    add_weights(command)
    arguments = command.parse_args()
    use_threads(arguments.threads)
    share, spent = zstep(arguments.weights, arguments.repetitions), greedy(arguments.repetitions)
    seconds_spent = f"{spent.median:.2f} s ({spent.low:.2f}..{spent.high:.2f})"
    print_verdict(
        f"Z-step at most {Z_TARGET:.0%} of an epoch of {IMAGES:,} images; greedy step under {GREEDY_TARGET_S} s",
        f"{share.median:.2%} ({share.low:.2%}..{share.high:.2%}), {seconds_spent}",
        share.median <= Z_TARGET and spent.median < GREEDY_TARGET_S,
    )


if __name__ == "__main__":
    main()
