"""Choose the rank of every layer of a neural network under a hard budget, with any method, and compare fairly."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rank_search.errors import (
        BudgetError,
        CovarianceError,
        DataError,
        EvaluationError,
        InfeasibleBudgetError,
        InvalidInputError,
        LimitReached,
        OverBudgetError,
        PlanError,
        PluginError,
        RankSearchError,
        SearcherError,
        WeightsError,
    )
    from rank_search.nests import Nest, call
    from rank_search.searching import (
        AskTellSearcher,
        Evaluator,
        Proposal,
        Searcher,
        SearchResult,
        Trial,
        evaluated,
        make_searcher,
        register_searcher,
        run_search,
        search,
    )
    from rank_search.space import (
        DENSE,
        Budget,
        Choice,
        Decomposition,
        FactorShape,
        Layer,
        LayerOptions,
        LayerWeight,
        LowRank,
        MatrixForm,
        Metric,
        RankPlan,
        RankSpace,
        all_axes,
        compress,
        input_covariances,
        load,
        multiplied,
        plan_of,
        register_decomposition,
        register_metric,
        save,
    )
    from rank_search.task import (
        Batch,
        BatchStream,
        Data,
        Evaluation,
        ImageData,
        ImageSet,
        Limits,
        Meter,
        Objective,
        Oracles,
        Recipe,
        Task,
        TensorData,
        TensorSet,
        load_data,
        load_model,
        register_objective,
        train,
    )

__version__ = "0.1.0"

# In the source tree the folders searchers, baselines and configs lie beside this one. Only an install makes them part
# of the package, and python started in the tree finds this folder before an installed package.
_HERE = Path(__file__).parent
_BESIDE = [f"{name}/__init__.py" for name in ("searchers", "baselines", "configs")]
if not (_HERE / "baselines").exists() and all((_HERE.parent / file).exists() for file in ["pyproject.toml", *_BESIDE]):
    __path__.append(str(_HERE.parent))

_HOME = {
    "rank_search.errors": [
        "BudgetError",
        "CovarianceError",
        "DataError",
        "EvaluationError",
        "InfeasibleBudgetError",
        "InvalidInputError",
        "LimitReached",
        "OverBudgetError",
        "PlanError",
        "PluginError",
        "RankSearchError",
        "SearcherError",
        "WeightsError",
    ],
    "rank_search.nests": [
        "Nest",
        "call",
    ],
    "rank_search.searching": [
        "AskTellSearcher",
        "Evaluator",
        "Proposal",
        "SearchResult",
        "Searcher",
        "Trial",
        "evaluated",
        "make_searcher",
        "register_searcher",
        "run_search",
        "search",
    ],
    "rank_search.space": [
        "DENSE",
        "Budget",
        "Choice",
        "Decomposition",
        "FactorShape",
        "Layer",
        "LayerOptions",
        "LayerWeight",
        "LowRank",
        "MatrixForm",
        "Metric",
        "RankPlan",
        "RankSpace",
        "all_axes",
        "compress",
        "input_covariances",
        "load",
        "multiplied",
        "plan_of",
        "register_decomposition",
        "register_metric",
        "save",
    ],
    "rank_search.task": [
        "Batch",
        "BatchStream",
        "Data",
        "Evaluation",
        "ImageData",
        "ImageSet",
        "Limits",
        "Meter",
        "Objective",
        "Oracles",
        "Recipe",
        "Task",
        "TensorData",
        "TensorSet",
        "load_data",
        "load_model",
        "register_objective",
        "train",
    ],
}
_MODULE_OF = {name: module for module, names in _HOME.items() for name in names}

__all__ = [
    "AskTellSearcher",
    "Batch",
    "BatchStream",
    "Budget",
    "BudgetError",
    "Choice",
    "CovarianceError",
    "DENSE",
    "Data",
    "DataError",
    "Decomposition",
    "Evaluation",
    "EvaluationError",
    "Evaluator",
    "FactorShape",
    "ImageData",
    "ImageSet",
    "InfeasibleBudgetError",
    "InvalidInputError",
    "Layer",
    "LayerOptions",
    "LayerWeight",
    "LimitReached",
    "Limits",
    "LowRank",
    "MatrixForm",
    "Meter",
    "Metric",
    "Nest",
    "Objective",
    "Oracles",
    "OverBudgetError",
    "PlanError",
    "PluginError",
    "Proposal",
    "RankPlan",
    "RankSearchError",
    "RankSpace",
    "Recipe",
    "SearchResult",
    "Searcher",
    "SearcherError",
    "Task",
    "TensorData",
    "TensorSet",
    "Trial",
    "WeightsError",
    "all_axes",
    "call",
    "compress",
    "evaluated",
    "input_covariances",
    "load",
    "load_data",
    "load_model",
    "make_searcher",
    "multiplied",
    "plan_of",
    "register_decomposition",
    "register_metric",
    "register_objective",
    "register_searcher",
    "run_search",
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
