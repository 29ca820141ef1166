"""What a run leaves on disk: files, columns and their kinds, declared once, with a version.

A table has fixed columns and families of columns, which follow from the metrics of the space and the measures of the
objective: ``kept_macs``, ``val_accuracy``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from rank_search.errors import RunError
from rank_search.task.meter import COUNTS
from rank_search.task.objectives.objective import Objective

VERSION = 4
"""Of everything declared here. 1 knew accuracies, parameters and MACs alone, 2 no remarks, 3 not what
times are of."""

REGRET_FILE = "regret.csv"
RANKED_AT = 64
"""After the work of at most so many evaluations a benchmark of regret ranks the answers."""
CONFIG_FILE, RUN_FILE, RESULTS_FILE = "config.yaml", "run.json", "results.csv"
PLOTS, PAGE_FILE = "plots", "report.html"
VERSIONS, RESUMED, COMMAND = "versions", "resumed", "command"
"""Of ``run.json``: the software that a run began with, what differed when it was resumed, and the command that began it
(``bench`` or ``search``); runs of older releases lack them."""
STEPS_FILE, TRACE_FILE, PLAN_FILE, WEIGHTS_FILE = "steps.csv", "trace.jsonl", "plan.json", "model.safetensors"
RESULT_FILE, CHECKPOINT_FILE, TRACEBACK_FILE = "result.json", "search.safetensors", "traceback.txt"
STAGES_FILE = "stages.json"
FINETUNE_FILE = "finetune.safetensors"
"""Of a fine-tune under way: of the best plan; those of the other ones of ``top_k`` have their place in the name."""

RESULT_TEXTS = (
    "cell",
    "task",
    "budget",
    "searcher",
    "status",
    "reason",
    "remarks",
    "timed",
    "measure",
    "better",
    "unit",
)
"""Texts of a row of ``results.csv``. ``measure`` is the reported one, ``better`` is ``higher`` or ``lower``, ``unit``
is ``%`` for a fraction that is read in percent, else empty. ``remarks`` is what a reader of the numbers must know:
operators that were not counted, work that was not metered. ``timed`` is what the times are of."""
RESULT_NUMBERS = (
    *("latency_ms", "dense_latency_ms", *COUNTS),
    *("search_seconds", "search_cpu_seconds", "finetune_samples", "finetune_seconds"),
)
"""Numbers that every finished cell has."""
RESULT_OPTIONAL = ("weight_error", "score", "lower_bound")
"""Numbers that a finished cell may lack."""
MEASURED = ("{}_before", "val_{}", "test_{}", "dense_val_{}", "dense_test_{}")
"""A measure's columns: before the fine-tune, after it on the validation and the test set, and the dense network's."""
LOSS_BEFORE = "loss_before"
"""The objective's loss before the fine-tune, on the whole validation set: one unit for all methods; runs of older
releases lack it."""
OPTIONAL_MEASURED = ("test_{}", "dense_test_{}")

STEP_TEXTS = ("cached", "failure")
STEP_NUMBERS = ("step", "score", "incumbent_score", *COUNTS, "seconds")

_KEPT = re.compile(r"kept_[A-Za-z_]\w*")
_MEASURED = re.compile(r"(dense_)?(val|test)_[A-Za-z_]\w*|[A-Za-z_]\w*_before")


def measured(measure: str) -> tuple[str, ...]:
    """The columns of a measure in ``results.csv``."""
    return tuple(column.format(measure) for column in MEASURED)


def required(measure: str) -> tuple[str, ...]:
    """Those that every finished cell has."""
    return tuple(column.format(measure) for column in MEASURED if column not in OPTIONAL_MEASURED)


def is_number_of_results(column: str) -> bool:
    """Whether a column of ``results.csv`` holds numbers."""
    fixed = column in RESULT_NUMBERS or column in RESULT_OPTIONAL or column == "seed"
    return fixed or bool(_KEPT.fullmatch(column) or _MEASURED.fullmatch(column))


def result_columns(rows: Iterable[Mapping[str, Any]]) -> tuple[str, ...]:
    """The columns of ``results.csv`` for these rows, in their order."""
    always = ("kept_macs", "kept_params")  # also where every cell failed
    found = dict.fromkeys(key for row in rows for key in (*always, *row, *measured(row["measure"])))
    kept = [column for column in found if _KEPT.fullmatch(column)]
    measures = [column for column in found if _MEASURED.fullmatch(column)]
    return (
        *(
            "cell",
            "task",
            "budget",
            "searcher",
            "seed",
            "status",
            "reason",
            "remarks",
            "timed",
            "measure",
            "better",
            "unit",
        ),
        *kept,
        *("latency_ms", "dense_latency_ms"),
        *measures,
        *RESULT_OPTIONAL,
        *COUNTS,
        *("search_seconds", "search_cpu_seconds", "finetune_samples", "finetune_seconds"),
    )


def step_columns(measures: Iterable[str], metrics: Iterable[str]) -> tuple[str, ...]:
    """The columns of ``steps.csv`` before those that a method logs itself."""
    return (
        *("step", "score", "incumbent_score"),
        *measures,
        *(f"kept_{metric}" for metric in metrics),
        *STEP_TEXTS,
        *COUNTS,
        "seconds",
    )


def reported(objective: Objective) -> dict[str, str]:
    """What a row says of its objective."""
    return {
        "measure": objective.measure,
        "better": "higher" if objective.higher else "lower",
        "unit": "%" if objective.percent else "",
    }


def kept(cost: Mapping[str, int], dense: Mapping[str, Any]) -> dict[str, float]:
    """``kept_<metric>`` as fractions of the dense network; MACs first, then parameters, then the others."""
    order = sorted(cost, key=lambda metric: ({"macs": 0, "params": 1}.get(metric, 2), [*cost].index(metric)))
    return {f"kept_{metric}": cost[metric] / dense[metric] for metric in order}


def shown(value: float | None, unit: str) -> str:
    """A measure for people: ``97.33%``, ``52.1``."""
    if value is None:
        return "unknown"
    return f"{value:.2%}" if unit == "%" else f"{value:.4g}"


def check_version(found: Any, where: object) -> None:
    """Says so if a run folder was written by another version of this schema.

    Raises:
        RunError
    """
    if found != VERSION:
        raise RunError(
            f"{where} was written with schema {1 if found is None else found} of the run folder, this version reads "
            f"{VERSION}: run the bench again in a new folder"
        )
