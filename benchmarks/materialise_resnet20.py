"""Building a compressed ResNet-20 from cached factors against tensorly's Tucker of the same layers and ranks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import tensorly as tl
import torch
from cifar import add_weights, resnet20
from tensorly.decomposition import partial_tucker
from timing import Spread, alternate, parser, print_table, print_verdict, seconds, use_threads
from torch import Tensor, nn

from rank_search.space import DENSE, Budget, RankPlan, RankSpace, plan_of

TARGET = 10
OURS = "space.compress, cached factors"
BACKENDS = ("numpy", "pytorch")


def weights_and_ranks(model: nn.Module, plan: RankPlan) -> list[tuple[Tensor, list[int]]]:
    """The float32 weight and the ranks of every layer that the plan decomposes."""
    found = []
    for name, choice in plan.items():
        weight = model.get_submodule(name).weight
        assert isinstance(weight, Tensor)
        if choice != DENSE:
            found.append((weight.detach(), list(choice.ranks)))
    return found


def tensorly_layers(backend: str, layers: list[tuple[Tensor, list[int]]]) -> dict[str, float]:
    """Seconds of ``partial_tucker`` with its default settings, decompositions only; no module is built."""
    with tl.backend_context(backend):
        tensors = [weight.numpy() if backend == "numpy" else weight for weight, _ in layers]

        def work() -> None:
            for tensor, (_, ranks) in zip(tensors, layers, strict=True):
                partial_tucker(tensor, rank=ranks, modes=[0, 1])

        return {f"tensorly partial_tucker, {backend}": seconds(work)}


def main() -> None:
    command = parser(__doc__)
    add_weights(command)
    arguments = command.parse_args()
    use_threads(arguments.threads)
    model, example = resnet20(arguments.weights)
    space = RankSpace.from_model(model, example, forms=["tucker2"])
    once = seconds(space.relative_errors)
    plan = space.plan(space.minimise(space.relative_errors(), Budget(macs=0.5)).indices)
    assert plan_of(space.compress(model, plan)) == plan
    layers = weights_and_ranks(model, plan)
    print(f"knapsack plan at macs 0.5, tucker2: {len(layers)} of {len(space.layers)} layers decomposed")
    works: list[Callable[[], dict[str, float]]] = [lambda: {OURS: seconds(lambda: space.compress(model, plan))}]
    works += [partial(tensorly_layers, backend, layers) for backend in BACKENDS]
    with torch.no_grad():
        found = alternate(works, arguments.repetitions or 60, limit_s=45)
    ratios = {
        part: Spread.of([other / ours for ours, other in zip(found[OURS], times, strict=True)])
        for part, times in found.items()
    }
    rows = [[part, *Spread.of(times).cells(1e-3), *ratios[part].cells()] for part, times in found.items()]
    print_table(["what", "ms", "range", "to ours", "range"], rows)
    print(
        f"{len(found[OURS])} alternating rounds. Ours builds the whole network, tensorly only decomposes; "
        f"not counted: decomposing all layers once for all ranks, {once * 1e3:.0f} ms"
    )
    fastest = min((part for part in found if part != OURS), key=lambda part: ratios[part].median)
    measured = ratios[fastest]
    print_verdict(
        f"at least {TARGET} times faster than the faster tensorly",
        f"{measured.median:.1f} times ({measured.low:.1f}..{measured.high:.1f}), {fastest}",
        measured.median >= TARGET,
    )


if __name__ == "__main__":
    main()
