"""What a choice is worth: models, data, objectives, the fine-tune recipe, evaluation, the meter."""

from rank_search.task.batch import Batch
from rank_search.task.batch_stream import BatchStream
from rank_search.task.data.data import Data
from rank_search.task.data.image_data import ImageData
from rank_search.task.data.image_set import ImageSet
from rank_search.task.data.load_data import load_data
from rank_search.task.data.tensor_data import TensorData, TensorSet
from rank_search.task.evaluation import Evaluation
from rank_search.task.meter import Limits, Meter
from rank_search.task.networks.models import load_model
from rank_search.task.objectives.choose import register_objective
from rank_search.task.objectives.objective import Objective
from rank_search.task.oracles import Oracles
from rank_search.task.recipe import Recipe
from rank_search.task.task import Task
from rank_search.task.training import Training, train

__all__ = [
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
    "Training",
    "load_data",
    "load_model",
    "register_objective",
    "train",
]
