"""Every registered searcher, ours or a stranger's, goes through the public contract."""

from __future__ import annotations

import pytest

from rank_search.searching import searchers
from rank_search.testing import SearcherContract

SMALL = {
    "ortos": {"lowest": 1, "highest": 3, "step": 2, "shrink": 2, "warm_up": 2, "iterations": 4},
    "relaxation_outputs": {"rounds": 3, "iterations": 2, "batch_size": 16},
}
ARMS = [(name, SMALL.get(name, {})) for name in searchers.names()] + [
    ("tpe", {"warm_start": "knapsack"}),
    ("knapsack", {"weights": "none"}),
    ("batude_gradient", {"gating": "hard", "epochs": 2, "period": 0.5, "rho": 0.1}),
    ("relaxation", {"rounds": 4, "polish": False}),
    ("ortos", {**SMALL["ortos"], "alpha_loss": "validation", "batch_size": 16}),
    ("batude", {"start": "scratch", "epochs": 2, "batch_size": 16, "accumulate": 2, "patience": 2}),
]


@pytest.fixture(autouse=True, params=ARMS, ids=lambda arm: "-".join([arm[0], *map(str, arm[1].values())]))
def _arm(request: pytest.FixtureRequest) -> None:
    request.cls.searcher, request.cls.options = request.param


class TestEverySearcher(SearcherContract):
    pass
