"""Ranks of answers by recalibrated and by refitted loss, against ranks worked out one block at a time."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy.stats import kendalltau, rankdata

from rank_search.recorded import Recording
from rank_search.report.measure import ABSENT
from rank_search.report.regret.refitted_ranks import refitted_ranks
from rank_search.report.regret.sections import regret_report

BEFORE = [0.10, 0.20, 0.30, 0.40, 0.50, 0.60]
AFTER = {0: 0.35, 1: 0.15, 2: 0.25, 4: 0.05, 5: 0.05}  # 3 was not refitted; 4 and 5 tie


def recording(after: dict[int, float] | None = None) -> Recording:
    """Plans of two losses."""
    table = None
    if after is not None:
        table = pd.DataFrame({"plan": after.keys(), "val_loss": after.values()}).astype({"plan": np.int32})
    tuned = pd.DataFrame({"plan": [0, 1], "val_loss": [0.1, 0.2]})
    return Recording("t", Path(), {}, pd.DataFrame({"val_loss": BEFORE}), tuned, table)


def frame(answers: dict[str, list[list[float]]], tasks: tuple[str, ...] = ("t", "t")) -> pd.DataFrame:
    """Per searcher and block the places that its seeds answered with; a block is a budget of a task."""
    return pd.DataFrame(
        [
            {
                "task": tasks[block],
                "budget": f"macs=0.{block + 1}",
                "searcher": name,
                "seed": seed,
                "status": "done",
                "reason": None,
                "regret_4": 0.0,
                "test_regret_4": 0.0,
                "plan_4": place,
            }
            for name, blocks in answers.items()
            for block, places in enumerate(blocks)
            for seed, place in enumerate(places)
        ]
    )


def test_ranks_are_those_of_the_mean_losses_over_the_refitted_cells_of_every_block() -> None:
    answers = {"a": [[0, 1], [2]], "b": [[2, 3], [0]], "c": [[4, 4], [5]], "d": [[5, 5], [4]]}
    found = refitted_ranks(frame(answers), {"t": recording(AFTER)}, 4)
    assert found is not None
    # block 1: a is of plans 0 and 1, b of plan 2 alone (3 is missing), c of 4, d of 5; block 2: plans 2, 0, 5, 4
    before = [rankdata([(0.1 + 0.2) / 2, 0.3, 0.5, 0.6]), rankdata([0.3, 0.1, 0.6, 0.5])]
    after = [rankdata([(0.35 + 0.15) / 2, 0.25, 0.05, 0.05]), rankdata([0.25, 0.35, 0.05, 0.05])]
    one, other = np.mean(before, axis=0), np.mean(after, axis=0)
    assert found.recalibrated == pytest.approx(dict(zip("abcd", one, strict=True)))
    assert found.refitted == pytest.approx(dict(zip("abcd", other, strict=True)))
    assert list(found.refitted.values()) == sorted(found.refitted.values())
    assert found.answers == {"a": (3, 3), "b": (2, 3), "c": (3, 3), "d": (3, 3)}
    assert found.tau == pytest.approx(kendalltau(one, other).statistic)
    assert found.blocks == 2


def test_a_searcher_without_a_refitted_answer_in_every_block_is_counted_and_not_ranked() -> None:
    answers = {"a": [[0], [1]], "b": [[3], [1]], "c": [[2], [4]], "none": [[math.nan], [math.nan]]}
    found = refitted_ranks(frame(answers), {"t": recording(AFTER)}, 4)
    assert found is not None
    assert set(found.refitted) == set(found.recalibrated) == {"a", "c"}
    assert found.answers == {"a": (2, 2), "b": (1, 2), "c": (2, 2)}
    assert found.tau == -1  # a is first by the one loss in both blocks, c by the other


def test_a_block_in_which_no_answer_was_refitted_leaves_nobody_ranked() -> None:
    found = refitted_ranks(frame({"a": [[0], [3]], "b": [[1], [3]]}), {"t": recording(AFTER)}, 4)
    assert found is not None
    assert (found.refitted, found.blocks) == ({}, 2)
    assert math.isnan(found.tau)


def test_a_recording_without_the_table_is_left_out_and_an_older_benchmark_says_nothing() -> None:
    answers = frame({"a": [[0], [1]], "b": [[1], [0]]}, tasks=("t", "old"))
    both = {"t": recording(AFTER), "old": recording()}
    found = refitted_ranks(answers, both, 4)
    assert found is not None
    assert (found.blocks, found.refitted) == (1, {"b": 1.0, "a": 2.0})
    assert refitted_ranks(answers, {"old": recording()}, 4) is None
    assert refitted_ranks(answers.drop(columns="plan_4"), both, 4) is None


def test_a_loss_that_is_not_finite_is_a_missing_one() -> None:
    found = refitted_ranks(frame({"a": [[0], [1]], "b": [[2], [2]]}), {"t": recording({**AFTER, 2: math.nan})}, 4)
    assert found is not None
    assert found.answers == {"a": (2, 2), "b": (0, 2)}
    assert list(found.refitted) == ["a"]


def test_the_report_says_how_many_answers_are_missing_and_shows_no_rank_for_them() -> None:
    answers = frame({"a": [[0], [1]], "b": [[3], [1]], "c": [[2], [4]]})
    report = regret_report(answers, {"t": recording(AFTER)})
    table = report.tables[1]
    assert [column.cells for column in table.columns] == [
        ("c", "a", "b"),
        ("2.0", "1.0", ABSENT),
        ("1.0", "2.0", ABSENT),
        ("2 of 2", "2 of 2", "1 of 2"),
    ]
    assert sum("-1.00 over 2 searchers; 5 of 6 answers were refitted" in line for line in report.words) == 1
    assert len(regret_report(answers, {"t": recording()}).tables) == 2  # the regrets and the proxies
