"""Choose the rank of every layer of a neural network under a hard budget, with any method, and compare fairly."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rank_search.errors import RankSearchError
    from rank_search.searching import (
        AskTellSearcher,
        Outcome,
        Proposal,
        Searcher,
        SearchResult,
        register_searcher,
        search,
    )
    from rank_search.space import (
        Budget,
        Choice,
        Decomposition,
        RankPlan,
        RankSpace,
        compress,
        input_covariances,
        load,
        register_decomposition,
        save,
    )
    from rank_search.task import Data, Limits, Recipe, Task, load_data, load_model, train

__version__ = "0.1.0"

_HOME = {
    "rank_search.errors": ["RankSearchError"],
    "rank_search.searching": [
        "AskTellSearcher",
        "Outcome",
        "Proposal",
        "SearchResult",
        "Searcher",
        "register_searcher",
        "search",
    ],
    "rank_search.space": [
        "Budget",
        "Choice",
        "Decomposition",
        "RankPlan",
        "RankSpace",
        "compress",
        "input_covariances",
        "load",
        "register_decomposition",
        "save",
    ],
    "rank_search.task": ["Data", "Limits", "Recipe", "Task", "load_data", "load_model", "train"],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AskTellSearcher",
    "Budget",
    "Choice",
    "Data",
    "Decomposition",
    "Limits",
    "Outcome",
    "Proposal",
    "RankPlan",
    "RankSearchError",
    "RankSpace",
    "Recipe",
    "SearchResult",
    "Searcher",
    "Task",
    "compress",
    "input_covariances",
    "load",
    "load_data",
    "load_model",
    "register_decomposition",
    "register_searcher",
    "save",
    "search",
    "train",
]


def __getattr__(name: str) -> Any:
    """Imports a public name when it is first used, so that the command line answers before torch is loaded."""
    if name not in _MODULE_OF:
        raise AttributeError(f"module 'rank_search' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF[name]), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
