"""Who chooses: the Searcher contract, the registry, the loop."""

from rank_search.searching.loop import SearchResult, Step, run_search
from rank_search.searching.search import make_searcher, search
from rank_search.searching.searcher import (
    AskTellSearcher,
    Outcome,
    Proposal,
    Searcher,
    register_searcher,
    searchers,
)

__all__ = [
    "AskTellSearcher",
    "Outcome",
    "Proposal",
    "SearchResult",
    "Searcher",
    "Step",
    "make_searcher",
    "register_searcher",
    "run_search",
    "search",
    "searchers",
]
