from __future__ import annotations

import math

import pytest
from run_folder import Write, done, done_regression, failed
from seeded_runs import rows_of

from rank_search.report import leaderboard, read_results
from rank_search.report.pairs import Pair, block_values, pairs_of_task, pairs_over_blocks, ranking_of
from rank_search.report.statistics.paired import paired


def pairs(rows: list, write_run: Write) -> tuple[Pair, ...]:
    results = read_results(write_run(rows))
    return pairs_of_task(leaderboard(results), results)


def test_every_two_are_paired_by_seed_the_better_first_with_one_correction_for_all(write_run: Write) -> None:
    accuracies = {"a": [0.90, 0.92, 0.91], "b": [0.95, 0.96, 0.97], "c": [0.80, 0.81, 0.80]}
    found = pairs(rows_of(accuracies), write_run)
    order = [("b", "a"), ("b", "c"), ("a", "c")]
    assert [(pair.budget, pair.first, pair.second) for pair in found] == [
        (budget, *names) for budget in ("macs=0.5", "macs=0.25") for names in order
    ]
    alone = paired(accuracies["b"], accuracies["a"])
    assert found[0].found.mean == pytest.approx(alone.mean)
    assert found[0].found.t_p == pytest.approx(alone.t_p)
    assert (found[0].found.wins, found[0].found.n) == (3, 3)
    least = min(pair.found.t_p for pair in found)
    assert min(pair.t_p for pair in found) == pytest.approx(6 * least)  # of six pairs
    assert all(math.isnan(pair.rank_p) for pair in found)  # three seeds cannot reach 5 %


def test_six_seeds_have_signed_ranks(write_run: Write) -> None:
    found = pairs([done("t", "macs=0.5", n, s, 0.9 - 0.01 * (n == "b") * s) for n in "ab" for s in range(7)], write_run)
    assert found[0].rank_p == pytest.approx(2 / 2**6)  # the first seed is a tie
    assert found[0].found.ties == 1


def test_only_seeds_that_both_have_finished_count(write_run: Write) -> None:
    rows = [done("t", "macs=0.5", "a", seed, 0.9) for seed in (0, 1, 2)]
    rows += [done("t", "macs=0.5", "b", 2, 0.8), failed("t", "macs=0.5", "b", 1, "no")]
    (only,) = pairs(rows, write_run)
    assert only.found.n == 1
    assert only.found.mean == pytest.approx(0.1)
    assert not only.told


def test_blocks_are_signed_by_what_is_better(write_run: Write) -> None:
    rows = rows_of({"a": [0.9, 0.8], "b": [0.7, 0.7], "c": [0.6, 0.5]})
    rows += [done_regression("prices", "macs=0.5", n, 0, rmse) for n, rmse in (("a", 2.0), ("b", 1.0), ("c", 3.0))]
    rows.append(done("digits", "macs=0.5", "partly", 0, 0.99))
    results = read_results(write_run(rows))
    assert block_values(results)["b"] == pytest.approx(
        {("digits", "macs=0.5"): 0.7, ("digits", "macs=0.25"): 0.6, ("prices", "macs=0.5"): -1.0}
    )
    ranking = ranking_of(results)
    assert ranking is not None
    assert ranking.blocks == 3
    assert ranking.ranks == pytest.approx({"a": 4 / 3, "b": 5 / 3, "c": 3.0})
    over = {(pair.first, pair.second): pair.found for pair in pairs_over_blocks(results)}
    assert (over["a", "b"].wins, over["a", "b"].losses) == (2, 1)
    assert over["a", "partly"].n == 1
