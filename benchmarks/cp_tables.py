"""CP in a space: the tables and the knapsack's plan, against tensorly's fit of every rank of the same layers."""

from __future__ import annotations

import resource
import time
import warnings
from collections.abc import Iterator, Sequence

import numpy as np
import tensorly as tl
import torch
from cifar import add_weights, resnet20
from tensorly.decomposition import parafac
from timing import Spread, parser, print_table, print_verdict, use_threads
from torch import Tensor, nn

from rank_search.space import Budget, RankSpace
from rank_search.task.networks.models import load_model

LEFT_OUT = ("conv1", "linear")
BUDGETS = (0.5, 0.3, 0.2)
ITERATIONS = 60  # of tensorly with its line search: how CP was fitted before
WIDE = ("tucker2", "svd_spatial", "cp", "svd")
WIDE_SECONDS = {"resnet18": 120, "resnet50": 240}
NOISE = 0.1  # of a kernel's root mean square, on the copies in a ResNet-56


def spent(start: float) -> float:
    return time.process_time() - start


def space_of(model: nn.Module, example: Tensor, forms: Sequence[str] = ("cp",)) -> RankSpace:
    return RankSpace.from_model(model, example, forms, exclude=LEFT_OUT)


def ranks_of(space: RankSpace) -> Iterator[tuple[np.ndarray, int, int, int]]:
    """Every kernel ``[Co, Ci, kh kw]`` with a rank, its layer and its row."""
    for layer, options in enumerate(space.layers):
        for row in range(1, len(options)):
            yield options.weight.plain[0].numpy(), int(options.ranks[row, 0]), layer, row


def by_tensorly(space: RankSpace) -> tuple[list[np.ndarray], float]:
    """Relative errors of tensorly's fits of every option, and the CPU seconds."""
    errors = [np.zeros(len(options)) for options in space.layers]
    start = time.process_time()
    for kernel, rank, layer, row in ranks_of(space):
        with tl.backend_context("numpy"), warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            weights, (out, into, taps) = parafac(
                kernel, rank, n_iter_max=ITERATIONS, init="svd", tol=1e-7, random_state=0, linesearch=True
            )
        left = kernel - np.einsum("or,ir,kr->oik", out * weights, into, taps, optimize=True)
        errors[layer][row] = np.square(left).sum() / np.square(kernel).sum()
    return errors, spent(start)


def all_ranks(space: RankSpace) -> tuple[list[np.ndarray], float]:
    """As :func:`by_tensorly`, by our fits."""
    start = time.process_time()
    errors = [np.array([o.relative_error(row) for row in range(len(o))]) for o in space.layers]
    return errors, spent(start)


def plan_of(model: nn.Module, example: Tensor, bound: float, forms: Sequence[str] = ("cp",)) -> dict[str, float]:
    """CPU seconds of a new space's tables, and until the knapsack's plan is measured; what it found."""
    space = space_of(model, example, forms)
    start = time.process_time()
    space.relative_errors()
    tables = spent(start)
    found = space.minimise_measured(Budget(macs=bound))
    return {
        "tables": tables,
        "plan": spent(start),
        "value": found.solution.value,
        "bound": found.solution.lower_bound,
        "fitted": found.fitted,
    }


def resnet56(small: nn.Module) -> nn.Module:
    """A ResNet-56 whose kernels are those of the ResNet-20 of equal shape, in turn, each with noise of its own."""
    rng = torch.Generator().manual_seed(0)
    kernels: dict[torch.Size, list[Tensor]] = {}
    for module in small.modules():
        if isinstance(module, nn.Conv2d):
            kernels.setdefault(module.weight.shape, []).append(module.weight.detach())
    model, taken = load_model("cifar_resnet56"), dict.fromkeys(kernels, 0)
    for module in model.modules():
        if isinstance(module, nn.Conv2d):
            shape = module.weight.shape
            kernel = kernels[shape][taken[shape] % len(kernels[shape])]
            taken[shape] += 1
            noise = NOISE * kernel.square().mean().sqrt() * torch.randn(shape, generator=rng)
            module.weight = nn.Parameter(kernel + noise)
    return model


