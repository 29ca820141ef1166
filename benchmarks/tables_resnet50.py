"""Building every error table of a ResNet-50, all forms but cp, against float32 SVDs of the same unfoldings."""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import numpy as np
import torch
from timing import Spread, alternate, parser, print_table, print_verdict, seconds, use_threads
from torch import Tensor, nn

from rank_search.space import RankSpace
from rank_search.space.layers.trace import trace
from rank_search.task.networks.models import load_model

FORMS = ("tucker2", "svd", "svd_channel", "svd_spatial", "svd_grouped", "tensor_train")
TARGETS = {("tucker2", "svd"): 0.5, FORMS: 1.0}
MEMORY_MB = 1500
TRACE = "forward trace (one-off)"
OPTIONS = "option tables"
ERRORS = "errors of every option"
TABLES = "tables: options + errors"
SVD = "torch.linalg.svd, float32"


def build(model: nn.Module, example: Tensor, forms: tuple[str, ...]) -> dict[str, float]:
    """Builds the space from nothing and asks for every table of errors; the trace inside is timed apart."""
    spent: list[float] = []

    def timed_trace(*args: Any) -> Any:
        start = time.perf_counter()
        result = trace(*args)
        spent.append(time.perf_counter() - start)
        return result

    with mock.patch("rank_search.space.space.trace", timed_trace):
        start = time.perf_counter()
        space = RankSpace.from_model(model, example, forms=forms)
        built = time.perf_counter()
        for options in space.layers:
            assert len(options.errors) == len(options)
        end = time.perf_counter()
    return {TRACE: spent[0], OPTIONS: built - start - spent[0], ERRORS: end - built}


def unfoldings(space: RankSpace) -> Iterator[Tensor]:
    """The float32 matrices whose spectra the tables need, each once."""
    for options in space.layers:
        tensor = options.weight.plain[0].float()  # [Co, Ci, taps]; a ResNet-50 has no groups
        names = {form.name for form in options.forms}
        yield tensor.flatten(1)
        if names & {"tucker2", "tensor_train"}:
            yield tensor.transpose(0, 1).flatten(1)
        if "svd_spatial" in names:
            axes = tensor.unflatten(2, options.layer.kernel)
            yield axes.permute(1, 2, 0, 3).flatten(2).flatten(0, 1)
        for i, form in enumerate(options.forms):
            ranks = options.ranks_of(i)
            if form.name == "svd_grouped":
                for groups in np.unique(ranks[:, 0]).tolist():
                    if groups > 1:
                        yield from (part.flatten(1) for part in tensor.chunk(groups, dim=1))
            if form.name == "tensor_train":
                for first in np.unique(ranks[:, 0]).tolist():
                    yield tensor[:, :first].flatten(1)  # of the size of the cut weight


def svds(space: RankSpace) -> dict[str, float]:
    return {SVD: sum(seconds(lambda m=m: torch.linalg.svd(m, full_matrices=False)) for m in unfoldings(space))}  # type: ignore[misc]


def peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> None:
    arguments = parser(__doc__).parse_args()
    use_threads(arguments.threads)
    torch.manual_seed(0)
    model, example = load_model("torchvision:resnet50"), torch.randn(1, 3, 224, 224)
    before = peak_mb()
    build(model, example, FORMS)
    after = peak_mb()
    print(f"peak memory of the process: {before:.0f} MB with the network loaded, {after:.0f} MB after the tables")
    met = after <= MEMORY_MB
    verdicts = [f"peak {after:.0f} MB"]
    for forms, target in TARGETS.items():
        space = RankSpace.from_model(model, example, forms=forms)
        count = sum(1 for _ in unfoldings(space))
        print(
            f"\n{'+'.join(forms)}: random weights (seed 0), {len(space.layers)} layers, "
            f"{sum(map(len, space.layers)):,} options, {count} unfoldings"
        )
        works: list[Callable[[], dict[str, float]]] = [
            lambda forms=forms: build(model, example, forms),  # type: ignore[misc]
            lambda space=space: svds(space),  # type: ignore[misc]
        ]
        found = alternate(works, arguments.repetitions or 5, limit_s=120, warm_up=False)
        found[TABLES] = [a + b for a, b in zip(found[OPTIONS], found[ERRORS], strict=True)]
        rows = []
        for part in (SVD, OPTIONS, ERRORS, TABLES, TRACE):
            ratio = Spread.of([a / b for a, b in zip(found[part], found[SVD], strict=True)])
            rows.append([part, *Spread.of(found[part]).cells(), *ratio.cells()])
        print_table(["part", "seconds", "range", "to svd", "range"], rows)
        print(f"{len(found[SVD])} alternating rounds; the forward trace is not in the ratio.")
        measured = Spread.of([a / b for a, b in zip(found[TABLES], found[SVD], strict=True)])
        met = met and measured.median <= target
        low, high = f"{measured.low:.2f}", f"{measured.high:.2f}"
        verdicts.append(f"{len(forms)} forms {measured.median:.2f} ({low}..{high}) of the SVDs")
    print_verdict(
        f"peak {MEMORY_MB} MB; tucker2+svd at most .5, all forms but cp at most 1 of the float32 SVDs",
        ", ".join(verdicts),
        met,
    )


if __name__ == "__main__":
    main()
