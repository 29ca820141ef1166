"""Ranks, Friedman's test, critical differences and bootstrap intervals, against other people's numbers."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from rank_search.report.regret.ranking import critical_difference, ranking
from rank_search.report.regret.summary import blocks_of, first, summaries


def frame(regrets: dict[str, list[list[float]]]) -> pd.DataFrame:
    """Per searcher and block the regrets of its seeds."""
    return pd.DataFrame(
        [
            {"task": f"t{block}", "budget": "macs=0.5", "searcher": name, "seed": seed, "status": "done", "regret_4": x}
            for name, blocks in regrets.items()
            for block, values in enumerate(blocks)
            for seed, x in enumerate(values)
        ]
    )


@pytest.mark.parametrize(
    ("searchers", "quantile"), [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (6, 2.850), (10, 3.164)]
)
def test_the_critical_difference_has_the_quantiles_of_demsars_table(searchers: int, quantile: float) -> None:
    blocks = 14
    expected = quantile * np.sqrt(searchers * (searchers + 1) / (6 * blocks))
    assert critical_difference(searchers, blocks) == pytest.approx(expected, rel=1e-3)


def rank(value: float, row: np.ndarray) -> float:
    """By counting: those that are less, and half of those that are equal."""
    return 1 + int((row < value).sum()) + (int((row == value).sum()) - 1) / 2


def test_ranks_are_counted_and_the_test_agrees_with_its_critical_difference() -> None:
    rng = np.random.default_rng(0)
    for _ in range(5):
        table = np.round(rng.random((14, 4)) + np.array([0.0, 0.1, 0.5, 0.6]), 1)  # with ties
        found = ranking(frame({name: [[x] for x in table[:, i]] for i, name in enumerate("abcd")}), "regret_4")
        assert found is not None
        counted = {n: np.mean([rank(row[i], row) for row in table]) for i, n in enumerate("abcd")}
        assert found.ranks == pytest.approx(counted)
        assert list(found.ranks) == sorted(counted, key=lambda name: counted[name])
        assert found.blocks == 14
        assert found.critical_difference == pytest.approx(1.25, abs=5e-3)  # Demsar, JMLR 2006, for four on fourteen
        assert found.p == pytest.approx(float(stats.friedmanchisquare(*table.T).pvalue))
        best = min(counted.values())
        near = {name for name in "abcd" if counted[name] - best < found.critical_difference}
        assert set(found.not_worse) == near


def test_the_mean_is_over_blocks_of_the_means_over_seeds_whatever_their_number() -> None:
    found = summaries(frame({"a": [[1.0, 3.0], [10.0] * 5], "b": [[0.0], [0.0]]}), "regret_4")
    assert found["a"].mean == pytest.approx((2 + 10) / 2)
    assert (found["b"].low, found["b"].mean, found["b"].high) == (0, 0, 0)


def test_the_bootstrap_interval_covers_as_the_normal_one_does() -> None:
    rng = np.random.default_rng(1)
    seeds = rng.normal(5, 2, 200)
    found = summaries(frame({"a": [seeds.tolist()]}), "regret_4")["a"]
    error = seeds.std() / np.sqrt(200)
    assert found.low == pytest.approx(seeds.mean() - 1.96 * error, abs=0.25 * error)
    assert found.high == pytest.approx(seeds.mean() + 1.96 * error, abs=0.25 * error)


def test_who_is_first_is_as_sure_as_the_resamples_say() -> None:
    clear = summaries(frame({"a": [[1.0, 1.1]], "b": [[2.0, 2.1]]}), "regret_4")
    assert first(clear) == ("a", 1.0)
    tied = summaries(frame({"a": [[1.0]], "b": [[1.0]]}), "regret_4")
    assert first(tied)[1] == pytest.approx(0.5)


def test_a_searcher_without_a_number_in_every_block_is_left_out() -> None:
    data = frame({"a": [[1.0], [2.0]], "b": [[1.0], [np.nan]], "c": [[0.5], [0.5]]})
    assert set(blocks_of(data, "regret_4")) == {"a", "c"}
    assert ranking(frame({"a": [[1.0]]}), "regret_4") is None
