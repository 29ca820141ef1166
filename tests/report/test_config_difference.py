from __future__ import annotations

from typing import Any

import pytest

from rank_search.report.config_difference import difference


@pytest.mark.parametrize(
    ("one", "other", "said"),
    [
        ({"finetune": {"lr": 0.01, "epochs": 2}}, {"finetune": {"lr": 0.02, "epochs": 2}}, "finetune.lr (0.01, 0.02)"),
        ({"repair": "refit"}, {}, "repair (refit, not given)"),
        ({"a": {"b": [1, {"c": None}]}}, {"a": {"b": [1, {"c": 3}]}}, "a.b[1].c (none, 3)"),
        ({"forms": ["cp"]}, {"forms": ["cp", "svd"]}, "forms (['cp'], ['cp', 'svd'])"),
        ({"a": 1}, {"a": {"b": 1}}, "a (1, {'b': 1})"),
        (dict.fromkeys("edcba", 0), dict.fromkeys("abcde", 1), "a (0, 1), b (0, 1), c (0, 1) and 2 more"),
        ({"a": "x" * 70}, {"a": ""}, f"a ({'x' * 60}..., )"),
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2}]}, ""),
    ],
)
def test_leaves_that_differ_are_named_with_both_values(one: Any, other: Any, said: str) -> None:
    assert difference(one, other) == said
