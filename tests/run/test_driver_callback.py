"""What the driver does with a row that came over a storage: the run folder has the newest files of the cell."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

from small_bench import SMALL

from rank_search.files import write_json
from rank_search.run.cells import expand
from rank_search.run.config import Config
from rank_search.run.driver_callback import driver_callback
from rank_search.run.folder import RunFolder
from rank_search.run.observer import Observer
from rank_search.run.relay import ByStorage


def test_a_cell_that_had_failed_before_gets_its_new_files(tmp_path: Path) -> None:
    """A resume tries failed cells again: the row of the failure is there, and is not the one that was told."""
    cell = expand(Config.model_validate(SMALL))[0]
    folder, storage = RunFolder(tmp_path / "run"), ByStorage(f"file://{tmp_path}/storage", "run-1")
    write_json(folder.cell(cell) / "result.json", {"cell": cell.id, "status": "failed"})
    row = {"cell": cell.id, "status": "done", "val_accuracy": 0.1 + 0.2}
    storage.send(cell.folder, {"plan.json": b"{}", "result.json": json.dumps(row).encode()})
    callback = driver_callback(object, {cell.id: cell}, Observer(), folder, storage)
    callback.on_trial_result(1, [], SimpleNamespace(config={"cell": cell.id}), {"row": row})
    assert folder.result(cell) == row
    assert (folder.cell(cell) / "plan.json").read_text() == "{}"
    assert callback.finished == {cell.id}
