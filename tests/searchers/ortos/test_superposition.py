"""One round of the relaxation: against explicit sums, one joint loss, finite differences and SGD written out."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from rank_search.errors import EvaluationError, InvalidInputError
from rank_search.running import evaluating
from rank_search.searchers.ortos.rank_ranges import Candidates, RankRanges, Schedule
from rank_search.searchers.ortos.superposition import (
    NetworkLoss,
    Superposition,
    SuperpositionOptions,
    rank_loss,
)
from rank_search.space import Choice, RankPlan, RankSpace
from rank_search.space.forms.cp import CP
from rank_search.space.forms.factor_modules import weight_for
from rank_search.space.forms.multiplied import multiplied
from rank_search.states import load_state, save_state
from rank_search.testing import small_task

pytestmark = pytest.mark.usefixtures("single_thread")

MOMENTUM = 0.9
EXACT = {"rtol": 1e-10, "atol": 1e-12}


class Net(nn.Module):
    """A strided convolution, a norm, a grouped convolution, a transposed grouped one and a linear layer."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Conv2d(3, 8, 3, stride=2, padding=1)
        self.norm = nn.BatchNorm2d(8)
        self.grouped = nn.Conv2d(8, 12, 3, groups=2)
        self.up = nn.ConvTranspose2d(12, 6, 3, stride=2, groups=3)
        self.head = nn.Linear(6, 10)

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.head(self.up(self.grouped(torch.relu(self.norm(self.down(images))))).mean((2, 3)))
        return logits


def net_and_space(forms: tuple[str, ...] = ("tucker2", "svd")) -> tuple[Net, RankSpace]:
    torch.manual_seed(0)
    net = Net().double().eval()
    return net, RankSpace.from_model(net, torch.zeros(1, 3, 8, 8, dtype=torch.float64), list(forms))


def batch() -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(6, 3, 8, 8, generator=generator, dtype=torch.float64), torch.arange(6)


def network_loss(model: nn.Module, inputs: Tensor, labels: Tensor) -> NetworkLoss:
    """The cross-entropy of the network with some weights replaced."""

    def loss(weights: dict[str, Tensor]) -> Tensor:
        replaced = {
            f"{name}.weight": weight_for(model.get_submodule(name), weight).to(torch.float64)
            for name, weight in weights.items()
        }
        with evaluating(model), torch.enable_grad():
            return F.cross_entropy(functional_call(model, replaced, (inputs,)), labels)

    return loss


def round_of(
    space: RankSpace, schedule: Schedule | None = None, state: dict[str, Any] | None = None, **options: Any
) -> Superposition:
    candidates = RankRanges(space.layers, schedule or Schedule(1, 5, 2)).candidates()
    options = {"warm_up": 2, "iterations": 3, "lr": 0.02, "precision": "float64", **options}
    return Superposition(space.layers, candidates, SuperpositionOptions(**options), state=state)


def spread(superposition: Superposition) -> Superposition:
    """The same with logits that differ."""
    with torch.no_grad():
        for layer in superposition.layers:
            layer.logits.copy_(torch.linspace(-1, 0.5, len(layer.logits)))
    return superposition


def numbers(superposition: Superposition) -> list[Tensor]:
    """Every factor and logit."""
    layers = superposition.layers
    return [t.detach().clone() for layer in layers for t in (*layer.parameters, layer.logits)]


def written_out(form: str, factors: tuple[Tensor, ...]) -> Tensor:
    """What, summed over all inner indices at once."""
    if form == "svd":
        first, last = factors
        return torch.einsum("gri,gor->goi", first[..., 0], last[..., 0]).unsqueeze(3)
    first, core, last = factors
    if form == "cp":
        groups, rank = first.shape[:2]
        taps = core.reshape(groups, rank, -1)
        return torch.einsum("gri,grt,gor->goit", first[..., 0], taps, last[..., 0])
    return torch.einsum("gyi,gxyt,gox->goit", first[..., 0], core, last[..., 0])


