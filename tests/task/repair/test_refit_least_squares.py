"""The refit against least squares written out: explicit designs, closed forms, an optimiser of its own."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from repairing import FORMS, choice_for, correlated, cut, fitted, mended, rest, seeded, seen
from torch import Tensor, nn
from torch.func import functional_call, jacfwd

from rank_search.space import Choice, RankPlan, compress

RIDGE = 1e-4
WIDE = torch.float64


def axis_of(module: nn.Module) -> int:
    return -1 if isinstance(module, nn.Linear) else 1


def design(module: nn.Module, given: Tensor, centred: bool) -> Tensor:
    """What the module puts out for each of its weights alone, ``[outputs, weights]``."""
    weight = module.weight
    assert isinstance(weight, Tensor)
    table = jacfwd(lambda value: functional_call(module, {"weight": value}, (given,)))(weight.detach())
    table = table.flatten(table.ndim - weight.ndim)
    return without_mean(table, axis_of(module) % given.ndim, last=1) if centred else table.flatten(0, -2)


def without_mean(values: Tensor, axis: int, last: int = 0) -> Tensor:
    axes = [at for at in range(values.ndim - last) if at != axis]
    values = values - values.mean(axes, keepdim=True)
    return values.flatten(0, values.ndim - 1 - last)


def least(table: Tensor, target: Tensor, ridge: float) -> float:
    """The squared error of least squares with a ridge, by an orthogonal factorisation of the rows."""
    share = (ridge * table.square().sum(0).mean()).sqrt()
    rows = torch.cat([table, share * torch.eye(table.shape[1], dtype=WIDE)])
    solved = torch.linalg.lstsq(rows, torch.cat([target, target.new_zeros(table.shape[1])]), driver="gelsd").solution
    return float((table @ solved - target).square().sum())


def squared(wanted: Tensor, found: Tensor, axis: int, centred: bool) -> float:
    gap = wanted - found
    return float((without_mean(gap, axis % gap.ndim) if centred else gap).square().sum())


LAYERS: dict[str, tuple[Callable[[bool], nn.Module], tuple[int, ...]]] = {
    "linear": (lambda bias: nn.Linear(6, 8, bias=bias), (48, 6)),
    "1x1": (lambda bias: nn.Conv2d(6, 8, 1, bias=bias), (24, 6, 4, 4)),
    "3x3": (lambda bias: nn.Conv2d(6, 8, 3, padding=1, bias=bias), (24, 6, 5, 5)),
    "stride and dilation": (lambda bias: nn.Conv2d(6, 8, 3, stride=2, dilation=2, bias=bias), (24, 6, 9, 8)),
    "groups": (lambda bias: nn.Conv2d(6, 8, 3, groups=2, bias=bias), (24, 6, 6, 5)),
    "1d": (lambda bias: nn.Conv1d(6, 8, 3, padding=1, bias=bias), (24, 6, 9)),
    "3d": (lambda bias: nn.Conv3d(4, 6, 2, bias=bias), (24, 4, 3, 4, 4)),
    "transposed": (lambda bias: nn.ConvTranspose2d(6, 8, 3, stride=2, bias=bias), (24, 6, 4, 4)),
}
CASES = [
    (kind, form, bias)
    for kind, (build, _) in LAYERS.items()
    for form in FORMS
    for bias in (True, False)
    if choice_for(build(bias), form) is not None and (bias or kind in ("linear", "3x3"))
]


class Two(nn.Module):
    """A layer behind another, whose cut gives it inputs that are not the dense network's."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        channels = layer.in_features if isinstance(layer, nn.Linear) else layer.in_channels
        self.ahead: nn.Module = nn.Linear(channels, channels)
        self.layer = layer

    def forward(self, inputs: Tensor) -> Tensor:
        out: Tensor = self.layer(self.ahead(inputs.transpose(1, -1)).transpose(1, -1).tanh())
        return out


@pytest.mark.parametrize(("kind", "form", "bias"), CASES)
def test_the_fit_is_between_the_best_last_factor_and_the_best_weight_of_all(kind: str, form: str, bias: bool) -> None:
    build, shape = LAYERS[kind]
    dense = seeded(lambda: Two(build(bias)), dtype=WIDE)
    choice = choice_for(dense.layer, form)
    assert choice is not None
    model = compress(dense, RankPlan({"ahead": Choice("svd", (2,)), "layer": choice}))
    before = compress(dense, RankPlan({"layer": choice}))
    data = correlated(*shape, dtype=WIDE)
    found = mended(model, dense, data)
    assert found["layer"].left is None
    assert found["ahead"].left is None

    inputs, axis = data[fitted(shape[0])], axis_of(dense.layer)
    given, output = seen(model, "layer", inputs)
    wanted = seen(dense, "layer", inputs)[1]
    error = squared(wanted, output, axis, bias)
    with torch.no_grad():
        assert error < squared(wanted, before.layer(given), axis, bias)
        inner = given
        for factor in list(before.layer)[:-1]:
            inner = factor(inner)
    target = without_mean(wanted, axis % wanted.ndim) if bias else wanted.flatten()
    assert error <= 1.001 * least(design(before.layer[-1], inner, bias), target, RIDGE)
    assert error >= 0.999 * least(design(dense.layer, given, bias), target, 0.0)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("shape", [(400, 10), (200, 10, 3)])
