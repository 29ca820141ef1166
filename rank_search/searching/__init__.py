"""Who chooses: the contract of searchers, the registry, trials, the loop."""

from rank_search.searching.about import About
from rank_search.searching.evaluator import Evaluations, Evaluator
from rank_search.searching.fidelity import Fidelity
from rank_search.searching.halving import Halving
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
from rank_search.searching.workers import InProcess, Workers

__all__ = [
    "About",
    "AskTellSearcher",
    "Evaluations",
    "Evaluator",
    "Fidelity",
    "Halving",
    "InProcess",
    "Proposal",
    "RuleSearcher",
    "SearchResult",
    "Searcher",
    "SearcherBase",
    "Trial",
    "Workers",
    "evaluated",
    "make_searcher",
    "register_searcher",
    "run_search",
    "search",
    "searchers",
]
