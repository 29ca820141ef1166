"""What the recording of the tests is made of."""

from __future__ import annotations

from rank_search.run.config import Config

NAME = "tiny"
SECTION = {
    "model": {"name": "digits_net", "options": {"width": 4}, "train": {"epochs": 2, "lr": 0.1}},
    "data": {"name": "digits", "validation": 60, "test": 60},
    "space": {"forms": ["tucker2", "cp"], "include": ["conv4", "conv5"], "max_options": 4},
    "evaluation": {"recalibration_samples": 32, "samples": 50},
    "finetune": {"epochs": 1, "lr": 0.02},
}


def tiny_config() -> Config:
    """One task, named ``tiny``."""
    return Config.model_validate(
        {"name": "tiny", "tasks": {NAME: SECTION}, "budgets": [{"macs": 0.9}], "searchers": ["random"]}
    )
