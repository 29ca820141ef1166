"""The refit of networks that are not a plain row of layers, and all that it must leave alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from refit_nets import Attention, Dropping, Fickle, InPlace, Keyword, Pair, Residual, Twice, Uncalled, Words
from repairing import (
    bytes_of,
    correlated,
    cut,
    finite,
    layer_bytes,
    mended,
    noise,
    parts,
    rest,
    run,
    seeded,
    seen,
    state_of,
)
from torch import Tensor, nn

from rank_search.errors import EvaluationError
from rank_search.nests import Nest, leaves
from rank_search.space import Choice, RankPlan, compress
from rank_search.task.repair.recalibration import recalibrate
from rank_search.task.repair.refit import refit
from rank_search.task.repair.steps import steps_of


def words(count: int) -> dict[str, Tensor]:
    ids = torch.randint(0, 20, (count, 5), generator=torch.Generator().manual_seed(3))
    return {"ids": ids, "mask": (noise(count, 5) > -1).float()}


NETS: dict[str, tuple[Callable[[], nn.Module], Callable[[int], Nest]]] = {
    "residual": (Residual, lambda count: correlated(count, 3, 8, 8)),
    "attention": (Attention, lambda count: correlated(count, 8, 5).mT),
    "sequence first": (lambda: Attention(sequence_first=True), lambda count: correlated(count, 8, 5).mT),
    "called twice": (Twice, lambda count: correlated(count, 6)),
    "by keyword": (Keyword, lambda count: correlated(count, 4, 9)),
    "in place": (InPlace, lambda count: correlated(count, 4, 5, 5)),
    "dropout": (Dropping, lambda count: correlated(count, 6)),
    "mapping": (Words, words),
    "tuple": (Pair, lambda count: (noise(count, 6), correlated(count, 3, 7))),
    "list": (Pair, lambda count: [noise(count, 6), correlated(count, 3, 7)]),
}


def outputs(net: nn.Module, inputs: Nest) -> Tensor:
    with torch.no_grad():
        return leaves(run(net, inputs))[0]


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("size", [None, 10])
@pytest.mark.parametrize("kind", NETS)
def test_every_layer_is_told_of_the_dense_network_is_left_alone_and_modes_are_as_documented(
    kind: str, size: int | None, training: bool
) -> None:
    build, inputs = NETS[kind]
    dense = seeded(build).train(training)
    dense.register_forward_hook(lambda module, given, output: None)
    last = list(dense.modules())[-1]
    last.training = not training
    model = cut(dense).train(training)
    names = [name for name, part in model.named_modules() if hasattr(part, "choice")]
    parameters = {name: (value.shape, value.requires_grad) for name, value in model.named_parameters()}
    kept, attributes = state_of(dense), {name: set(vars(part)) for name, part in model.named_modules()}
    found = mended(model, dense, inputs(32), size)
    assert state_of(dense) == kept
    assert sorted(found) == sorted(names)
    assert {name: (value.shape, value.requires_grad) for name, value in model.named_parameters()} == parameters
    assert {name: set(vars(part)) for name, part in model.named_modules()} == attributes
    assert not any(part.training for part in model.modules())
    assert finite(model)
    assert all(value.grad is None for net in (model, dense) for value in net.parameters())
    for value in found.values():
        assert (value.left is None) == (
            value.after is not None and value.before is not None and value.after < value.before
        )
        assert value.left is None or "\n" not in value.left


FRESH = [
    kind
    for kind in NETS
    if kind != "called twice"  # its outputs hardly vary
]


@pytest.mark.parametrize("kind", FRESH)
def test_the_networks_outputs_come_nearer_on_fresh_inputs(kind: str) -> None:
    build, inputs = NETS[kind]
    dense = seeded(build)
    every = inputs(1200)
    calibration, fresh = parts(every, [800, 400])
    refitted, recalibrated = cut(dense), cut(dense)
    mended(refitted, dense, calibration)
    recalibrate(recalibrated, dense, parts(calibration, [800]))
    wanted = outputs(dense, fresh)
    assert rest(wanted, outputs(refitted, fresh), -1) < rest(wanted, outputs(recalibrated, fresh), -1)


@pytest.mark.parametrize("kind", ["attention", "in place", "dropout"])
def test_the_bias_takes_the_mean_where_no_norm_follows(kind: str) -> None:
    build, inputs = NETS[kind]
    dense = seeded(build, dtype=torch.float64)
    data = inputs(64).double()  # type: ignore[union-attr]
    model = cut(dense)
    found = mended(model, dense, data)
    checked = 0
    for name in found:
        layer = dense.get_submodule(name)
        if found[name].left is None and layer.bias is not None:
            output, wanted = seen(model, name, data)[1], seen(dense, name, data)[1]
            axes = [at for at in range(output.ndim) if at != (output.ndim - 1 if isinstance(layer, nn.Linear) else 1)]
            torch.testing.assert_close(output.mean(axes), wanted.mean(axes), rtol=1e-6, atol=1e-6)
            checked += 1
    assert checked


@pytest.mark.parametrize("bias", [True, False])
def test_a_layer_that_is_called_twice_is_fitted_to_both_calls(bias: bool) -> None:
    dense = seeded(lambda: Twice(bias=bias))
    data = correlated(200, 6)
    model = compress(dense, RankPlan({"shared": Choice("svd", (3,))}))
    before = gap_of_calls(model, dense, data, bias)
    assert mended(model, dense, data)["shared"].left is None
    assert gap_of_calls(model, dense, data, bias) < before


def gap_of_calls(model: nn.Module, dense: nn.Module, data: Tensor, centred: bool) -> float:
    """Of all that the shared layer puts out."""
    found: list[list[Tensor]] = []
    for net in (dense, model):
        calls: list[Tensor] = []
        handle = net.get_submodule("shared").register_forward_hook(
            lambda module, given, output, calls=calls: calls.append(output)
        )
        outputs(net, data)
        handle.remove()
        found.append(calls)
    return rest(*(torch.cat(calls) for calls in found), -1, centred=centred)


@pytest.mark.parametrize("bias", [True, False])
def test_without_a_bias_the_fit_is_not_centred_and_nothing_is_added(bias: bool) -> None:
    """Inputs of one large mean: an uncentred fit of rank 1 must spend its rank on the mean, a centred one need not."""
    dense = seeded(lambda: nn.Sequential(nn.Linear(6, 5, bias=bias)), dtype=torch.float64)
    model = compress(dense, RankPlan({"0": Choice("svd", (1,))}))
    data = correlated(200, 6, dtype=torch.float64) + 20
    names = [name for name, _ in model.named_parameters()]
    assert mended(model, dense, data)["0"].left is None
    assert [name for name, _ in model.named_parameters()] == names
    assert (model[0].bias is not None) == bias
    plain = rest(outputs(dense, data), outputs(model, data), -1)
    centred = rest(outputs(dense, data), outputs(model, data), -1, centred=True)
    assert plain < 0.01
    assert (centred < 0.6) == bias


def test_frozen_parameters_stay_frozen_and_are_fitted_all_the_same() -> None:
    dense = seeded(Residual)
    for parameter in dense.parameters():
        parameter.requires_grad_(False)
    dense.conv1.weight.requires_grad_(True)
    model = cut(dense)
    needs = {name: value.requires_grad for name, value in model.named_parameters()}
    found = mended(model, dense, correlated(40, 3, 8, 8))
    assert {name: value.requires_grad for name, value in model.named_parameters()} == needs
    assert any(value.left is None for value in found.values())


@pytest.mark.parametrize(
    "context",
    [
        torch.no_grad,
        torch.inference_mode,
        torch.enable_grad,
    ],
)
@pytest.mark.parametrize("kind", ["residual", "attention"])
def test_the_callers_grad_mode_does_not_matter_and_the_network_can_be_trained_after(kind: str, context: Any) -> None:
    build, inputs = NETS[kind]
    dense, data = seeded(build), inputs(32)
    plain, model = cut(dense), cut(dense)
    mended(plain, dense, data)
    with context():
        mended(model, dense, data)
    assert bytes_of(model) == bytes_of(plain)
    assert not any(value.is_inference() for value in model.state_dict().values())
    model(data).square().sum().backward()
    assert all(value.grad is not None for value in model.parameters() if value.requires_grad)


@pytest.mark.parametrize("kind", ["attention", "by keyword"])
def test_the_callers_default_dtype_and_threads_do_not_matter(kind: str) -> None:
    build, inputs = NETS[kind]
    dense, data = seeded(build), inputs(32)
    plain, wide, threaded = cut(dense), cut(dense), cut(dense)
    mended(plain, dense, data)
    threads = torch.get_num_threads()
    torch.set_default_dtype(torch.float64)
    try:
        mended(wide, dense, data)
        assert torch.get_default_dtype() == torch.float64
    finally:
        torch.set_default_dtype(torch.float32)
    torch.set_num_threads(2)
    try:
        mended(threaded, dense, data)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(threads)
    assert bytes_of(wide) == bytes_of(plain)
    norm = outputs(dense, data).norm()
    assert float((outputs(threaded, data) - outputs(plain, data)).norm() / norm) < 0.01


@pytest.mark.parametrize("size", [None, 8])
@pytest.mark.parametrize("how", ["order", "skip", "more"])
@pytest.mark.parametrize("flips", [(), (0,), (8,), (0, 8), (8, 16)])
def test_a_network_that_calls_otherwise_than_the_sample_did_is_mended_where_it_can_be(
    how: str, size: int | None, flips: tuple[int, ...]
) -> None:
    dense, data = seeded(lambda: Fickle(how)), correlated(24, 6)
    data[:, 0] = -data[:, 0].abs()
    for at in flips:
        data[at, 0] *= -1
    model = cut(dense)
    was, steps = {name: layer_bytes(model, name) for name in ("a", "b", "head")}, steps_of(dense, -data[:1].abs())
    sizes = [24] if size is None else [8, 8, 8]
    found = refit(model, dense, steps, lambda: parts(data, sizes), 24)
    assert set(found) == {"a", "b", "head"}
    assert finite(model)
    for name, value in found.items():
        assert (layer_bytes(model, name) == was[name]) == (value.left is not None)
    assert not any("forward" in vars(part) for net in (model, dense) for part in net.modules())


def test_a_layer_that_the_network_never_calls_is_left_with_a_reason() -> None:
    dense = seeded(Uncalled)
    model = compress(dense, RankPlan({"used": Choice("svd", (2,)), "spare": Choice("svd", (2,))}))
    was = layer_bytes(model, "spare")
    found = mended(model, dense, correlated(30, 6))
    assert layer_bytes(model, "spare") == was
    assert found["used"].left is None
    assert found["spare"].left


def test_a_network_that_fails_is_one_line_and_is_left_without_hooks() -> None:
    dense = seeded(Residual).train()
    model, kept = cut(dense), state_of(dense)
    steps = steps_of(dense, noise(1, 3, 8, 8))
    with pytest.raises(EvaluationError, match="cannot be refitted: RuntimeError") as caught:
        refit(model, dense, steps, lambda: [noise(8, 4, 8, 8)], 8)
    assert "\n" not in str(caught.value)
    assert state_of(dense) == kept
    assert not any("forward" in vars(part) for part in model.modules())
