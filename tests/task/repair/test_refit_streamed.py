"""Several batches give what one gives, in as many passes as foretold; the same bytes twice."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from refit_nets import Attention, InPlace, Keyword, Residual, Twice
from repairing import bytes_of, counted, cut, mended, noise, parts, run, seeded
from torch import nn

from rank_search.task.repair import refit as module
from rank_search.task.repair.refit import batch_size, passes, refit
from rank_search.task.repair.steps import steps_of

WIDE = torch.float64
NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (Residual, (3, 8, 8)),
    "queries, keys, values": (Attention, (5, 8)),
    "called twice": (Twice, (6,)),
    "called twice, by keyword": (lambda: Twice(keyword=True, bias=False), (6,)),
    "by keyword": (Keyword, (4, 9)),
    "in place": (InPlace, (4, 5, 5)),
}
AMPLIFIED = 0.01
"""Of errors and outputs: the line searches of L-BFGS may turn a rounding into another end."""


@pytest.mark.parametrize("size", [8, 1])
@pytest.mark.parametrize(
    "kind",
    list(NETS),
)
def test_batches_give_what_one_batch_gives(kind: str, size: int) -> None:
    build, shape = NETS[kind]
    dense = seeded(build, dtype=WIDE)
    data = noise(23, *shape, dtype=WIDE)
    if size == 1:
        data = data[:13]
    whole, streamed = cut(dense), cut(dense)
    one, several = mended(whole, dense, data), mended(streamed, dense, data, size)
    assert {name: value.left for name, value in one.items()} == {name: value.left for name, value in several.items()}
    for name, value in one.items():
        assert several[name].before == pytest.approx(value.before, rel=1e-6)
        assert several[name].after == pytest.approx(value.after, rel=AMPLIFIED)
    gap = run(streamed, data) - run(whole, data)
    assert float(gap.norm() / run(dense, data).norm()) < AMPLIFIED


def test_batches_give_what_one_batch_gives_where_the_sequence_goes_first() -> None:
    dense = seeded(lambda: Attention(sequence_first=True), dtype=WIDE)
    data = noise(23, 5, 8, dtype=WIDE)
    whole, streamed = cut(dense), cut(dense)
    one, several = mended(whole, dense, data), mended(streamed, dense, data, 8)
    for name, value in one.items():
        assert several[name].before == pytest.approx(value.before, rel=1e-5)


def test_a_layout_with_the_sequence_first_gives_what_one_with_the_inputs_first_gives() -> None:
    data = noise(24, 5, 8, dtype=WIDE)
    found = []
    for first in (False, True):
        dense = seeded(lambda first=first: Attention(sequence_first=first), dtype=WIDE)
        found.append(mended(cut(dense), dense, data))
    for name, value in found[0].items():
        assert found[1][name].before == pytest.approx(value.before, rel=1e-5)


@pytest.mark.parametrize("share", [1, 3, 10, 1000])
@pytest.mark.parametrize("kind", NETS)
def test_no_more_passes_than_foretold_in_batches_of_the_size_foretold(
    kind: str, share: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    build, shape = NETS[kind]
    dense, data = seeded(build), noise(23, *shape)
    model = cut(
        dense, only=[name for name in dict(dense.named_modules()) if name not in ("norm0", "stem", "k", "")][:3]
    )
    names = [name for name, part in model.named_modules() if hasattr(part, "choice")]
    steps = steps_of(dense, data[:1])
    largest = module.BYTES_REPLACED * max(step.numbers for step in steps)
    monkeypatch.setattr(module, "MEMORY_BYTES", largest * max(1, 23 // share))
    size = batch_size(steps, [step.name for step in steps], 23)
    assert size == max(1, 23 // share)
    sizes = [min(size, 23 - first) for first in range(0, 23, size)]
    batches, asked = counted(lambda: parts(data, sizes))
    found = refit(model, dense, steps, batches, 23)
    assert set(found) == set(names)
    assert len(asked) <= passes(steps, names, 23)


def test_one_batch_of_a_plain_network_is_one_pass() -> None:
    dense, data = seeded(Residual), noise(20, 3, 8, 8)
    model, steps = cut(dense), steps_of(dense, data[:1])
    batches, asked = counted(lambda: [data])
    refit(model, dense, steps, batches, 20)
    assert len(asked) == 1 == passes(steps, [step.name for step in steps], 20)


@pytest.mark.parametrize("size", [None, 8])
@pytest.mark.parametrize("kind", ["residual", "queries, keys, values", "called twice"])
def test_the_same_bytes_twice_and_the_random_state_untouched(kind: str, size: int | None) -> None:
    build, shape = NETS[kind]
    dense, data = seeded(build), noise(23, *shape)
    states = []
    for seed in (1, 2):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            before = torch.get_rng_state()
            model = cut(dense)
            torch.set_rng_state(before)
            mended(model, dense, data, size)
            assert torch.equal(torch.get_rng_state(), before)
        states.append(bytes_of(model))
    assert states[0] == states[1]


def test_a_network_that_changes_its_inputs_in_place_leaves_the_callers_alone() -> None:
    dense, data = seeded(InPlace), noise(16, 4, 5, 5)
    given = list(data.clone().split(8))
    refit(cut(dense), dense, steps_of(dense, data[:1]), lambda: given, 16)
    assert torch.equal(torch.cat(given), data)
