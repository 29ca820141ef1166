"""The cache of what was computed: the same bits from disk, no work done twice, broken files replaced."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from drawn_layers import any_moment
from small_nets import CONV_NET_INPUT, ConvNet
from torch import Tensor, nn

from rank_search.errors import StorageError
from rank_search.space import Budget, Choice, RankPlan, RankSpace
from rank_search.space.forms.cp import CP
from rank_search.space.forms.decomposition import Decomposition
from rank_search.space.forms.svd import SVD
from rank_search.space.forms.tucker2 import Tucker2
from rank_search.space.layers.factor_cache import FactorCache
from rank_search.space.layers.layer import Layer
from rank_search.space.layers.layer_weight import LayerWeight
from rank_search.space.layers.whitening import Whitening

FORMS = ("tucker2", "cp", "svd")


@pytest.fixture
def work(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Every eigendecomposition and CP fit that is done, in order."""
    done: list[str] = []

    def count(where: Any, name: str) -> None:
        real = getattr(where, name)

        def counted(*arguments: Any, **options: Any) -> Any:
            rank = f" {arguments[1]}" if name == "fit" else ""
            done.append(f"{name}{rank}")
            return real(*arguments, **options)

        monkeypatch.setattr(where, name, counted)

    import rank_search.space.forms.cp as cp

    for name in ("eigh", "eigvalsh"):
        count(np.linalg, name)
    count(cp, "fit")
    count(torch.linalg, "svd")
    return done


def space_of(model: nn.Module, cache: Path | None, **options: Any) -> RankSpace:
    return RankSpace.from_model(model, torch.randn(CONV_NET_INPUT), forms=FORMS, cache=cache, **options)


def numbers(space: RankSpace, model: nn.Module) -> list[Any]:
    """All errors and the weights of one compressed network, as bytes."""
    plan = space.plan(space.minimise(space.relative_errors(), Budget(macs=0.5)).indices)
    weights = [value.numpy().tobytes() for value in space.compress(model, plan).state_dict().values()]
    return [errors.tobytes() for errors in space.relative_errors()] + weights


def test_a_second_run_decomposes_nothing_and_gives_the_same_bits(tmp_path: Path, work: list[str]) -> None:
    model, folder = ConvNet(), tmp_path / "cache"
    without = numbers(space_of(model, None), model)
    assert {"eigh", "eigvalsh", "fit 1"} <= set(work)
    first = numbers(space_of(model, folder), model)
    assert all(path.suffix == ".safetensors" for path in folder.iterdir())
    work.clear()
    second = numbers(space_of(model, folder), model)
    assert work == []
    assert first == second == without


def test_nothing_is_decomposed_before_it_is_asked_for_and_nothing_twice(tmp_path: Path, work: list[str]) -> None:
    model = ConvNet()
    space = space_of(model, None)
    space.costs(np.zeros((1, len(space.layers)), np.int64))
    space.encode(space.dense)
    space.random_plan(np.random.default_rng(0), Budget(macs=0.5))
    assert work == []
    numbers(space, model)
    once = len(work)
    numbers(space, model)
    assert len(work) == once > 0
    assert list(tmp_path.iterdir()) == []


def test_the_error_of_one_option_fits_only_its_own_rank(work: list[str]) -> None:
    space = RankSpace.from_model(nn.Conv2d(8, 8, 3), torch.randn(1, 8, 5, 5), forms=["cp"])
    table = space.layers[0]
    ranks = table.ranks[1:, 0].tolist()
    assert len(ranks) > 5
    row = table.index(Choice("cp", (ranks[3],)))
    assert table.relative_error(0) == 0
    assert work == []
    error = table.relative_error(row)
    assert work == ["eigh", "eigh", f"fit {ranks[3]}"]
    space.compress(nn.Conv2d(8, 8, 3), RankPlan({"": Choice("cp", (ranks[3],))}))
    assert work == ["eigh", "eigh", f"fit {ranks[3]}"]
    assert error == space.relative_errors()[0][row]
    assert sorted(work) == sorted(["eigh", "eigh", *(f"fit {rank}" for rank in ranks)])
    assert table.relative_error(row) == error