def wide(name: str) -> None:
    torch.manual_seed(0)
    model, example = load_model(f"torchvision:{name}"), torch.randn(1, 3, 224, 224)
    start = time.process_time()
    space = RankSpace.from_model(model, example, WIDE)
    space.relative_errors()
    tables = spent(start)
    found = space.minimise_measured(Budget(macs=0.3))
    seconds, peak = spent(start), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{name}, random weights (seed 0), {'+'.join(WIDE)}, {sum(map(len, space.layers)):,} options: {tables:.0f} CPU "
        f"s to the tables, {seconds:.0f} to the plan at macs .3; peak of the process {peak:.0f} MB; value "
        f"{found.solution.value:.4f}, bound {found.solution.lower_bound:.4f}, {found.fitted} more fits"
    )
    limit = WIDE_SECONDS[name]
    print_verdict(f"{limit} CPU s, 2000 MB", f"{seconds:.0f} s, {peak:.0f} MB", seconds <= limit and peak <= 2000)


def main() -> None:
    command = parser(__doc__)
    add_weights(command)
    command.add_argument("--wide", choices=sorted(WIDE_SECONDS), help="this network instead, from torchvision, random")
    arguments = command.parse_args()
    use_threads(arguments.threads)
    if arguments.wide:
        wide(arguments.wide)
        return
    model, example = resnet20(arguments.weights)
    rounds = arguments.repetitions or 5
    plan_of(model, example, 0.3)  # warm
    space = space_of(model, example)
    theirs, their_seconds = by_tensorly(space)
    ours, our_seconds = all_ranks(space)
    rows = []
    for bound in BUDGETS:
        runs = [plan_of(model, example, bound) for _ in range(rounds)]
        best, old = (space.minimise(errors, Budget(macs=bound)).value for errors in (ours, theirs))
        tables, plan = (Spread.of([run[name] for run in runs]) for name in ("tables", "plan"))
        last = runs[-1]
        rows.append(
            [
                f"{bound}",
                f"{tables.median:.2f} ({tables.low:.2f}..{tables.high:.2f})",
                f"{plan.median:.2f} ({plan.low:.2f}..{plan.high:.2f})",
                f"{last['fitted']:.0f}",
                f"{last['value']:.4f}",
                f"{best:.4f}",
                f"{100 * (last['value'] / best - 1):.3f} %",
                f"{last['bound']:.4f}",
                f"{old:.4f}",
            ]
        )
        if bound == 0.3:
            seconds, gap = plan.median, last["value"] / best - 1
    print(f"stem and classifier dense, {len(space.layers)} layers, {sum(len(o) - 1 for o in space.layers)} options")
    print_table(
        ["macs", "tables, CPU s", "and plan", "fits", "value", "all fitted", "above it", "bound", "tensorly"], rows
    )
    ratio = [a[1:] / b[1:] for a, b in zip(ours, theirs, strict=True)]
    above = np.concatenate([r[b[1:] > 0.02] for r, b in zip(ratio, theirs, strict=True)])
    low, middle, mean, high = (f"{x:.4f}" for x in (above.min(), np.median(above), above.mean(), above.max()))
    print(
        f"every rank fitted: tensorly {their_seconds:.1f} CPU s, ours {our_seconds:.1f}; error, ours / tensorly's, "
        f"where tensorly's is above .02: median {middle}, mean {mean}, {low} to {high}"
    )
    large = plan_of(resnet56(model), example, 0.3)
    print(f"ResNet-56, noisy copies of these kernels: tables {large['tables']:.2f}, and plan {large['plan']:.2f} CPU s")
    print_verdict(
        "plan at macs .3 in 2 CPU s, at most .5 % above that of all ranks fitted; ResNet-56 in 8 s",
        f"{seconds:.2f} s (tensorly {their_seconds:.1f}, {their_seconds / seconds:.0f} times), {100 * gap:.3f} %; "
        f"{large['plan']:.2f} s",
        seconds <= 2 and gap <= 0.005 and large["plan"] <= 8,
    )


if __name__ == "__main__":
    main()
