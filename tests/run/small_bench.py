"""The config of a bench that takes seconds: a narrow digits net, trained for a few epochs, few evaluations."""

from __future__ import annotations

from typing import Any

SMALL: dict[str, Any] = {
    "name": "small",
    "tasks": {
        "digits": {
            "model": {"name": "digits_net", "options": {"width": 6}, "train": {"epochs": 3, "lr": 0.1}},
            "data": {"name": "digits", "validation": 100, "test": 100},
            "space": {"forms": ["tucker2", "cp"]},
            "evaluation": {"samples": 64, "recalibration_samples": 64},
            "finetune": {"epochs": 1},
        }
    },
    "budgets": [{"macs": 0.5}, {"macs": 0.3, "params": 0.4}],
    "searchers": ["uniform", "random", "knapsack", "tpe"],
    "seeds": [0, 1],
    "limits": {"evaluations": 12},
    "run": {"workers": 1, "threads": 1, "tracking": "none"},
}