@pytest.mark.parametrize("rank", [1, 3, 5])
def test_two_factors_of_a_linear_layer_reach_reduced_rank_regression(
    rank: int, shape: tuple[int, ...], bias: bool
) -> None:
    class Net(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ahead, self.layer = nn.Linear(10, 10), nn.Linear(10, 7, bias=bias)

        def forward(self, inputs: Tensor) -> Tensor:
            out: Tensor = self.layer(self.ahead(inputs.movedim(1, -1)).relu())
            return out

    dense = seeded(Net, dtype=WIDE)
    model = compress(dense, RankPlan({"ahead": Choice("svd", (3,)), "layer": Choice("svd", (rank,))}))
    data = correlated(*shape, dtype=WIDE)
    assert mended(model, dense, data)["layer"].left is None
    inputs = data[fitted(shape[0])]
    given, output = (values.flatten(0, -2) for values in seen(model, "layer", inputs))
    wanted = seen(dense, "layer", inputs)[1].flatten(0, -2)
    if bias:
        given, output, wanted = (values - values.mean(0) for values in (given, output, wanted))
    rows = torch.cat([given, (RIDGE * given.square().sum() / 10).sqrt() * torch.eye(10, dtype=WIDE)])
    best = torch.linalg.lstsq(rows, torch.cat([wanted, wanted.new_zeros(10, 7)]), driver="gelsd").solution
    axes = torch.linalg.svd(rows @ best, full_matrices=False)[2][:rank]
    closed = float((wanted - given @ best @ axes.T @ axes).square().sum())
    assert float((wanted - output).square().sum()) == pytest.approx(closed, rel=0.01)


@pytest.mark.parametrize("form", ["svd_spatial", "svd_grouped", "tucker2", "cp", "tensor_train"])
def test_all_factors_together_come_as_low_as_an_optimiser_over_explicit_rows(form: str) -> None:
    dense = seeded(lambda: nn.Sequential(nn.Conv2d(6, 8, 3, padding=1, bias=False)), dtype=WIDE)
    model, other = cut(dense, [form]), cut(dense, [form])
    data = correlated(120, 6, 5, 5, dtype=WIDE)
    assert mended(model, dense, data)["0"].left is None
    inputs = data[fitted(120)]
    with torch.no_grad():
        wanted = dense(inputs)
        reached = rest(wanted, model(inputs))
    optimiser = torch.optim.LBFGS(
        other.parameters(), max_iter=300, line_search_fn="strong_wolfe", tolerance_change=1e-12
    )

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = (other(inputs) - wanted).square().sum() / wanted.square().sum()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    optimiser.step(closure)  # type: ignore[no-untyped-call]
    assert reached <= 1.15 * closure().item() + 1e-5  # fifty iterations against three hundred


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("form", ["svd_channel", "tucker2"])
def test_the_errors_told_are_those_on_every_fourth_input(form: str, bias: bool) -> None:
    dense = seeded(lambda: nn.Sequential(nn.Conv2d(6, 8, 3, padding=1, bias=bias)), dtype=WIDE)
    model, data = cut(dense, [form]), correlated(31, 6, 5, 5, dtype=WIDE)
    held_out = data[~fitted(31)]
    with torch.no_grad():
        wanted, before = dense(held_out), model(held_out)
        found = mended(model, dense, data)["0"]
        after = model(held_out)
    assert found.before is not None
    assert found.after is not None
    near = 0.1 if bias else 1e-6  # centred at which mean is left open
    assert found.before == pytest.approx(rest(wanted, before, centred=bias), rel=near)
    assert found.after == pytest.approx(rest(wanted, after, centred=bias), rel=near)
    assert found.after < found.before


def test_a_held_out_input_does_not_move_the_factors_and_a_fitted_one_does() -> None:
    dense = seeded(lambda: nn.Sequential(nn.Conv2d(6, 8, 3, bias=False)), dtype=WIDE)
    data = correlated(24, 6, 5, 5, dtype=WIDE)
    states = []
    for changed in (None, 7, 8):
        inputs = data.clone()
        if changed is not None:
            inputs[changed] *= 1.5
        model = cut(dense, ["tucker2"])
        assert mended(model, dense, inputs)["0"].left is None
        states.append(torch.cat([parameter.detach().flatten() for parameter in model.parameters()]))
    torch.testing.assert_close(states[1], states[0], rtol=1e-9, atol=1e-12)
    assert float((states[2] - states[0]).abs().max()) > 1e-6


def test_a_layer_looks_at_no_more_positions_than_documented_and_at_all_if_there_are_fewer() -> None:
    dense = seeded(lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, bias=False)), dtype=WIDE)
    wide = cut(dense, ["svd_channel"])
    data = correlated(20, 2, 48, 48, dtype=WIDE)  # 46,080 positions
    found = mended(wide, dense, data)["0"]
    assert found.left is None
    fresh = correlated(20, 2, 48, 48, seed=7, dtype=WIDE)
    small = cut(dense, ["svd_channel"])
    mended(small, dense, data[:, :, :24, :24].contiguous())  # 11,520: all of them
    with torch.no_grad():
        wanted = dense(fresh)
        assert rest(wanted, wide(fresh)) <= 1.02 * rest(wanted, small(fresh))
