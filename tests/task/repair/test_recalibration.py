"""Recalibration: the documented affine map, towards the dense network, which itself never changes."""

from __future__ import annotations

import copy

import pytest
import torch
from tiny_task import tiny_net
from torch import Tensor, nn
from torch.nn import functional as F

from rank_search.errors import EvaluationError
from rank_search.task.repair.recalibration import recalibrate


def images(count: int, seed: int = 5) -> Tensor:
    return torch.randn(count, 1, 6, 6, generator=torch.Generator().manual_seed(seed)) * 2 + 1


def damaged(net: nn.Module) -> nn.Module:
    """A copy whose convolutions are off, as those of a compressed network are."""
    other = copy.deepcopy(net)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        for module in other.modules():
            if isinstance(module, nn.Conv2d):
                module.weight.data += 0.3 * module.weight.std() * torch.randn_like(module.weight)
    return other.eval()


def conv(values: Tensor, state: dict[str, Tensor], layer: str, stride: int) -> Tensor:
    return F.conv2d(values, state[f"{layer}.weight"], state.get(f"{layer}.bias"), stride=stride, padding=1)


def documented(c: Tensor, d: Tensor, state: dict[str, Tensor], norm: str) -> Tensor:
    """The formula of the docstring, channel by channel, in float64."""
    result = torch.empty_like(c)
    for k in range(c.shape[1]):
        ck, dk = c[:, k].flatten(), d[:, k].flatten()
        var_c, var_d = ck.var(correction=0), dk.var(correction=0)
        rho = ((ck - ck.mean()) * (dk - dk.mean())).mean() / (var_c * var_d).sqrt()
        slope = rho.clamp(0, 1).sqrt() * (var_d / var_c).sqrt()
        s = (state[f"{norm}.running_var"][k] + 1e-5).sqrt()
        inner = slope * (c[:, k] - ck.mean()) + dk.mean() - state[f"{norm}.running_mean"][k]
        result[:, k] = state[f"{norm}.weight"][k] * inner / s + state[f"{norm}.bias"][k]
    return result


@pytest.mark.parametrize("sizes", [(20,), (11, 7, 2)])
def test_every_batch_norm_computes_the_documented_map_in_the_order_they_run(sizes: tuple[int, ...]) -> None:
    dense = tiny_net()
    with torch.no_grad():
        for norm in (dense.norm1, dense.norm2):
            norm.weight.uniform_(0.5, 2)
            norm.bias.uniform_(-1, 1)
            norm.running_mean.uniform_(-1, 1)  # type: ignore[union-attr]
            norm.running_var.uniform_(0.5, 3)  # type: ignore[union-attr]
    model = damaged(dense)
    wrong = {name: value.double() for name, value in model.state_dict().items()}
    right = {name: value.double() for name, value in dense.state_dict().items()}
    data = images(sum(sizes))
    recalibrate(model, dense, data.split(list(sizes)))

    c, d = data.double(), data.double()
    c1, d1 = conv(c, wrong, "first", 1), conv(d, right, "first", 1)
    first = documented(c1, d1, right, "norm1")
    found = model.norm1(c1.float())  # type: ignore[operator]
    torch.testing.assert_close(found.double(), first, rtol=1e-4, atol=1e-4)
    if len(sizes) > 1:  # the second norm has seen the first while it was still being mended
        return
    dense_first = F.relu(
        F.batch_norm(d1, *(right[f"norm1.{k}"] for k in ("running_mean", "running_var", "weight", "bias")))
    )
    c2, d2 = conv(F.relu(first), wrong, "second", 2), conv(dense_first, right, "second", 2)
    found = model.norm2(c2.float())  # type: ignore[operator]
    torch.testing.assert_close(found.double(), documented(c2, d2, right, "norm2"), rtol=1e-3, atol=1e-3)


def test_a_network_that_is_the_dense_one_computes_what_it_did() -> None:
    other = tiny_net()
    recalibrate(other, tiny_net(), [images(9), images(5, seed=6)])
    with torch.no_grad():
        torch.testing.assert_close(other(images(7)), tiny_net().eval()(images(7)), rtol=1e-4, atol=1e-4)


def test_the_running_statistics_are_the_compressed_networks_so_that_training_starts_from_the_same_function() -> None:
    dense = tiny_net()
    model, data = damaged(dense), images(30)
    recalibrate(model, dense, [data])
    with torch.no_grad():
        evaluated = model.eval()(data)
        model.train()
        for module in model.modules():
            if isinstance(module, nn.Dropout):
                module.eval()
        torch.testing.assert_close(model(data), evaluated, rtol=1e-3, atol=1e-3)


def test_the_dense_network_is_left_as_it_was_and_only_batch_norm_changes() -> None:
    dense = tiny_net()
    model = damaged(dense)
    before = {name: value.clone() for name, value in dense.state_dict().items()}
    was = {name: value.clone() for name, value in model.state_dict().items()}
    recalibrate(model, dense, [images(9)])
    assert all(torch.equal(value, before[name]) for name, value in dense.state_dict().items())
    changed = {name.split(".")[0] for name, value in model.state_dict().items() if not torch.equal(value, was[name])}
    assert changed == {"norm1", "norm2"}
    assert not any(module._forward_pre_hooks for net in (dense, model) for module in net.modules())
    assert not any(module.training for module in model.modules())
    assert all(parameter.requires_grad and parameter.grad is None for parameter in model.parameters())


