"""Many searches, anywhere: configs, cells, Ray Tune, MLflow, resume. Only this floor imports ray and mlflow."""

from rank_search.run.bench import bench
from rank_search.run.config import Config, load_config

__all__ = ["Config", "bench", "load_config"]