def test_equal_weights_in_two_layers_are_computed_once(work: list[str]) -> None:
    one = nn.Conv2d(6, 6, 3, padding=1)
    twins = nn.Sequential(one, nn.Conv2d(6, 6, 3, dilation=2, padding=2))
    twins[1].weight = nn.Parameter(one.weight.detach().clone())
    forms, example = ["tucker2", "cp", "tensor_train", "svd_spatial"], torch.randn(1, 6, 6, 6)
    RankSpace.from_model(one, example, forms=forms).relative_errors()
    alone = work.copy()
    work.clear()
    first, second = RankSpace.from_model(twins, example, forms=forms).layers
    assert len(first.errors) == len(second.errors) > 20
    assert work == alone
    np.testing.assert_array_equal(first.errors, second.errors)


def test_forms_that_cut_the_same_unfolding_share_its_spectrum(work: list[str]) -> None:
    example = torch.randn(1, 6, 6, 6)
    grouped: Any = {"svd_grouped": {"groups": [1]}}
    space = RankSpace.from_model(nn.Conv2d(6, 6, 3), example, forms=["svd_channel", grouped])
    space.relative_errors()
    assert work == ["eigvalsh"]


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "header"])
def test_a_broken_file_is_replaced(tmp_path: Path, work: list[str], damage: str) -> None:
    model = ConvNet()
    first = numbers(space_of(model, tmp_path), model)
    done = work.copy()
    whole = {path: path.read_bytes() for path in tmp_path.iterdir()}
    for path, content in whole.items():
        path.write_bytes(
            {
                "truncated": content[: len(content) // 2],
                "empty": b"",
                "text": b"not tensors at all",
                "header": b"\xff" * 8 + content[8:],
            }[damage]
        )
    work.clear()
    assert numbers(space_of(model, tmp_path), model) == first
    assert work == done
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == whole


def test_another_weight_geometry_metric_form_or_option_is_another_file(tmp_path: Path, work: list[str]) -> None:
    cache, layer = FactorCache(tmp_path), Layer("conv", "conv2d", 4, 4, (3, 1))
    weight, metric = torch.randn(4, 4, 3, 1), Whitening.of("conv", any_moment(layer), 1, 4)
    other = Whitening.of("conv", any_moment(layer, seed=1), 1, 4)

    def fresh(form: Decomposition, layer: Layer, weight: Tensor, rank: int, whitening: Whitening | None = None) -> bool:
        work.clear()
        before = set(tmp_path.iterdir())
        ranks = np.full((1, len(form.modes)), rank)
        errors = form.errors(LayerWeight(layer, weight, cache, whitening), ranks)
        assert np.isfinite(errors).all()
        assert bool(work) == (set(tmp_path.iterdir()) > before)
        return bool(work)

    renamed = Layer("other", "conv2d", 4, 4, (3, 1), calls=(((1, 4, 4), (1, 2, 4)),))
    assert fresh(CP(), layer, weight, 1)
    assert not fresh(CP(), layer, weight.clone(), 1)
    assert not fresh(CP(), renamed, weight.double(), 1)  # names, calls and the dtype do not matter
    assert fresh(CP(), layer, weight + torch.finfo(torch.float32).eps * weight, 1)
    assert fresh(CP(), layer, weight, 2)
    assert fresh(CP(iterations=9), layer, weight, 1)
    assert fresh(CP(), Layer("conv", "conv2d", 4, 4, (1, 3)), weight.reshape(4, 4, 1, 3), 1)
    assert fresh(CP(), Layer("conv", "conv2d", 4, 8, (3, 1), groups=2), weight, 1)
    assert fresh(CP(), Layer("conv", "conv_transpose2d", 4, 4, (3, 1)), weight, 1)
    assert fresh(CP(), layer, weight, 1, metric)
    assert not fresh(CP(), layer, weight, 1, Whitening.of("conv", any_moment(layer), 1, 4))
    assert fresh(CP(), layer, weight, 1, other)
    assert fresh(Tucker2(), layer, weight, 1)
    assert not fresh(Tucker2(), layer, weight, 2)


def test_a_full_disk_is_a_readable_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    space = space_of(ConvNet(), tmp_path)
    monkeypatch.setattr("pathlib.Path.replace", disk_full)
    with pytest.raises(StorageError, match="the disk is full"):
        space.relative_errors()
    assert list(tmp_path.iterdir()) == []


def test_what_is_computed_is_float64_whatever_the_weight(tmp_path: Path) -> None:
    layer, weight = Layer("linear", "linear", 5, 7), torch.randn(5, 7, dtype=torch.bfloat16)
    for _ in range(2):
        layer_weight = LayerWeight(layer, weight, FactorCache(tmp_path))
        assert SVD().errors(layer_weight, np.array([[1]])).dtype == np.float64
        assert {factor.dtype for factor in SVD().factors(layer_weight, (1,))} == {torch.float64}