def test_it_brings_the_outputs_nearer_to_the_dense_ones_than_stored_statistics_do() -> None:
    dense = tiny_net().eval()
    model, held_out = damaged(dense), images(60, seed=9)
    with torch.no_grad():
        wanted = dense(held_out)
        before = (model(held_out) - wanted).norm()
        recalibrate(model, dense, [images(60)])
        assert (model(held_out) - wanted).norm() < 0.9 * before


def test_a_channel_that_is_constant_or_opposed_gives_the_dense_mean() -> None:
    dense = nn.Sequential(nn.Conv2d(1, 3, 1, bias=False), nn.BatchNorm2d(3)).eval()
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model[0].weight[0] = 0  # constant
        model[0].weight[1] *= -1  # correlation -1
    data = images(9)
    recalibrate(model, dense, [data])
    with torch.no_grad():
        found, mean = model(data), dense(data).mean((0, 2, 3))
    assert found.isfinite().all()
    for channel in (0, 1):
        torch.testing.assert_close(found[:, channel], mean[channel].expand(9, 6, 6), rtol=1e-4, atol=1e-4)


def test_a_norm_without_scale_and_shift_is_mended_through_its_statistics() -> None:
    dense = nn.Sequential(nn.Conv2d(1, 3, 3), nn.BatchNorm2d(3, affine=False)).eval()
    model, data = damaged(dense), images(40)
    c, d = model[0](data).detach(), dense[0](data).detach()  # type: ignore[index]
    recalibrate(model, dense, [data])
    state = {"1.running_mean": torch.zeros(3), "1.running_var": torch.ones(3)}
    state |= {"1.weight": torch.ones(3), "1.bias": torch.zeros(3)}
    expected = documented(c.double(), d.double(), {k: v.double() for k, v in state.items()}, "1")
    with torch.no_grad():
        torch.testing.assert_close(model(data).double(), expected, rtol=1e-4, atol=1e-4)


def test_a_norm_that_is_called_twice_is_fitted_to_both_calls() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.linear, self.norm = nn.Linear(6, 6), nn.BatchNorm1d(6)

        def forward(self, inputs: Tensor) -> Tensor:
            out: Tensor = self.norm(self.linear(F.relu(self.norm(self.linear(inputs)))))
            return out

    dense = Twice().eval()
    model = copy.deepcopy(dense)
    with torch.no_grad():
        model.linear.weight *= 1.1
    recalibrate(model, dense, [torch.randn(50, 6)])
    assert model.norm.running_var is not None
    assert model.norm.running_var.isfinite().all()


def test_a_network_that_fails_is_one_line_and_keeps_no_hooks() -> None:
    dense = tiny_net()
    model = damaged(dense)
    with pytest.raises(EvaluationError, match="batch norm cannot be recalibrated: RuntimeError: ") as caught:
        recalibrate(model, dense, [torch.randn(4, 3, 6, 6)])
    assert "\n" not in str(caught.value)
    assert not any(module._forward_pre_hooks for net in (dense, model) for module in net.modules())


def test_networks_whose_norms_keep_no_statistics_are_not_run() -> None:
    net = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, track_running_stats=False), nn.GroupNorm(1, 2))
    batches = iter([images(2)])
    recalibrate(copy.deepcopy(net), net, batches)
    assert len(list(batches)) == 1


def test_inputs_that_the_network_changes_in_place_later_are_seen_as_they_were() -> None:
    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.norm = nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4)
            self.second, self.last = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)

        def forward(self, images: Tensor) -> Tensor:
            images += 1
            features = self.first(images)
            branch = self.second(self.norm(features).relu())
            features += branch
            out: Tensor = self.last(features)
            return out

    dense = InPlace().eval()
    model = copy.deepcopy(dense)
    data = images(30)
    given = data.clone()
    with torch.no_grad():
        wanted = dense(data.clone())
        recalibrate(model, dense, [given])
        torch.testing.assert_close(model(data.clone()), wanted, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_precisions_give_finite_and_right_statistics(dtype: torch.dtype) -> None:
    dense = nn.Sequential(nn.Conv2d(1, 3, 1), nn.BatchNorm2d(3)).eval()
    inputs = images(200) * 20
    wide, narrow = copy.deepcopy(dense), copy.deepcopy(dense).to(dtype)
    recalibrate(wide, dense, [inputs])
    recalibrate(narrow, copy.deepcopy(dense).to(dtype), [inputs.to(dtype)])
    for mine, theirs in zip(narrow[1].state_dict().values(), wide[1].state_dict().values(), strict=True):
        torch.testing.assert_close(mine.double(), theirs.double(), rtol=0.05, atol=0.3)


def test_the_dense_networks_mode_comes_back() -> None:
    dense = tiny_net().train()
    recalibrate(damaged(dense), dense, [images(5)])
    assert dense.training
