"""The contracts as tests that plug-ins run: of searchers, forms, metrics and objectives.

    from rank_search.testing import SearcherContract

    class TestMine(SearcherContract):
        searcher = "mine"  # a registered name, "module:Class", or the class

pytest collects the class; every method is one thing that the house relies on.
"""

from rank_search.testing.form_contract import FormContract
from rank_search.testing.metric_contract import MetricContract
from rank_search.testing.objective_contract import ObjectiveContract
from rank_search.testing.searcher_contract import SearcherContract
from rank_search.testing.small_task import small_task

__all__ = ["FormContract", "MetricContract", "ObjectiveContract", "SearcherContract", "small_task"]
