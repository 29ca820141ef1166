"""Building every error table of a ResNet-50 against float32 SVDs of the same unfoldings."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any
from unittest import mock

import torch
from timing import Spread, alternate, parser, print_table, print_verdict, seconds, use_threads
from torch import Tensor, nn

from rank_search.space import RankSpace
from rank_search.space.trace import trace
from rank_search.task.models import load_model

TARGET = 0.5
TRACE = "forward trace (one-off)"
OPTIONS = "option tables"
ERRORS = "errors of every option"
SVD = "torch.linalg.svd, float32"
GRAM = "Gram + eigh only, float64"


def build(model: nn.Module, example: Tensor) -> dict[str, float]:
    """Builds the space from nothing and asks for every table of errors; the trace inside is timed apart."""
    spent: list[float] = []

    def timed_trace(*args: Any) -> Any:
        start = time.perf_counter()
        result = trace(*args)
        spent.append(time.perf_counter() - start)
        return result

    with mock.patch("rank_search.space.space.trace", timed_trace):
        start = time.perf_counter()
        space = RankSpace.from_model(model, example, forms=["tucker2", "svd"])
        built = time.perf_counter()
        for options in space.layers:
            assert len(options.errors) == len(options)
        end = time.perf_counter()
    return {TRACE: spent[0], OPTIONS: built - start - spent[0], ERRORS: end - built}


def unfoldings(space: RankSpace, model: nn.Module) -> list[Tensor]:
    """The float32 matrices whose spectra the tables need: both channel unfoldings, or the matrix itself."""
    found = []
    for options in space.layers:
        weight = model.get_submodule(options.layer.name).weight
        assert isinstance(weight, Tensor)
        found.append(weight.detach().flatten(1).contiguous())
        if options.forms[0].name == "tucker2":
            found.append(weight.detach().transpose(0, 1).flatten(1).contiguous())
    return found


def gram_eigh(matrix: Tensor) -> None:
    exact = matrix.double()
    exact = exact if exact.shape[0] <= exact.shape[1] else exact.T
    torch.linalg.eigh(exact @ exact.T)


def over(matrices: list[Tensor], name: str, work: Callable[[Tensor], object]) -> Callable[[], dict[str, float]]:
    return lambda: {name: seconds(lambda: [work(matrix) for matrix in matrices])}


def main() -> None:
    arguments = parser(__doc__).parse_args()
    use_threads(arguments.threads)
    torch.manual_seed(0)
    model, example = load_model("torchvision:resnet50"), torch.randn(1, 3, 224, 224)
    space = RankSpace.from_model(model, example, forms=["tucker2", "svd"])
    matrices = unfoldings(space, model)
    print(
        f"ResNet-50, random weights (seed 0), {len(space.layers)} layers, {sum(map(len, space.layers)):,} options, "
        f"{len(matrices)} unfoldings"
    )
    works = [
        lambda: build(model, example),
        over(matrices, SVD, lambda matrix: torch.linalg.svd(matrix, full_matrices=False)),
        over(matrices, GRAM, gram_eigh),
    ]
    found = alternate(works, arguments.repetitions or 9, limit_s=75, warm_up=False)
    found["tables: options + errors"] = [a + b for a, b in zip(found[OPTIONS], found[ERRORS], strict=True)]
    rows = []
    for part in (SVD, GRAM, OPTIONS, ERRORS, "tables: options + errors", TRACE):
        ratio = Spread.of([a / b for a, b in zip(found[part], found[SVD], strict=True)])
        rows.append([part, *Spread.of(found[part]).cells(), *ratio.cells()])
    print_table(["part", "seconds", "range", "to svd", "range"], rows)
    print(
        f"{len(found[SVD])} alternating rounds. The tables hold the ranks, both costs and the exact error of every "
        "option, and the bases and cores that factors are cut from; the forward trace is not in the ratio."
    )
    measured = Spread.of([a / b for a, b in zip(found["tables: options + errors"], found[SVD], strict=True)])
    low, high = f"{measured.low:.2f}", f"{measured.high:.2f}"
    print_verdict(
        f"at most {TARGET} of the float32 SVDs",
        f"{measured.median:.2f} ({low}..{high})",
        measured.median <= TARGET,
    )


if __name__ == "__main__":
    main()
