"""What may be chosen, and what it costs: forms, metrics, tables of options, plans, budgets."""

from rank_search.space.budget import Budget
from rank_search.space.compress import compress, load, plan_of, save
from rank_search.space.forms.decomposition import Decomposition, register_decomposition
from rank_search.space.forms.factor_shapes import FactorShape, all_axes
from rank_search.space.forms.low_rank import LowRank
from rank_search.space.forms.matrix_form import MatrixForm
from rank_search.space.forms.multiplied import multiplied
from rank_search.space.layers.covariance import input_covariances
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.space.layers.patch_moments import patch_moments
from rank_search.space.metrics.metric import Metric, register_metric
from rank_search.space.plan import DENSE, Choice, RankPlan
from rank_search.space.space import RankSpace
from rank_search.space.tables.options import LayerOptions

__all__ = [
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
    "patch_moments",
    "load",
    "multiplied",
    "plan_of",
    "register_decomposition",
    "register_metric",
    "save",
]
