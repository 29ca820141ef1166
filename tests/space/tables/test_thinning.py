"""Leaving options out: against brute force, and what must never be lost."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from rank_search.space.tables.thinning import LEAST_OPTIONS, evenly, on_grid, undominated

Ints = NDArray[np.int64]
many = settings(deadline=None, derandomize=True, max_examples=300)


@st.composite
def tables(draw: st.DrawFn, most: int = 14) -> tuple[Ints, NDArray[np.float64]]:
    """Costs and errors with many ties; the first row is dense: without error, dearer than every other."""
    number = st.integers(0, draw(st.sampled_from([2, 4, 30])))
    rows = draw(st.lists(st.tuples(number, number, st.one_of(number, st.just(np.inf))), max_size=most))
    costs = np.array([(100, 100), *[row[:2] for row in rows]], dtype=np.int64)
    return costs, np.array([0.0, *[row[2] for row in rows]], dtype=np.float64)


def beaten(costs: Ints, errors: NDArray[np.float64], row: int) -> bool:
    """Whether another row is at least as good in all ways, and better in one or earlier."""
    for other in range(1, len(costs)):
        no_worse = (costs[other] <= costs[row]).all() and errors[other] <= errors[row]
        equal = (costs[other] == costs[row]).all() and errors[other] == errors[row]
        if no_worse and (not equal or other < row):
            return True
    return False


@many
@given(tables())
def test_undominated_are_exactly_the_rows_that_no_other_beats(table: tuple[Ints, NDArray[np.float64]]) -> None:
    costs, errors = table
    wanted = [0, *(i for i in range(1, len(costs)) if np.isfinite(errors[i]) and not beaten(costs, errors, i))]
    assert undominated(costs, errors).tolist() == wanted


@many
@given(tables())
def test_for_every_row_one_is_kept_that_is_at_least_as_good(table: tuple[Ints, NDArray[np.float64]]) -> None:
    costs, errors = table
    kept = undominated(costs, errors)
    for row in np.flatnonzero(np.isfinite(errors)):
        assert ((costs[kept] <= costs[row]).all(1) & (errors[kept] <= errors[row])).any()
    np.testing.assert_array_equal(undominated(costs[kept], errors[kept]), np.arange(len(kept)))


def test_a_large_table_of_random_rows_is_pruned_as_by_brute_force() -> None:
    rng = np.random.default_rng(0)
    costs = np.concatenate([[[10**6, 10**6]], rng.integers(0, 60, (1500, 2))])
    errors = np.concatenate([[0.0], rng.integers(0, 60, 1500)])
    no_worse = (costs[None] <= costs[:, None]).all(2) & (errors[None] <= errors[:, None])
    equal = (costs[None] == costs[:, None]).all(2) & (errors[None] == errors[:, None])
    earlier = np.arange(len(costs))[None] < np.arange(len(costs))[:, None]
    lost = (no_worse & (~equal | earlier))[:, 1:].any(1)
    wanted = [0, *(np.flatnonzero(~lost[1:]) + 1)]
    assert undominated(costs, errors).tolist() == wanted
    assert len(wanted) > 10


@st.composite
def ranks_of_a_form(draw: st.DrawFn) -> Ints:
    modes = draw(st.integers(1, 3))
    row = st.tuples(*[st.integers(1, 20)] * modes)
    return np.array(sorted(draw(st.sets(row, min_size=1, max_size=30))), dtype=np.int64)


@many
@given(ranks_of_a_form(), st.integers(1, 9), st.data())
def test_on_the_grid_are_multiples_and_the_ends_of_every_mode(ranks: Ints, multiple: int, data: st.DataObject) -> None:
    free = data.draw(st.lists(st.booleans(), min_size=ranks.shape[1], max_size=ranks.shape[1]))
    wanted = [
        i
        for i, row in enumerate(ranks.tolist())
        if all(
            free[mode] or rank % multiple == 0 or rank in (ranks[:, mode].min(), ranks[:, mode].max())
            for mode, rank in enumerate(row)
        )
    ]
    assert on_grid(ranks, np.array(free), multiple).tolist() == wanted


def test_a_form_without_options_has_none_on_the_grid() -> None:
    assert on_grid(np.empty((0, 2), np.int64), np.array([False, False]), 8).tolist() == []


@many
@given(tables(most=40), st.integers(LEAST_OPTIONS, 12))
def test_evenly_keeps_dense_the_cheapest_on_each_metric_and_the_dearest_and_never_more_than_the_limit(
    table: tuple[Ints, Any], limit: int
) -> None:
    costs = table[0]
    kept = evenly(costs, limit)
    assert len(kept) <= limit
    assert (np.diff(kept) > 0).all()
    assert kept[0] == 0
    assert costs[kept].min(0).tolist() == costs.min(0).tolist()
    assert costs[kept[1:]].sum(1).max(initial=0) == costs[1:].sum(1).max(initial=0)
    if len(costs) <= limit:
        assert kept.tolist() == list(range(len(costs)))


@pytest.mark.parametrize("limit", [4, 5, 10, 33, 99, 100])
def test_along_a_line_of_rising_cost_the_kept_rows_are_spaced_evenly_and_as_many_as_allowed(limit: int) -> None:
    costs = np.array([[1000, 1000], *[[10 * i, 10 * i] for i in range(1, 100)]])
    kept = evenly(costs, limit)
    assert kept[[0, 1, -1]].tolist() == [0, 1, 99]
    gaps = np.diff(kept[1:])
    assert gaps.max() <= 2 * gaps.min() + 1
    assert limit - 1 <= len(kept) <= limit
