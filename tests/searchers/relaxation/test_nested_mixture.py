"""The error of a mixture of options in closed form: against weights that are multiplied out and superposed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch
from mixed_net import FORMS, IMAGE, Explicit, Floats, block_of, mixed_net, mixed_space
from torch import Tensor

from rank_search.arrays import FloatArray, IntArray
from rank_search.searchers.relaxation.nested_mixture import LayerMixture
from rank_search.space import input_covariances
from rank_search.space.forms import cp
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.space.tables.options import LayerOptions

pytestmark = pytest.mark.usefixtures("single_thread")
COLUMNS = {"params": [0], "macs": [1], "both": [0, 1]}
EXACT = {"rel": 1e-9, "abs": 1e-11}
Case = tuple[LayerOptions, LayerMixture, Explicit]


@cache
def cases(kind: str) -> list[Case]:
    """Every layer of a network: its options, those that are mixed under a bound on both metrics, the explicit sum."""
    net, moments = mixed_net(), {}
    if kind == "all forms":
        space = mixed_space(net)
    elif kind == "thinned":
        space = mixed_space(net, prune=True, multiple_of=2)
    else:
        images = torch.randn(64, *IMAGE[1:], dtype=torch.float64, generator=torch.Generator().manual_seed(0))
        moments = input_covariances(net, [images])
        space = mixed_space(net, ("tucker2", "svd"), covariances=moments)
    found = []
    for options in space.layers:
        mixture = LayerMixture(options, [0, 1])
        moment = moments.get(options.layer.name)
        found.append((options, mixture, Explicit(options, mixture.rows.tolist(), moment)))
    assert len(found) == 5
    return found


def drawn(count: int, seed: int) -> Iterator[Floats]:
    """Flat, peaked and sparse points of the simplex."""
    rng = np.random.default_rng(seed)
    for concentration in (1.0, 0.1, 10.0):
        yield rng.dirichlet(np.full(count, concentration))
    some = rng.random(count) < 0.3
    some[rng.integers(count)] = True
    sparse = np.where(some, rng.random(count), 0)
    yield sparse / sparse.sum()


def as_tensor(p: Floats) -> Tensor:
    return torch.from_numpy(p)


KINDS = pytest.mark.parametrize("kind", ["all forms", "thinned", "activations"])


@KINDS
def test_the_error_is_that_of_the_superposed_weights_block_by_block(kind: str) -> None:
    for seed, (_, mixture, explicit) in enumerate(cases(kind)):
        for p in drawn(len(mixture.rows), seed):
            expected = float(explicit.by_blocks(as_tensor(p)))
            assert mixture.mixture_error(p) == pytest.approx(expected, **EXACT)


@KINDS
def test_the_errors_are_those_of_the_table_and_a_mixture_of_one_option_has_that_options_error(kind: str) -> None:
    for options, mixture, explicit in cases(kind):
        assert mixture.errors == pytest.approx(options.errors[mixture.rows] / options.energy, **EXACT)
        for place in range(len(mixture.rows)):
            p = np.eye(len(mixture.rows))[place]
            assert mixture.mixture_error(p) == pytest.approx(mixture.errors[place], **EXACT)
            assert mixture.mixture_error(p) == pytest.approx(float(explicit.whole(as_tensor(p))), **EXACT)


@KINDS
def test_the_error_is_never_below_that_of_the_whole_mixture_and_never_above_the_expected_one(kind: str) -> None:
    below = above = 0
    for seed, (_, mixture, explicit) in enumerate(cases(kind)):
        for p in drawn(len(mixture.rows), 100 + seed):
            error, whole, expected = mixture.mixture_error(p), float(explicit.whole(as_tensor(p))), p @ mixture.errors
            assert whole - 1e-12 <= error <= expected + 1e-12
            below += whole < 0.99 * error
            above += error < 0.99 * expected
    assert below > 0
    assert above > 0


def test_without_dense_the_nested_options_of_one_form_make_the_whole_mixture() -> None:
    net = mixed_net()
    for form in ("tucker2", "svd_spatial", "svd_channel"):
        for options in mixed_space(net, (form,)).layers:
            mixture = LayerMixture(options, [0, 1])
            explicit = Explicit(options, mixture.rows.tolist())
            p = np.append(0.0, np.random.default_rng(1).dirichlet(np.ones(len(mixture.rows) - 1)))
            assert mixture.mixture_error(p) == pytest.approx(float(explicit.whole(as_tensor(p))), **EXACT)


@KINDS
def test_the_gradient_is_that_of_autograd_through_the_superposed_weights(kind: str) -> None:
    for seed, (_, mixture, explicit) in enumerate(cases(kind)):
        for p in drawn(len(mixture.rows), 200 + seed):
            if (p == 0).any():  # a block without mass has only one-sided slopes
                continue
            variable = as_tensor(p).requires_grad_(True)
            (expected,) = torch.autograd.grad(explicit.by_blocks(variable), [variable])
            assert mixture.mixture_gradient(p) == pytest.approx(expected.numpy(), rel=1e-8, abs=1e-10)


@KINDS
def test_the_gradient_is_that_of_finite_differences(kind: str) -> None:
    step = 1e-6
    for seed, (_, mixture, _) in enumerate(cases(kind)):
        count = len(mixture.rows)
        p = 0.9 * np.random.default_rng(seed).dirichlet(np.ones(count)) + 0.1 / count
        found = mixture.mixture_gradient(p)
        for place, unit in enumerate(step * np.eye(count)):
            slope = (mixture.mixture_error(p + unit) - mixture.mixture_error(p - unit)) / (2 * step)
            assert found[place] == pytest.approx(slope, rel=1e-5, abs=1e-7)


def test_the_slope_towards_an_option_of_a_block_without_mass_is_that_options_error() -> None:
    for _, mixture, _ in cases("all forms"):
        p = np.eye(len(mixture.rows))[0]
        assert mixture.rows[0] == 0
        slopes = [mixture.mixture_error(p + 1e-3 * unit) / 1e-3 for unit in np.eye(len(p))]
        assert slopes[1:] == pytest.approx(mixture.errors[1:], rel=1e-9, abs=1e-12)
        assert mixture.mixture_gradient(p)[1:] == pytest.approx(mixture.errors[1:], rel=1e-9, abs=1e-12)


# -- what is left out --------------------------------------------------------------------------------------------------


def beaten(options: LayerOptions, columns: list[int], row: int, others: list[int]) -> bool:
    """Whether one of the others costs no more on every metric and errs no more; of equal ones the first wins."""
    cost, error = options.costs[row, columns], options.errors[row]
    for other in others:
        no_worse = (options.costs[other, columns] <= cost).all() and options.errors[other] <= error
        equal = (options.costs[other, columns] == cost).all() and options.errors[other] == error
        if no_worse and (not equal or other < row):
            return True
    return False


@pytest.mark.parametrize("columns", COLUMNS.values(), ids=COLUMNS)
@pytest.mark.parametrize("forms", [FORMS, ("tucker2", "svd")], ids=["all forms", "two forms"])
def test_left_out_is_exactly_what_another_option_of_its_block_beats(forms: tuple[str, ...], columns: list[int]) -> None:
    left_out = 0
    for options in mixed_space(mixed_net(1), forms).layers:
        blocks: dict[Any, list[int]] = {}
        for row in np.flatnonzero(np.isfinite(options.errors)).tolist():
            # no two CP are nested, but of two of the same layer the worse one is not needed
            name = block_of(options, row)
            blocks.setdefault("cp" if name[0] == "cp" else name, []).append(row)
        expected = {row for rows in blocks.values() for row in rows if not beaten(options, columns, row, rows)}
        rows = LayerMixture(options, columns).rows.tolist()
        assert len(set(rows)) == len(rows)
        assert set(rows) == expected
        left_out += len(options) - len(rows)
    assert left_out > 0


@pytest.mark.parametrize("columns", COLUMNS.values(), ids=COLUMNS)
def test_its_costs_are_the_bounded_columns_of_the_table(columns: list[int]) -> None:
    for options in mixed_space(mixed_net(), ("tucker2", "svd")).layers:
        mixture = LayerMixture(options, columns)
        assert mixture.costs.tolist() == options.costs[mixture.rows][:, columns].tolist()


def test_dense_is_always_there_and_first() -> None:
    for kind in ("all forms", "thinned", "activations"):
        for _, mixture, _ in cases(kind):
            assert mixture.rows[0] == 0
            assert mixture.errors[0] == 0


def test_a_cp_without_a_finite_fit_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    measured = cp.CP.errors

    def broken(self: cp.CP, weight: LayerWeight, ranks: IntArray) -> FloatArray:
        return np.where(ranks[:, 0] == 2, np.inf, measured(self, weight, ranks))

    monkeypatch.setattr(cp.CP, "errors", broken)
    space = mixed_space(mixed_net(), {"cp": {"ranks": 6}})
    lost = 0
    for options in space.layers:
        mixture = LayerMixture(options, [1])
        assert np.isfinite(options.errors[mixture.rows]).all()
        assert all(options.choice(int(row)).ranks != (2,) for row in mixture.rows)
        lost += int((~np.isfinite(options.errors)).sum())
        uniform = np.full(len(mixture.rows), 1 / len(mixture.rows))
        assert np.isfinite(mixture.mixture_error(uniform))
        assert np.isfinite(mixture.mixture_gradient(uniform)).all()
    assert lost > 0
