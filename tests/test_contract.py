"""Every registered searcher, ours or a stranger's, goes through the public contract."""

from __future__ import annotations

import pytest

from rank_search.searching import searchers
from rank_search.testing import SearcherContract

ARMS = [(name, {}) for name in searchers.names()] + [
    ("tpe", {"warm_start": "knapsack"}),
    ("knapsack", {"weights": "none"}),
]


@pytest.fixture(autouse=True, params=ARMS, ids=lambda arm: "-".join([arm[0], *map(str, arm[1].values())]))
def _arm(request: pytest.FixtureRequest) -> None:
    request.cls.searcher, request.cls.options = request.param


class TestEverySearcher(SearcherContract):
    pass