def joint_losses(superposition: Superposition, loss: NetworkLoss | None = None) -> tuple[Tensor, Tensor]:
    """``L_Tw`` and ``L_Ta`` as one expression of all factors and logits."""
    error, of_rank, mixtures = torch.tensor(0.0, dtype=torch.float64), 0.0, {}
    for layer in superposition.layers:
        p = layer.logits.exp() / layer.logits.exp().sum()
        mixture = torch.zeros_like(layer.target)
        mean = torch.tensor(0.0, dtype=torch.float64)
        ranks = [max(choice.ranks) for choice in layer.choices]
        for probability, choice, rank, factors in zip(p, layer.choices, ranks, layer.factors, strict=True):
            mixture = mixture + probability * written_out(choice.form, factors)
            mean = mean + probability * rank / max(ranks)
        error = error + (layer.target - mixture).pow(2).sum()
        of_rank = of_rank + 0.4 * mean**0.8
        mixtures[layer.name] = mixture
    return error * of_rank, (error if loss is None else loss(mixtures)) * of_rank


class Nesterov:
    """``v <- m v + g, x <- x - lr (g + m v)``, v = g at first."""

    def __init__(self, tensors: list[Tensor], lr: float, clip: float | None = None) -> None:
        self.tensors, self.lr, self.clip, self.velocity = tensors, lr, clip, [torch.zeros_like(t) for t in tensors]

    def step(self, loss: Tensor) -> None:
        gradients = list(torch.autograd.grad(loss, self.tensors))
        norm = math.sqrt(sum(float(gradient.square().sum()) for gradient in gradients))
        if self.clip is not None and norm > self.clip:
            gradients = [gradient * (self.clip / norm) for gradient in gradients]
        with torch.no_grad():
            for tensor, velocity, gradient in zip(self.tensors, self.velocity, gradients, strict=True):
                velocity.mul_(MOMENTUM).add_(gradient)
                tensor.sub_(self.lr * (gradient + MOMENTUM * velocity))


# -- W_mix and L_r -----------------------------------------------------------------------------------------------------


def test_a_mixture_is_the_sum_of_its_branches() -> None:
    for task in (small_task(), None):
        space = net_and_space()[1] if task is None else task.space
        superposition = spread(round_of(space))
        mixtures = superposition.mixtures()
        for layer in superposition.layers:
            weights = np.exp(layer.logits.detach().numpy())
            total = torch.zeros_like(layer.target)
            for weight, choice, factors in zip(weights / weights.sum(), layer.choices, layer.factors, strict=True):
                total += float(weight) * written_out(choice.form, factors).detach()
            torch.testing.assert_close(mixtures[layer.name], total, **EXACT)


@pytest.mark.parametrize(
    "form", ["tucker2", "tensor_train", "cp", "svd_channel", "svd_spatial", "svd_grouped"], ids=str
)
def test_the_product_of_the_factors_is_the_weight_that_the_factorised_network_applies(form: str) -> None:
    net, space = net_and_space((form,))
    inputs, _ = batch()
    for options in space.layers:
        row = len(options) // 2
        plan = RankPlan({options.layer.name: options.choice(row)})
        replaced = copy.deepcopy(net)
        module = replaced.get_submodule(options.layer.name)
        product = multiplied(options.factors(row), options.layer.groups)
        ordered = product.transpose(1, 2) if options.layer.transposed else product
        module.weight.data.copy_(ordered.reshape(module.weight.shape))  # type: ignore[union-attr, operator, arg-type]
        torch.testing.assert_close(space.compress(net, plan)(inputs), replaced(inputs), **EXACT)
        error = (options.weight.plain - product).square().sum().item()
        assert error == pytest.approx(options.errors[row], rel=1e-9)


def test_the_branches_start_at_the_factors_of_their_form() -> None:
    for precision, dtype in (("float64", torch.float64), ("float32", torch.float32)):
        _, space = net_and_space()
        superposition = round_of(space, precision=precision)
        for layer, options in zip(superposition.layers, space.layers, strict=True):
            assert layer.target.dtype == dtype
            for choice, factors in zip(layer.choices, layer.factors, strict=True):
                form = next(form for form in options.forms if form.name == choice.form)
                for mine, theirs in zip(factors, form.factors(options.weight, choice.ranks), strict=True):
                    assert torch.equal(mine.detach(), theirs.to(dtype))


