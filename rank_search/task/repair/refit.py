"""Refitting the factors of a compressed network, so that its layers put out what the dense network's do."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from rank_search.errors import EvaluationError, told
from rank_search.listening import tell
from rank_search.nests import Nest, call, leaves, mapped, moved
from rank_search.running import device_of, evaluating, observed
from rank_search.space.forms.low_rank import LowRank
from rank_search.task.repair.layer_mender import LayerMender
from rank_search.task.repair.mender import OTHERWISE, Inputs, Mended, Mender, Mismatch
from rank_search.task.repair.norm_mender import NormMender
from rank_search.task.repair.recalibration import norm_pairs
from rank_search.task.repair.steps import Step

MEMORY_BYTES = 2 << 30
"""Of activations: as many inputs as fit run as one batch, and one pass of all of them mends all layers."""

BYTES, BYTES_REPLACED = 8, 16
"""For every number that a module is given or puts out: float32, and a copy; factors hold as much in between."""

NEVER = "no sample runs through it"


def refit(
    model: nn.Module, dense: nn.Module, steps: Sequence[Step], batches: Callable[[], Iterable[Nest]], inputs: int
) -> dict[str, Mended]:
    """Fits the factors of every replaced layer anew, and mends every batch norm, in the order they run.

    Each layer's factors are those of least squares: from what the COMPRESSED network, mended up to there, gives it, to
    what the DENSE network puts out there. (For the last factor: Zhang et al., TPAMI 2016; all factors, from second
    moments alone, are ours.) Every fourth input is held out: of several fits, of stronger and weaker ridges, the one is
    kept that is best on them, and where none is better than the cut, the layer is left as it was. Where no batch norm
    follows, the bias takes the mean.

    One batch is mended in one pass. Of several, each pass runs up to the next layers that are given the same tensor:
    the sums are those of one batch, and memory does not grow with the number of inputs.

    Args:
        model: a compressed copy of ``dense``; changed.
        dense: the network it came from; left as it was.
        steps: of ``dense`` (see :func:`steps_of`).
        batches: gives the unlabelled inputs, nests ``[N, ...]``, the same ones whenever it is called.
        inputs: how many they are in all.

    Returns:
        What became of each replaced layer, by name.

    Raises:
        EvaluationError: if a network cannot run a batch.
    """
    model.eval()
    walk = _Walk(model, dense, steps)
    try:
        with torch.inference_mode(False), evaluating(dense), torch.no_grad():
            while walk.pending:
                walk.run(batches(), inputs)
    except (RuntimeError, ValueError, IndexError) as error:
        raise EvaluationError(f"the compressed network cannot be refitted: {told(error)}") from error
    order = [step.name for step in steps if step.name in walk.found]
    never = [name for name, module in model.named_modules() if isinstance(module, LowRank) and name not in walk.found]
    return {name: walk.found[name] for name in order} | dict.fromkeys(never, Mended(left=NEVER))


def batch_size(steps: Sequence[Step], replaced: Iterable[str], inputs: int) -> int:
    """How many inputs run at once: all if their activations fit into :data:`MEMORY_BYTES`."""
    names = set(replaced)
    largest = max(((BYTES_REPLACED if step.name in names else BYTES) * step.numbers for step in steps), default=1)
    return max(1, min(inputs, MEMORY_BYTES // max(1, largest)))


def passes(steps: Sequence[Step], replaced: Iterable[str], inputs: int) -> int:
    """How often, at the most, the inputs run through both networks."""
    names = set(replaced)
    mine = [step for step in steps if step.name in names or step.norm_of not in (None, *names)]
    several = [step for step in mine if step.calls > 1] if batch_size(steps, names, inputs) >= inputs else mine
    return max(1, len(several) + (len(several) < len(mine)))


class _Enough(BaseException):
    """A pass has run as far as it must; no network may catch it."""


class _Walk:
    """Args:
    model, dense, steps: as of :func:`refit`.
    """

    def __init__(self, model: nn.Module, dense: nn.Module, steps: Sequence[Step]) -> None:
        self._model, self._dense = model, dense
        self._modules = dict(model.named_modules())
        self._norms = norm_pairs(model, dense)
        self._steps = {step.name: step for step in steps}
        self.found: dict[str, Mended] = {}
        originals = dict(dense.named_modules())
        taken = set()
        self.pending: list[Mender] = []
        for step in steps:
            module = self._modules.get(step.name)
            if isinstance(module, LowRank):
                norm = None if step.norm is None else self._norms.get(step.norm)
                taken.add(step.norm)
                self.pending.append(LayerMender(step.name, step.calls, module, originals[step.name], norm))
            elif step.name in self._norms and step.name not in taken:
                self.pending.append(NormMender(step.name, step.calls, *self._norms[step.name]))
        self._total = len(self.pending)

    def run(self, batches: Iterable[Nest], inputs: int) -> None:
        """A pass over all inputs, after which at least one mender fewer is pending."""
        ahead, first = len(self.pending), 0
        try:
            for batch in batches:
                count = len(leaves(batch)[0])
                single = count == inputs
                wanted = self.pending if single else self._next()
                self._batch(batch, Inputs(first, count, inputs), wanted, single)
                first += count
        except Mismatch:
            self._leave()
        if len(self.pending) == ahead:
            self._leave()

    def _next(self) -> list[Mender]:
        """The menders that one pass of several batches serves: those that are given one tensor."""
        given = self._steps[self.pending[0].name].given
        group = [mender for mender in self.pending if self._steps[mender.name].given == given and mender.calls == 1]
        return group if self.pending[0] in group else self.pending[:1]

    def _leave(self) -> None:
        mender = self.pending.pop(0)
        if isinstance(mender, LayerMender):
            self.found[mender.name] = Mended(left=OTHERWISE)
            norm = self._steps[mender.name].norm
            if norm in self._norms:
                self.pending.insert(0, NormMender(norm, self._steps[norm].calls, *self._norms[norm]))

    def _batch(self, batch: Nest, inputs: Inputs, wanted: list[Mender], single: bool) -> None:
        for mender in wanted:
            mender.begin()
        self._hear(batch, inputs, {mender.name: mender for mender in wanted}, stops=not single)
        last = inputs.first + inputs.count == inputs.total
        group = wanted[:1] if single else wanted

        def add(name: str, given: Any) -> None:
            nonlocal group
            mender = next((one for one in group if one.name == name), None)
            if mender is None:
                return
            if mender.added >= mender.heard or not isinstance(given, Tensor):
                raise Mismatch(OTHERWISE)
            mender.add(given)
            mender.added += 1
            if any(one.added < one.heard for one in group):
                return
            if last:
                self._finish(group)
            if not single or mender.calls > 1 or not self.pending:
                raise _Enough
            group = self.pending[:1]

        modules = {mender.name: self._modules[mender.name] for mender in wanted}
        try:
            with observed(modules, before=add):
                call(self._model, moved(mapped(batch, torch.Tensor.clone), device_of(self._model)))
        except _Enough:
            pass

    def _hear(self, batch: Nest, inputs: Inputs, menders: dict[str, Mender], stops: bool) -> None:
        """What the dense network has at these modules."""

        def hear(name: str, given: Any, output: Any) -> None:
            mender = menders[name]
            if isinstance(given, Tensor) and isinstance(output, Tensor):
                mender.hear(given, output, inputs)
                mender.heard += 1
            if stops and all(one.heard >= one.calls for one in menders.values()):
                raise _Enough

        modules = {name: self._dense.get_submodule(name) for name in menders}
        try:
            with observed(modules, after=hear):
                call(self._dense, moved(mapped(batch, torch.Tensor.clone), device_of(self._dense)))
        except _Enough:
            pass

    def _finish(self, menders: Sequence[Mender]) -> None:
        for mender in list(menders):
            found = mender.finish()
            if found is not None:
                self.found[mender.name] = found
            self.pending.remove(mender)
        tell("refitting", self._total - len(self.pending), self._total)
