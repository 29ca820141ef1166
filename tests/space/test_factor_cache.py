"""The cache of decompositions: the same bits from disk, no work done twice, broken files replaced."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pytest
import torch
from small_nets import CONV_NET_INPUT, ConvNet
from torch import nn

from rank_search.errors import StorageError
from rank_search.space import Budget, RankSpace
from rank_search.space.cp import CP
from rank_search.space.decomposition import Decomposition
from rank_search.space.factor_cache import FactorCache
from rank_search.space.layer import Layer
from rank_search.space.svd import SVD
from rank_search.space.tucker2 import Tucker2

FORMS = ("tucker2", "cp", "svd")


@pytest.fixture
def analysed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The layers that were decomposed, in order."""
    calls: list[str] = []
    for form in (Tucker2, CP, SVD):

        def analyse(self: Any, layer: Layer, weight: Any, ranks: Any, real: Any = form.analyse) -> Any:
            calls.append(f"{self.name} {layer.name}")
            return real(self, layer, weight, ranks)

        monkeypatch.setattr(form, "analyse", analyse)
    return calls


def space_of(model: nn.Module, cache: Path | None) -> RankSpace:
    return RankSpace.from_model(model, torch.randn(CONV_NET_INPUT), forms=FORMS, cache=cache)


def numbers(space: RankSpace, model: nn.Module) -> list[Any]:
    """All errors and the weights of one compressed network, as bytes."""
    plan = space.plan(space.minimise(space.relative_errors(), Budget(macs=0.5)).indices)
    weights = [value.numpy().tobytes() for value in space.compress(model, plan).state_dict().values()]
    return [errors.tobytes() for errors in space.relative_errors()] + weights


def test_a_second_run_decomposes_nothing_and_gives_the_same_bits(tmp_path: Path, analysed: list[str]) -> None:
    model, folder = ConvNet(), tmp_path / "cache"
    without = numbers(space_of(model, None), model)
    analysed.clear()
    first = numbers(space_of(model, folder), model)
    assert sorted(analysed) == ["cp stem", "cp wide", "svd head", "svd shortcut", "tucker2 stem", "tucker2 wide"]
    assert len(list(folder.iterdir())) == 6
    analysed.clear()
    second = numbers(space_of(model, folder), model)
    assert analysed == []
    assert first == second == without


def test_nothing_is_decomposed_before_it_is_asked_for_and_nothing_twice(tmp_path: Path, analysed: list[str]) -> None:
    model = ConvNet()
    space = space_of(model, None)
    space.costs(np.zeros((1, len(space.layers)), np.int64))
    assert analysed == []
    numbers(space, model)
    numbers(space, model)
    assert len(analysed) == len(set(analysed)) == 6
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("damage", ["truncated", "empty", "text", "header"])
def test_a_broken_file_is_replaced(tmp_path: Path, analysed: list[str], damage: str) -> None:
    model = ConvNet()
    first = numbers(space_of(model, tmp_path), model)
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
    analysed.clear()
    assert numbers(space_of(model, tmp_path), model) == first
    assert len(analysed) == 6
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == whole


def test_another_weight_form_version_or_set_of_ranks_is_another_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, analysed: list[str]
) -> None:
    cache, layer = FactorCache(tmp_path), Layer("conv", "conv2d", 4, 4, (3, 1))
    weight, ranks = torch.randn(4, 4, 3, 1), np.array([[1], [2]])

    def fresh(form: Decomposition, weight: torch.Tensor, ranks: Any) -> bool:
        analysed.clear()
        cache.analyse(form, layer, weight, ranks)
        return bool(analysed)

    assert fresh(CP(), weight, ranks)
    assert not fresh(CP(), weight.clone(), ranks.copy())
    assert fresh(CP(), weight + torch.finfo(torch.float32).eps * weight, ranks)
    assert fresh(CP(), weight, ranks + 1)
    assert fresh(CP(), weight.reshape(4, 4, 1, 3), ranks)
    assert fresh(Tucker2(), weight, np.array([[1, 1]]))
    monkeypatch.setattr(CP, "version", 2)
    assert fresh(CP(), weight, ranks)
    assert not fresh(CP(), weight, ranks)


def test_a_full_disk_is_a_readable_error_and_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def disk_full(*_: Any) -> NoReturn:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    space = space_of(ConvNet(), tmp_path)
    monkeypatch.setattr("pathlib.Path.replace", disk_full)
    with pytest.raises(StorageError, match="the disk is full"):
        space.relative_errors()
    assert list(tmp_path.iterdir()) == []


def test_a_cached_analysis_is_float64_whatever_the_weight(tmp_path: Path) -> None:
    layer, weight = Layer("linear", "linear", 5, 7), torch.randn(5, 7, dtype=torch.bfloat16)
    for _ in range(2):
        analysis = FactorCache(tmp_path).analyse(SVD(), layer, weight, np.array([[1]]))
        assert {tensor.dtype for tensor in analysis.values()} == {torch.float64}