def test_the_gradient_of_the_rank_loss_is_its_formula_and_the_finite_difference() -> None:
    gamma, beta, ranks = 0.4, 0.8, [[10.0, 20.0, 27.0], [3.0, 8.0]]
    shares = [torch.tensor(r, dtype=torch.float64) / max(r) for r in ranks]
    logits = [torch.tensor([0.3, -1.2, 0.8], dtype=torch.float64), torch.tensor([0.1, 0.7], dtype=torch.float64)]

    def value(alphas: list[Tensor]) -> Tensor:
        return rank_loss([torch.softmax(alpha, 0) for alpha in alphas], shares, gamma, beta)

    leaves = [alpha.clone().requires_grad_(True) for alpha in logits]
    expected_value = 0.0
    for i, (r, found) in enumerate(zip(ranks, torch.autograd.grad(value(leaves), leaves), strict=True)):
        exponentials = [math.exp(float(alpha)) for alpha in logits[i]]
        p = [e / sum(exponentials) for e in exponentials]
        mean = sum(a * b for a, b in zip(p, r, strict=True))
        u = mean / max(r)
        expected_value += gamma * u**beta
        formula = [gamma * beta * u ** (beta - 1) * p[j] * (r[j] - mean) / max(r) for j in range(len(r))]
        assert found.tolist() == pytest.approx(formula, rel=1e-12)
        for j in range(len(r)):
            moved = [[alpha.clone() for alpha in logits] for _ in range(2)]
            moved[0][i][j] += 1e-6
            moved[1][i][j] -= 1e-6
            difference = float(value(moved[0]) - value(moved[1])) / 2e-6
            assert float(found[j]) == pytest.approx(difference, rel=1e-7)
    assert float(value(logits)) == pytest.approx(expected_value, rel=1e-12)


# -- iterations --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clip", [None, 0.05], ids=["faithful", "clipped"])
@pytest.mark.parametrize("by_network", [False, True], ids=["data-free", "network loss"])
@pytest.mark.parametrize("forms", [("tucker2", "svd"), ("cp", "svd")], ids=str)
def test_iterations_are_those_of_sgd_written_out(forms: tuple[str, ...], by_network: bool, clip: float | None) -> None:
    net, space = net_and_space(forms)
    loss = network_loss(net, *batch()) if by_network else None
    mine = round_of(space, clip=clip, logit_lr=0.3)
    other = round_of(space)
    factors = Nesterov([f for layer in other.layers for f in layer.parameters], 0.02, clip)
    logits = Nesterov([layer.logits for layer in other.layers], 0.3, clip)
    for iteration in range(mine.total):
        mine.run(1, loss)
        factors.step(joint_losses(other)[0])
        if iteration >= 2:
            logits.step(joint_losses(other, loss)[1])
        else:
            assert all(torch.equal(layer.logits, torch.zeros_like(layer.logits)) for layer in mine.layers)
        for one, two in zip(numbers(mine), numbers(other), strict=True):
            torch.testing.assert_close(one, two, **EXACT)
    assert mine.done
    assert (mine.clipped > 0) == (clip is not None)
    assert any(float(layer.logits.detach().abs().max()) > 1e-4 for layer in mine.layers)


def test_a_round_lowers_the_error_of_the_mixture_and_spreads_p() -> None:
    superposition = round_of(small_task().space, iterations=40, precision="float32")
    start = superposition.report()
    superposition.run()
    end = superposition.report()
    assert end.mixture_error < start.mixture_error
    assert all(1 - 1e-12 < entropy <= 1 for entropy in start.entropy.values())
    assert all(0 < entropy < 1 for entropy in end.entropy.values())


def test_the_report_is_what_the_numbers_say() -> None:
    _, space = net_and_space()
    superposition = spread(round_of(space))
    report, mixed, chosen = superposition.report(), [], []
    for layer in superposition.layers:
        p = np.exp(layer.logits.detach().numpy())
        p /= p.sum()
        assert report.entropy[layer.name] == pytest.approx(-float((p * np.log(p)).sum()) / math.log(len(p)), rel=1e-12)
        norm = float(layer.target.square().sum())
        mixed.append(float((layer.target - superposition.mixtures()[layer.name]).square().sum()) / norm)
        best = layer.choices[-1]
        assert superposition.most_probable()[layer.name] == best
        chosen.append((layer.target - written_out(best.form, layer.factors[-1])).square().sum().item() / norm)
        assert superposition.probabilities()[layer.name][best] == pytest.approx(p[-1], rel=1e-12)
    assert report.mixture_error == pytest.approx(np.mean(mixed), rel=1e-12)
    assert report.chosen_error == pytest.approx(np.mean(chosen), rel=1e-12)
    with torch.no_grad():
        error = sum(
            (layer.target - superposition.mixtures()[layer.name]).square().sum() for layer in superposition.layers
        )
        assert report.rank_loss == pytest.approx(float(joint_losses(superposition)[0] / error), rel=1e-12)
    assert (report.clipped, report.left_out) == (0, {})


