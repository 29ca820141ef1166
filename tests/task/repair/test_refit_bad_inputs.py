"""The refit on too few inputs, on inputs that are no numbers, and on ones too large or all alike."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
import torch
from refit_nets import Attention, Residual
from repairing import bytes_of, correlated, cut, finite, mended, noise, seeded
from torch import Tensor, nn

from rank_search.space import Choice, RankPlan, compress

WIDTH = 40


def number(reason: str | None) -> int:
    """How many inputs a reason asks for: the largest number in it."""
    assert reason
    return max(int(found) for found in re.findall(r"\d+", reason))


@pytest.mark.parametrize(("tokens", "count"), [((), 5), ((), 6), ((), 7), ((), 8), ((), 11), ((3,), 4)])
@pytest.mark.parametrize("bias", [True, False])
def test_too_few_inputs_leave_a_layer_and_its_reason_says_how_many_are_enough(
    tokens: tuple[int, ...], count: int, bias: bool
) -> None:
    dense = seeded(lambda: nn.Sequential(nn.Linear(WIDTH, 30, bias=bias)), dtype=torch.float64)

    def inputs(count: int) -> Tensor:
        return correlated(count, WIDTH, *tokens, dtype=torch.float64).movedim(1, -1)

    def cut_to(rank: int) -> nn.Module:
        return compress(dense, RankPlan({"0": Choice("svd", (rank,))}))

    model = cut_to(12)
    was = bytes_of(model)
    enough = number(mended(model, dense, inputs(count))["0"].left)
    assert bytes_of(model) == was
    assert enough > count
    assert mended(cut_to(12), dense, inputs(enough))["0"].left in (None, "no fit is better on held-out inputs")


def test_too_few_inputs_for_a_fit_still_mend_the_batch_norm_behind_it() -> None:
    dense = seeded(lambda: nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5)), dtype=torch.float64)
    model, data = cut(dense), correlated(3, 6, dtype=torch.float64)
    assert "too" not in (left := mended(model, dense, data)["0"].left or "")
    assert "give at least 8" in left
    with torch.no_grad():
        torch.testing.assert_close(model(data).mean(0), dense(data).mean(0))


def test_one_row_held_out_of_a_layer_with_a_bias_is_not_called_exact() -> None:
    dense = seeded(lambda: nn.Sequential(nn.Linear(6, 5)), dtype=torch.float64)
    found = mended(cut(dense), dense, correlated(7, 6, dtype=torch.float64))["0"]
    assert found.before is None or found.before > 0


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5])
@pytest.mark.parametrize(("build", "shape"), [(Residual, (3, 8, 8)), (Attention, (5, 8))])
def test_hardly_any_inputs_make_nothing_worse_than_finite(
    build: Callable[[], nn.Module], shape: tuple[int, ...], count: int
) -> None:
    dense = seeded(build)
    model = cut(dense)
    found = mended(model, dense, noise(count, *shape))
    assert finite(model)
    if count < 4:  # none is held out
        assert all(value.left for value in found.values())


BAD = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf"), "huge": 1e38, "square overflows": 1e25}


@pytest.mark.parametrize("size", [None, 10])
@pytest.mark.parametrize("at", [0, 3, 15])
@pytest.mark.parametrize("bad", BAD)
def test_inputs_that_are_no_numbers_leave_layers_with_a_reason_and_nothing_becomes_nan(
    bad: str, at: int, size: int | None
) -> None:
    dense, data = seeded(Attention), noise(32, 5, 8)
    data[at, 0, 0] = BAD[bad]
    model = cut(dense)
    was = bytes_of(model)
    found = mended(model, dense, data, size)
    assert set(found) == {"q", "k", "v", "out"}
    assert finite(model)
    if bad in ("nan", "inf", "-inf"):
        assert all(value.left for value in found.values())
        assert bytes_of(model) == was


@pytest.mark.parametrize("size", [None, 10])
@pytest.mark.parametrize("bad", BAD)
def test_norms_on_inputs_that_are_no_numbers_stay_numbers(bad: str, size: int | None) -> None:
    dense, data = seeded(Residual), noise(32, 3, 8, 8)
    data[5, 0, 0, 0] = BAD[bad]
    model = cut(dense)
    mended(model, dense, data, size)
    assert finite(model)


@pytest.mark.parametrize(("build", "shape"), [(Residual, (3, 8, 8)), (Attention, (5, 8))])
@pytest.mark.parametrize("value", [0.0, 1.0])
def test_inputs_that_are_all_alike_make_nothing_nan(
    build: Callable[[], nn.Module], shape: tuple[int, ...], value: float
) -> None:
    dense = seeded(build)
    model = cut(dense)
    data = torch.full((24, *shape), value)
    mended(model, dense, data)
    assert finite(model)
    with torch.no_grad():
        assert bool(model(data).isfinite().all())


def test_a_dense_layer_of_zeros_and_a_dead_channel_make_nothing_nan() -> None:
    dense = seeded(lambda: nn.Sequential(nn.Conv2d(4, 6, 3), nn.BatchNorm2d(6), nn.ReLU(), nn.Conv2d(6, 4, 3)))
    with torch.no_grad():
        dense[0].weight[1] = 0
        dense[3].weight.zero_()
    model = compress(dense, RankPlan({"0": Choice("svd_channel", (2,)), "3": Choice("svd_channel", (1,))}))
    data = correlated(32, 4, 7, 7)
    mended(model, dense, data)
    assert finite(model)
    with torch.no_grad():
        assert bool(model(data).isfinite().all())


def test_half_precision_that_overflows_inside_makes_nothing_nan() -> None:
    dense = seeded(lambda: nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 4)), dtype=torch.float16)
    model = cut(dense)
    mended(model, dense, 3e4 * noise(64, 8, dtype=torch.float16).clamp(-2, 2))
    assert finite(model)


class OnlyForOne(nn.Module):
    """Two layers of one tensor, the second of which runs for a single sample only."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(6, 5), nn.Linear(6, 5)

    def forward(self, inputs: Tensor) -> Tensor:
        outputs: Tensor = self.first(inputs)
        return outputs + self.second(inputs) if len(inputs) == 1 else outputs


@pytest.mark.parametrize("size", [8, 24])
def test_a_layer_that_runs_for_one_sample_and_for_no_batch_is_left(size: int) -> None:
    dense = seeded(OnlyForOne, dtype=torch.float64)
    model, data = cut(dense), correlated(24, 6, dtype=torch.float64)
    was = model.get_submodule("second")[0].weight.clone()  # type: ignore[index]
    found = mended(model, dense, data, size)
    assert found["first"].left is None
    assert found["second"].left == "the network does not call it as one sample did"
    assert torch.equal(model.get_submodule("second")[0].weight, was)  # type: ignore[index]
