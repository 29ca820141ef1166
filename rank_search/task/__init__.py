"""What a choice is worth: models, data, the fine-tune recipe, evaluation, the meter."""

from rank_search.task.data.image_data import Data
from rank_search.task.data.image_set import ImageSet
from rank_search.task.data.load_data import load_data
from rank_search.task.evaluation import Evaluation
from rank_search.task.meter import Limits, Meter
from rank_search.task.networks.models import load_model
from rank_search.task.recipe import Recipe, train
from rank_search.task.task import Task

__all__ = ["Data", "Evaluation", "ImageSet", "Limits", "Meter", "Recipe", "Task", "load_data", "load_model", "train"]