def test_a_layer_with_one_branch_has_nothing_to_decide() -> None:
    _, space = net_and_space()
    superposition = round_of(space, Schedule(1, 1, 1))
    superposition.run()
    assert set(superposition.report().entropy.values()) == {0.0}
    assert all(layer.probabilities.tolist() == [1.0] for layer in superposition.layers)


def test_the_most_probable_branch_of_every_form_is_what_narrows_the_ranges() -> None:
    task = small_task()
    ranges = RankRanges(task.space.layers, Schedule(1, 4, 1))
    superposition = Superposition(task.space.layers, ranges.candidates())
    layer = next(layer for layer in superposition.layers if layer.name == "conv3")
    places = {str(choice): place for place, choice in enumerate(layer.choices)}
    with torch.no_grad():
        layer.logits[places["cp 3"]], layer.logits[places["cp 2"]] = 2.0, 1.0
        layer.logits[places["tucker2 4,4"]] = 0.5
    assert superposition.most_probable()["conv3"] == Choice("cp", (3,))
    assert superposition.most_probable_of_forms()["conv3"] == {"cp": (3,), "tucker2": (4, 4)}
    ranges.narrow(superposition.most_probable_of_forms())
    assert ranges.done


# -- numbers that are not finite ---------------------------------------------------------------------------------------


def exploding(scale: float, **options: Any) -> Superposition:
    """The three factors of the second branch of a CP start so many times too large; the smallest rank is the first."""
    _, space = net_and_space(("cp", "svd"))
    superposition = round_of(space, warm_up=5, iterations=20, lr=1e-3, precision="float32", **options)
    with torch.no_grad():
        for factor in superposition.layers[1].factors[1]:
            factor.mul_(scale)
    return superposition


@pytest.mark.parametrize(("scale", "last_finite"), [(500.0, 0), (20.0, 1), (12.0, 2)])
def test_an_exploding_start_is_an_error_that_names_the_layer_and_keeps_the_last_finite_state(
    scale: float, last_finite: int
) -> None:
    superposition, other = exploding(scale), exploding(scale)
    says = f"layer 'grouped': the loss is .* at iteration {last_finite + 2} of 25; lower lr, or set clip"
    with pytest.raises(EvaluationError, match=says):
        superposition.run()
    other.run(last_finite)
    assert superposition.iteration == last_finite
    assert all(map(torch.equal, numbers(superposition), numbers(other)))
    assert all(tensor.isfinite().all() for tensor in numbers(superposition))
    assert math.isfinite(superposition.report().mixture_error)


def test_an_exploding_start_goes_on_when_clipped() -> None:
    superposition = exploding(500.0, clip=5.0)
    superposition.run()
    report = superposition.report()
    assert superposition.done
    assert report.clipped == 45
    assert math.isfinite(report.mixture_error)


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("where", ["factor", "logit"])
def test_a_number_that_is_not_finite_is_an_error_at_the_first_iteration(where: str, value: float) -> None:
    superposition = round_of(net_and_space()[1])
    layer = superposition.layers[2]
    with torch.no_grad():
        (layer.logits if where == "logit" else layer.factors[0][0].view(-1))[0] = value
    with pytest.raises(EvaluationError, match=f"layer '{layer.name}': .* at iteration 1 of 5"):
        superposition.run()
    with pytest.raises(EvaluationError, match=f"layer '{layer.name}'"):
        superposition.report()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_network_loss_that_is_not_finite_is_an_error_and_leaves_the_iteration_undone(value: float) -> None:
    superposition, other = round_of(net_and_space()[1]), round_of(net_and_space()[1])

    def broken(weights: dict[str, Tensor]) -> Tensor:
        return weights["down"].sum() + value  # its gradient is finite

    with pytest.raises(EvaluationError, match=r"^the network's loss is .* at iteration 3 of 5"):
        superposition.run(network_loss=broken)
    other.run(2)
    assert superposition.iteration == 2
    assert all(map(torch.equal, numbers(superposition), numbers(other)))


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_whatever_stops_it_the_round_goes_on_to_the_same_bits(error: type[BaseException]) -> None:
    net, space = net_and_space()
    loss, calls = network_loss(net, *batch()), []

    def stopping(weights: dict[str, Tensor]) -> Tensor:
        calls.append(1)
        if len(calls) == 2:
            raise error
        return loss(weights)

    superposition, other = round_of(space), round_of(space)
    with pytest.raises(error):
        superposition.run(network_loss=stopping)
    superposition.run(network_loss=loss)
    other.run(network_loss=loss)
    assert all(map(torch.equal, numbers(superposition), numbers(other)))


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (lambda weights: weights["down"].square(), r"shape \[1, 8, 3, 9\]"),
        (lambda weights: torch.tensor(1.0), "does not depend on the weights"),
    ],
)
def test_a_network_loss_that_is_no_differentiable_number_is_an_error(
    returned: Callable[[dict[str, Tensor]], Tensor], says: str
) -> None:
    with pytest.raises(InvalidInputError, match=says):
        round_of(net_and_space()[1]).run(network_loss=returned)


