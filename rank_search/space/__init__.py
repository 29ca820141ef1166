"""What may be chosen, and what it costs: decompositions, tables of options, plans, budgets."""

from rank_search.space.budget import Budget
from rank_search.space.compress import compress, load, plan_of, save
from rank_search.space.forms.decomposition import Decomposition, register_decomposition
from rank_search.space.layers.covariance import input_covariances
from rank_search.space.plan import DENSE, Choice, RankPlan
from rank_search.space.space import RankSpace

__all__ = [
    "DENSE",
    "Budget",
    "Choice",
    "Decomposition",
    "RankPlan",
    "RankSpace",
    "compress",
    "input_covariances",
    "load",
    "plan_of",
    "register_decomposition",
    "save",
]
