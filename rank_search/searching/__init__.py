"""Who chooses: the contract of searchers, the registry, trials, the loop."""

from rank_search.searching.about import About
from rank_search.searching.evaluator import Evaluator, InProcess
from rank_search.searching.loop import run_search
from rank_search.searching.result import SearchResult
from rank_search.searching.rule import RuleSearcher
from rank_search.searching.search import make_searcher, search
from rank_search.searching.searcher import (
    AskTellSearcher,
    Proposal,
    Searcher,
    SearcherBase,
    evaluated,
    register_searcher,
    searchers,
)
from rank_search.searching.trial import Trial

__all__ = [
    "About",
    "AskTellSearcher",
    "Evaluator",
    "InProcess",
    "Proposal",
    "RuleSearcher",
    "SearchResult",
    "Searcher",
    "SearcherBase",
    "Trial",
    "evaluated",
    "make_searcher",
    "register_searcher",
    "run_search",
    "search",
    "searchers",
]