# -- branches without a start ------------------------------------------------------------------------------------------


def failing(ranks: set[int], how: str) -> Callable[..., tuple[Tensor, ...]]:
    """CP factors that are not there, or not finite, at these ranks."""
    whole = CP.factors

    def factors(self: CP, weight: Any, asked: tuple[int, ...]) -> tuple[Tensor, ...]:
        found = whole(self, weight, asked)
        if asked[0] not in ranks:
            return found
        if how == "raise":
            raise EvaluationError(f"no finite CP of rank {asked[0]} was found")
        return (found[0] * {"nan": math.nan, "overflow": 1e200}[how], *found[1:])

    return factors


@pytest.mark.parametrize("how", ["raise", "nan", "overflow"])
def test_a_branch_without_a_finite_start_is_left_out_with_the_reason(how: str, monkeypatch: pytest.MonkeyPatch) -> None:
    _, space = net_and_space(("cp", "svd"))
    monkeypatch.setattr(CP, "factors", failing({3, 5}, how))
    superposition = round_of(space, precision="float32")
    superposition.run()
    layer = superposition.layers[0]
    assert [str(choice) for choice in layer.choices] == ["cp 1"]
    reasons = superposition.report().left_out["down"]
    assert set(reasons) == {"cp 3", "cp 5"}
    assert all(("no finite CP" if how == "raise" else "not finite") in reason for reason in reasons.values())
    assert layer.shares.tolist() == [1.0]


def test_a_layer_without_any_branch_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    _, space = net_and_space(("cp", "svd"))
    monkeypatch.setattr(CP, "factors", failing({1, 3, 5}, "raise"))
    with pytest.raises(
        EvaluationError, match=r"layer 'down': none of its 3 candidates starts finite \(cp 1: no finite"
    ):
        round_of(space)


# -- stopping and going on ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stop", range(6))
@pytest.mark.parametrize("precision", ["float32", "float64"])
def test_a_round_restored_from_a_file_goes_on_to_the_same_bits(stop: int, precision: str, tmp_path: Path) -> None:
    net, space = net_and_space(("cp", "svd"))
    loss = network_loss(net, *batch())
    whole = round_of(space, precision=precision, clip=0.5)
    whole.run(network_loss=loss)
    first = round_of(space, precision=precision, clip=0.5)
    first.run(stop, loss)
    save_state(tmp_path / "state.safetensors", first.state_dict())
    state = load_state(tmp_path / "state.safetensors")
    loaded = round_of(space, precision=precision, clip=0.5)
    loaded.load_state_dict(state)
    for resumed in (first, loaded, round_of(space, precision=precision, clip=0.5, state=state)):
        assert resumed.iteration == stop
        resumed.run(network_loss=loss)
        assert resumed.done
        assert resumed.report() == whole.report()
        assert all(map(torch.equal, numbers(resumed), numbers(whole)))
        after, expected = resumed.state_dict()["momentum"], whole.state_dict()["momentum"]
        assert all(map(torch.equal, after["factors"] + after["logits"], expected["factors"] + expected["logits"]))


def test_a_restored_round_fits_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    _, space = net_and_space(("cp", "svd"))
    state = round_of(space).state_dict()
    monkeypatch.setattr(CP, "factors", failing({1, 3, 5}, "raise"))
    round_of(space, state=state).run()


def test_a_state_is_a_copy_and_a_finished_round_stays() -> None:
    superposition = round_of(net_and_space()[1])
    superposition.run(3)
    state = superposition.state_dict()
    before = [tensor.clone() for tensor in state["momentum"]["factors"]]
    superposition.run()
    assert all(map(torch.equal, before, state["momentum"]["factors"]))
    done = numbers(superposition)
    superposition.run(4)
    assert superposition.iteration == superposition.total
    assert all(map(torch.equal, done, numbers(superposition)))


