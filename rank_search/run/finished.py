"""A network that a search or a cell of a bench has left, with the dense one, the data and the objective."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import nn

from rank_search.errors import RunError
from rank_search.files import read_json
from rank_search.recorded.load import data_of
from rank_search.recorded.recording import read_recording
from rank_search.records.schema import CONFIG_FILE, RESULT_FILE, WEIGHTS_FILE
from rank_search.run.config import TaskConfig, load_config
from rank_search.run.dense_network import DENSE_WEIGHTS
from rank_search.space import load
from rank_search.task import Data, load_model
from rank_search.task.data.load_data import load_data
from rank_search.task.networks.weights import load_weights
from rank_search.task.objectives.choose import make_objective
from rank_search.task.objectives.objective import Objective


@dataclass(frozen=True)
class Finished:
    """Args:
    network: compressed and fine-tuned.
    dense: what it was made of, with its weights.
    dense_weights: the file of them.
    section: of the config.
    data, objective: of the task.
    row: of the results.
    """

    network: nn.Module
    dense: nn.Module
    dense_weights: Path
    section: TaskConfig
    data: Data
    objective: Objective
    row: dict[str, Any]


def read_finished(folder: str | Path) -> Finished:
    """Reads a folder of ``rank-search search --output``, or of a cell of a bench (``RUN/cells/CELL``).

    Raises:
        RunError: if it is neither, or its search has failed.
        RankSearchError: if the network's code, its weights or the data are gone.
    """
    folder = Path(folder)
    if not (folder / RESULT_FILE).is_file():
        raise RunError(_no_result(folder))
    row = dict(read_json(folder / RESULT_FILE))
    if row.get("status") != "done" or not (folder / WEIGHTS_FILE).is_file():
        raise RunError(f"{folder} holds no network: its search failed ({row.get('reason') or 'without a reason'})")
    run, task = folder.absolute().parent.parent, str(row["task"])
    places = [(folder / CONFIG_FILE, folder / DENSE_WEIGHTS), (run / CONFIG_FILE, run / "tasks" / task / DENSE_WEIGHTS)]
    found = next((pair for pair in places if all(path.is_file() for path in pair)), None)
    if found is None:
        raise RunError(
            f"{folder} has neither {CONFIG_FILE} and {DENSE_WEIGHTS} beside its network nor is it in a run folder's "
            "cells: run the search again, or use rank_search.export"
        )
    section = load_config(found[0]).tasks[task]
    dense = load_model(section.model.name, **section.model.options)
    load_weights(dense, found[1])
    network = load(folder, lambda: load_model(section.model.name, **section.model.options))
    if section.recorded is None:
        data = load_data(section.data.name, **section.data.options)
    else:
        data = data_of(read_recording(section.recorded))
    return Finished(network, dense.eval(), found[1], section, data, make_objective(section.objective), row)


def _no_result(folder: Path) -> str:
    """What a folder is, if it is no result."""
    if not folder.is_dir():
        return f"{folder} is no folder: give one that rank-search search --output wrote, or RUN/cells/CELL of a bench"
    cells = sorted(path.name for path in (folder / "cells").glob("*") if (path / WEIGHTS_FILE).is_file())
    if cells:
        return f"{folder} is a run of {len(cells)} networks: give one of its cells, e.g. {folder / 'cells' / cells[0]}"
    return (
        f"{folder} is no result of a search ({RESULT_FILE} is missing): give a folder of rank-search search --output; "
        "what rank_search.save has left is exported by rank_search.export"
    )
