"""``rank-search export``: a finished search's network as files for an engine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import nn

from rank_search import __version__
from rank_search.deploy.export import Exported, export
from rank_search.deploy.export.checksums import sha256
from rank_search.deploy.export.formats import make_format
from rank_search.deploy.export.parity import Predict
from rank_search.errors import RankSearchError
from rank_search.nests import Nest, filled
from rank_search.records.shares import share_interval
from rank_search.run.config import TargetConfig
from rank_search.run.finished import Finished, read_finished
from rank_search.task.evaluation import validate

CALIBRATION = 256
"""Training inputs for the scales of int8, and for comparing outputs."""


def export_result(
    folder: str | Path,
    to: str = "onnx",
    output: str | Path | None = None,
    int8: bool = False,
    engine: str | None = None,
    batch: int | None = None,
    fixed_batch: bool = False,
) -> Exported:
    """Exports the network of a finished search beside the dense one, both validated from their files by the engine.

    Args:
        folder: of ``rank-search search --output``, or a cell of a bench.
        to, int8, engine: as in :func:`rank_search.export`; the engine of the target unless told, where it runs the
            format.
        output: a new folder; ``FOLDER/FORMAT`` unless told.
        batch: inputs of the call that is timed; those of the target that was searched for unless told.
        fixed_batch: the file takes this batch alone.

    Raises:
        RankSearchError: if anything is wrong; nothing is left behind.
    """
    found = read_finished(folder)
    target = found.section.target or TargetConfig()
    batch = batch or target.batch
    engine = engine or _engine_for(to, target)
    inputs = _inputs(found)

    def judge(predict: Predict) -> dict[str, float]:
        objective = found.objective
        said = validate(_Predicted(predict), found.data, found.data.validation, objective, found.dense)
        return {f"val_{objective.measure}": said.measures[objective.measure]}

    return export(
        found.network,
        filled(inputs, batch),
        Path(folder) / to if output is None else output,
        to,
        dense=found.dense,
        calibration=inputs,
        int8=int8,
        engine=engine,
        facts=_facts(found),
        judge=judge if _says_something(found) and not fixed_batch else None,
        dynamic_batch=not fixed_batch,
    )


def _engine_for(to: str, target: TargetConfig) -> str | None:
    """The target's engine if it runs that format; None for the format's own."""
    if not isinstance(target.engine, str):
        return None
    try:
        make_format(to).make_engine(target.engine)
    except RankSearchError:
        return None
    return target.engine


def _inputs(found: Finished) -> Nest:
    """Training inputs, as they are without augmentation."""
    return next(iter(found.data.batches(found.data.train.subset(CALIBRATION, seed=0), CALIBRATION))).inputs


def _facts(found: Finished) -> dict[str, Any]:
    """What the card says of where the network is from."""
    row, model, measure = found.row, found.section.model, found.row["measure"]
    weights = None if model.weights is None else Path(model.weights).expanduser()
    samples = len(found.data.validation)
    interval = share_interval(measure, row.get(f"val_{measure}"), samples)
    worth = {
        "accuracies" if measure == "accuracy" else "measures": {
            key: row[key]
            for key in (f"dense_val_{measure}", f"val_{measure}", f"dense_test_{measure}", f"test_{measure}")
            if row.get(key) is not None
        },
        "held_out_samples": samples,
        **({} if interval is None else {"interval_95": [*interval]}),
    }
    source = {"model": model.name, **({"options": model.options} if model.options else {})}
    if weights is not None:
        source["weights"] = weights.name
    return {
        "name": f"{model.name}, {row['budget']}",
        "source": source,
        **({"source_checkpoint_sha256": sha256(weights)} if weights is not None and weights.is_file() else {}),
        "dense_weights_sha256": sha256(found.dense_weights),
        "data": found.section.data.name,
        "budget": row["budget"],
        "searcher": row["searcher"],
        "seed": row["seed"],
        **(worth if _says_something(found) else {}),
        "rank_search": __version__,
    }


def _says_something(found: Finished) -> bool:
    """Whether the data is any: a network that agrees on noise has shown nothing."""
    return found.section.data.name != "noise"


class _Predicted(nn.Module):
    """An exported file, to be validated as a network is."""

    def __init__(self, predict: Predict) -> None:
        super().__init__()
        self._predict = predict

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._predict(kwargs or (args[0] if len(args) == 1 else args))