# -- the network's loss ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("training", [False, True])
def test_the_network_loss_is_that_of_a_copy_with_other_weights(training: bool) -> None:
    net, space = net_and_space()
    net.train(training)
    inputs, labels = batch()
    superposition = spread(round_of(space))
    weights = superposition.mixtures()
    assert set(weights) == {"down", "grouped", "up", "head"}
    other = copy.deepcopy(net).eval()
    for name, weight in weights.items():
        module, layer = other.get_submodule(name), next(o.layer for o in space.layers if o.layer.name == name)
        dense = module.weight
        assert isinstance(dense, Tensor)
        for place in np.ndindex(*dense.shape):
            group_size = layer.group_channels[0] if not layer.transposed else layer.group_channels[1]
            group, inside = divmod(place[0], group_size)
            out, into = (place[1], inside) if layer.transposed else (inside, place[1])
            tap = int(np.ravel_multi_index(place[2:], layer.kernel)) if layer.kernel else 0
            dense.data[place] = weight[group, out, into, tap]
    before = copy.deepcopy(net.state_dict())
    leaves = {name: weight.clone().requires_grad_(True) for name, weight in weights.items()}
    found = network_loss(net, inputs, labels)(leaves)
    expected = F.cross_entropy(other(inputs), labels)
    torch.testing.assert_close(found, expected, **EXACT)
    theirs = torch.autograd.grad(expected, [other.get_submodule(name).weight for name in weights])  # type: ignore[misc]
    for options, mine, gradient in zip(
        space.layers, torch.autograd.grad(found, list(leaves.values())), theirs, strict=True
    ):
        torch.testing.assert_close(mine, options.layer.canonical(gradient), **EXACT)
    assert all(torch.equal(before[key], value) for key, value in net.state_dict().items())
    assert net.training == net.norm.training == training
    assert all(parameter.grad is None for parameter in net.parameters())


def test_the_network_loss_takes_weights_of_another_precision() -> None:
    net, space = net_and_space()
    superposition = round_of(space, precision="float32")
    superposition.run(network_loss=network_loss(net, *batch()))
    assert superposition.layers[0].logits.dtype == torch.float32
    assert superposition.report().entropy["down"] < 1


# -- bad input ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"warm_up": -1}, "warm_up=-1 .* at least 0"),
        ({"iterations": 0}, "iterations=0 .* at least 1"),
        ({"lr": 0}, "lr=0 .* above 0"),
        ({"lr": math.nan}, "lr=nan"),
        ({"logit_lr": -1.0}, "logit_lr=-1.0"),
        ({"momentum": 1}, "momentum=1 .* below 1"),
        ({"momentum": 1.5}, "momentum=1.5 .* from 0 to 1"),
        ({"gamma": -0.4}, "gamma=-0.4"),
        ({"beta": 0}, "beta=0"),
        ({"clip": 0}, "clip=0"),
        ({"precision": "float46"}, "precision='float46' .* float32, float64"),
    ],
)
def test_a_bad_option_is_an_error(options: dict[str, Any], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        SuperpositionOptions(**options)


def test_layers_and_candidates_must_belong_together() -> None:
    _, space = net_and_space()
    candidates = RankRanges(space.layers, Schedule(1, 2, 1)).candidates()
    with pytest.raises(InvalidInputError, match="do not belong together: head"):
        Superposition(space.layers, {name: c for name, c in candidates.items() if name != "head"})
    with pytest.raises(InvalidInputError, match="no layer at all"):
        Superposition([], {})
    with pytest.raises(InvalidInputError, match="'head' does not have the form cp"):
        Superposition(space.layers, {**candidates, "head": Candidates((Choice("cp", (1,)),), (1.0,))})
    state = Superposition(space.layers[:2], {name: candidates[name] for name in ("down", "grouped")}).state_dict()
    with pytest.raises(InvalidInputError, match=r"of other layers \(head, up\)"):
        Superposition(space.layers, candidates, state=state)


def test_momentum_zero_is_plain_gradient_descent() -> None:
    superposition = round_of(net_and_space()[1], momentum=0.0)
    before = [tensor.detach().clone() for tensor in superposition.layers[0].parameters]
    gradients = torch.autograd.grad(joint_losses(superposition)[0], superposition.layers[0].parameters)
    superposition.run(1)
    for tensor, start, gradient in zip(superposition.layers[0].parameters, before, gradients, strict=True):
        torch.testing.assert_close(tensor.detach(), start - 0.02 * gradient, **EXACT)
