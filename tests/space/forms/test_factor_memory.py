"""The store itself: what stays in memory, what lies on disk, and how often a value is computed."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from rank_search.space.layers.factor_cache import FactorCache

KIB = 1024


class Values:
    """Tensors of one KiB by key, and the keys for which they were computed."""

    def __init__(self) -> None:
        self.computed: list[str] = []

    def ask(self, cache: FactorCache, key: str) -> Tensor:
        def compute() -> dict[str, Tensor]:
            self.computed.append(key)
            return {"value": torch.full((KIB // 8,), float(ord(key)), dtype=torch.float64)}

        found = cache.get(key, compute)["value"]
        assert found.dtype == torch.float64
        assert set(found.tolist()) == {float(ord(key))}
        return found


def test_what_was_used_least_recently_leaves_the_memory_first() -> None:
    cache, values = FactorCache(memory_bytes=3 * KIB), Values()
    for key in "abc":
        values.ask(cache, key)
    values.ask(cache, "a")  # b is now the least recently used
    values.ask(cache, "d")
    assert values.computed == list("abcd")
    for key in "cad":
        values.ask(cache, key)
    assert values.computed == list("abcd")
    values.ask(cache, "b")
    assert values.computed == list("abcdb")
    values.ask(cache, "c")
    assert values.computed == list("abcdbc")


def test_a_value_is_the_same_object_as_long_as_it_is_in_memory() -> None:
    cache, values = FactorCache(), Values()
    assert values.ask(cache, "a") is values.ask(cache, "a")


def test_what_is_larger_than_the_memory_is_given_all_the_same_and_the_limit_still_holds_afterwards() -> None:
    cache, values = FactorCache(memory_bytes=KIB // 2), Values()
    values.ask(cache, "a")
    values.ask(cache, "a")
    assert values.computed == ["a", "a"]
    assert FactorCache(memory_bytes=KIB).get("b", lambda: {"value": torch.zeros(1)})["value"].tolist() == [0]


def test_what_left_the_memory_is_read_from_disk_and_not_computed_again(tmp_path: Path) -> None:
    cache, values = FactorCache(tmp_path, memory_bytes=KIB), Values()
    for key in "abcabc":
        values.ask(cache, key)
    assert values.computed == list("abc")
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{key}.safetensors" for key in "abc"]


def test_a_round_trip_over_the_disk_keeps_every_bit_and_several_tensors(tmp_path: Path) -> None:
    odd = torch.tensor([0.1, -0.0, float("inf"), 5e-324, 1e308], dtype=torch.float64)
    stored = {"odd": odd, "scalar": torch.tensor(1 / 3, dtype=torch.float64), "matrix": torch.randn(3, 4).double()}
    FactorCache(tmp_path).get("key", lambda: stored)
    back = FactorCache(tmp_path).get("key", dict)
    assert back.keys() == stored.keys()
    for name, tensor in stored.items():
        assert back[name].shape == tensor.shape
        assert back[name].numpy().tobytes() == tensor.numpy().tobytes()


def test_two_caches_over_one_folder_share_what_either_computes(tmp_path: Path) -> None:
    one, other, values = FactorCache(tmp_path), FactorCache(tmp_path), Values()
    values.ask(one, "a")
    values.ask(other, "a")
    values.ask(other, "b")
    values.ask(one, "b")
    assert values.computed == ["a", "b"]


def test_without_a_folder_nothing_is_written_and_the_folder_is_made_only_when_needed(tmp_path: Path) -> None:
    values = Values()
    values.ask(FactorCache(), "a")
    cache = FactorCache(tmp_path / "deep" / "down")
    assert list(tmp_path.iterdir()) == []
    values.ask(cache, "a")
    assert (tmp_path / "deep" / "down" / "a.safetensors").exists()
