"""A network to a folder that runs without rank-search: the file, checked against the network, timed, with its card."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from rank_search.deploy.engines.choose import EngineSpec
from rank_search.deploy.engines.engine import Engine
from rank_search.deploy.engines.timing import time_in_turn
from rank_search.deploy.export.card import card
from rank_search.deploy.export.checksums import sums_of, write_sums
from rank_search.deploy.export.exported import COMPRESSED, DENSE, INT8, Exported, Variant
from rank_search.deploy.export.folding import Folding, fold_batch_norm
from rank_search.deploy.export.format import Format
from rank_search.deploy.export.formats import make_format
from rank_search.deploy.export.int8 import quantise
from rank_search.deploy.export.merging import merge_factors
from rank_search.deploy.export.parity import (
    TRACED,
    Parity,
    Predict,
    check_parity,
    difference,
    example_batches,
    reference,
    tensors_of,
)
from rank_search.errors import InvalidInputError
from rank_search.files import storage_errors, write_json, write_text
from rank_search.nests import Nest, check_nest, filled, leaves, mapped, moved
from rank_search.space.compress import PLAN_FILE, plan_of
from rank_search.space.metrics.metric import make_metrics
from rank_search.wrappers import without_wrappers

CARD, FACTS = "MODEL_CARD.md", "export.json"

Judge = Callable[[Predict], Mapping[str, float]]
"""What a network is worth: given how to run it on a nest ``[N, ...]``, numbers by name."""


def export(
    network: nn.Module,
    example: Nest,
    folder: str | Path,
    to: str = "onnx",
    dense: nn.Module | None = None,
    calibration: Nest | None = None,
    int8: bool = False,
    engine: EngineSpec | None = None,
    facts: Mapping[str, Any] | None = None,
    judge: Judge | None = None,
    dynamic_batch: bool = True,
) -> Exported:
    """Exports a network, checks what its file says against it, times it, and writes a model card and checksums.

    Args:
        network: compressed (or dense); left as it was. Wrappers around it are taken off.
        example: a nest of inputs ``[N, ...]``; N is the batch that is timed.
        folder: new; it appears when all of it is done.
        to: ``onnx``, ``pt2``, ``torchscript`` or ``safetensors``.
        dense: what the network was made of, for comparison in the same engine; it is not kept.
        calibration: inputs as the data is, ``[N, ...]``: for int8 of convolutions, and what outputs are compared on;
            the example with noise if there are none.
        int8: write an int8 model, too; ONNX alone.
        engine: that runs and times the files: ``onnxruntime`` or ``openvino`` for ONNX, else ``eager``.
        facts: written on the card: ``name``, where the weights are from, accuracies; plain data.
        judge: what is said of every variant in the table, run by the engine from its file.
        dynamic_batch: whether the file takes any number of samples.

    Raises:
        InvalidInputError: for a folder that exists, an unknown format, or inputs that do not fit.
        EngineError: if something is not installed, the network cannot be exported, or the file differs from it by more
            than the tolerance of its dtype; no file is left then.
    """
    form = make_format(to)
    running = form.make_engine(engine)
    if int8 and form.name != "onnx":
        raise InvalidInputError(f"int8=True is for ONNX Runtime, not for {form.name}: use to='onnx'")
    if int8 and not dynamic_batch:
        raise InvalidInputError("int8 scales are found on batches of their own: leave the fixed batch out, or int8")
    check_nest(example, "the example")
    cpu = torch.device("cpu")
    example = moved(example, cpu)
    calibration = None if calibration is None else moved(calibration, cpu)
    networks = {COMPRESSED: network} if dense is None else {DENSE: dense, COMPRESSED: network}
    bare = {name: without_wrappers(model).eval().to(cpu) for name, model in networks.items()}
    given = example_batches(example, calibration, dynamic_batch)
    with _appearing(Path(folder)) as place, tempfile.TemporaryDirectory() as scratch:
        table = _Table(form, running, given, calibration if int8 else None, int8, dynamic_batch, judge)
        for name, model in bare.items():
            table.add(name, model, place if name == COMPRESSED else Path(scratch))
        plan = plan_of(bare[COMPRESSED])
        write_text(place / PLAN_FILE, plan.to_json())
        exported = Exported(
            Path(folder),
            form.name,
            running.fingerprint(),
            check_nest(example, "the example"),
            table.parity[COMPRESSED],
            table.folding[COMPRESSED],
            table.kind,
            table.variants(),
            _costs(bare, given[0], dynamic_batch),
            plan.to_dict(),
            sums_of(place),
            dict(facts or {}),
        )
        write_json(place / FACTS, exported.to_dict())
        write_text(place / CARD, card(exported, form.loading(bare[COMPRESSED])))
        write_sums(place)
    return exported


class _Table:
    """The variants: written one after another, then timed in turn."""

    def __init__(
        self,
        form: Format,
        engine: Engine,
        given: list[Nest],
        calibration: Nest | None,
        int8: bool,
        dynamic: bool,
        judge: Judge | None,
    ) -> None:
        self._form, self._engine, self._given = form, engine, given
        self._calibration, self._int8, self._dynamic, self._judge = calibration, int8, dynamic, judge
        self._rows: list[tuple[Variant, Any]] = []
        self.parity: dict[str, Parity] = {}
        self.folding: dict[str, Folding] = {}
        self.kind: str | None = None

    def add(self, name: str, network: nn.Module, place: Path) -> None:
        """Writes a network's file and checks it; its int8 file, if one is wanted."""
        form, inputs = self._form, self._given[0]
        outputs = reference(network, inputs)
        self.folding[name], written = Folding(), network
        if form.folds:
            written, folding = fold_batch_norm(network, inputs)
            self.folding[name] = replace(folding, merged=merge_factors(written, inputs))
        path = place / form.file
        traced = filled(inputs, max(TRACED, check_nest(inputs, "the example"))) if self._dynamic else inputs
        form.write(written, traced, path, self._dynamic)
        predict = self._predict(path, network, outputs)
        self.parity[name] = check_parity(network, predict, self._given)
        self._row(name, path, network, predict, self.parity[name])
        if self._int8:
            small = path.with_name(path.name.replace(".", ".int8.", 1))
            self.kind = quantise(path, small, self._calibration)
            predict = self._predict(small, network, outputs)
            self._row(name + INT8, small, network, predict, difference(network, predict, self._given))

    def _row(self, name: str, path: Path, network: nn.Module, predict: Predict, parity: Parity) -> None:
        measures = {} if self._judge is None else dict(self._judge(predict))
        runner = self._form.runner(path, network, self._given[0], self._engine)
        row = Variant(name, path.stat().st_size, 0.0, None, parity.relative, measures)
        self._rows.append((row, runner))

    def _predict(self, path: Path, network: nn.Module, outputs: Nest) -> Predict:
        """Runs a file in the engine; what it says has the shape of the network's own outputs."""

        def predict(inputs: Nest) -> Nest:
            found = tensors_of(self._form.runner(path, network, moved(inputs, torch.device("cpu")), self._engine).run())
            if len(found) != len(tensors_of(outputs)) or not _plain(outputs):
                return found[0] if len(found) == 1 else tuple(found)
            rest = iter(found)
            return mapped(outputs, lambda _: next(rest))

        return predict

    def variants(self) -> tuple[Variant, ...]:
        """All rows with their times."""
        times = [timing.least * 1000 for timing in time_in_turn([runner for _, runner in self._rows])]
        rows = [replace(row, milliseconds=time) for (row, _), time in zip(self._rows, times, strict=True)]
        dense = next((row.milliseconds for row in rows if row.name == DENSE), None)
        return tuple(rows if dense is None else (replace(row, kept_time=row.milliseconds / dense) for row in rows))


def _plain(outputs: Nest) -> bool:
    """Whether a nest holds tensors alone."""
    try:
        return len(leaves(outputs)) > 0
    except (TypeError, AttributeError):
        return False


def _costs(networks: Mapping[str, nn.Module], inputs: Nest, dynamic: bool) -> dict[str, dict[str, int]]:
    """Parameters, MACs and bytes of a sample, counted on the networks; of a fixed batch what can be counted so."""
    found = {}
    for metric in make_metrics(["bytes"]):
        try:
            cost = {name: int(metric.measure(model, filled(inputs, 1))) for name, model in networks.items()}
        except InvalidInputError:
            if dynamic:
                raise
        else:
            found[metric.name] = cost
    return found


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """A folder beside the target, which takes its place at the end; nothing of it is left if something fails.

    Raises:
        InvalidInputError: if the target is there.
        StorageError
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InvalidInputError(f"{folder} is there already, and exports do not overwrite: give another folder")
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        with storage_errors(folder):
            yield place
            place.chmod(0o755)
            place.rename(folder)
    finally:
        shutil.rmtree(place, ignore_errors=True)
