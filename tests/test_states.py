"""States: what goes in comes out, what cannot go in is named, and a file is whole or the old one."""

from __future__ import annotations

import errno
import math
import os
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from rank_search.errors import InvalidInputError, StorageError
from rank_search.states import load_state, save_state


def round_trip(folder: Path, state: dict[str, Any]) -> dict[str, Any]:
    save_state(folder / "state", state)
    return load_state(folder / "state")


def test_nested_plain_values_come_back_equal(tmp_path: Path) -> None:
    state = {
        "nothing": None,
        "yes": True,
        "count": 3,
        "huge": 2**127 + 1,
        "exact": 0.1 + 0.2,
        "tiny": 5e-324,
        "infinite": -math.inf,
        "text": 'r\u00e4nk\n"x"',
        "list": [1, [2.5, [None, "x"]], {}],
        "deep": {"a": {"b": {"c": [{"d": 1}]}}},
        "empty": [],
    }
    found = round_trip(tmp_path, state)
    assert found == state
    assert [type(value) for value in found.values()] == [type(value) for value in state.values()]
    assert list(found) == list(state)
    assert math.isnan(round_trip(tmp_path, {"x": math.nan})["x"])
    assert round_trip(tmp_path, {}) == {}


def test_tuples_mappings_and_numpy_scalars_become_lists_dicts_and_numbers(tmp_path: Path) -> None:
    state = {"pair": (1, (2, 3)), "ordered": OrderedDict(b=1, a=2), "score": np.float64(0.1), "row": np.int64(7)}
    found = round_trip(tmp_path, state)
    assert found == {"pair": [1, [2, 3]], "ordered": {"b": 1, "a": 2}, "score": 0.1, "row": 7}
    assert (type(found["score"]), type(found["row"])) == (float, int)
    assert round_trip(tmp_path, {"flag": np.bool_(True)})["flag"] is True


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16", "int64", "int32", "int16", "int8", "uint8", "bool"])
def test_arrays_keep_their_dtype_shape_and_values(tmp_path: Path, dtype: str) -> None:
    array = np.arange(12).reshape(3, 4).astype(dtype)
    shapes = {"full": array, "strided": array[:, ::-2], "empty": array[:0], "scalar": np.array(5, dtype), "t": array.T}
    found = round_trip(tmp_path, {"nested": [{"arrays": shapes}]})["nested"][0]["arrays"]
    for name, expected in shapes.items():
        assert isinstance(found[name], np.ndarray)
        assert found[name].dtype == expected.dtype
        assert found[name].shape == expected.shape, name
        assert (found[name] == expected).all()


@pytest.mark.parametrize(
    "dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16, torch.int64, torch.bool]
)
def test_tensors_keep_their_dtype_shape_and_values(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.arange(6).reshape(2, 3).to(dtype)
    tensors = {"full": tensor, "transposed": tensor.T, "scalar": tensor[1, 2], "view": tensor[0]}
    found = round_trip(tmp_path, tensors)
    for name, expected in tensors.items():
        assert found[name].dtype == dtype
        assert found[name].shape == expected.shape
        assert torch.equal(found[name], expected)


def test_values_are_kept_bit_for_bit(tmp_path: Path) -> None:
    array = np.array([math.nan, -0.0, math.inf, 1 / 3, np.nextafter(1, 2)])
    found = round_trip(tmp_path, {"x": array})["x"]
    assert found.tobytes() == array.tobytes()


def test_a_parameter_comes_back_as_a_plain_tensor(tmp_path: Path) -> None:
    found = round_trip(tmp_path, {"w": torch.nn.Parameter(torch.ones(2))})["w"]
    assert not found.requires_grad
    assert torch.equal(found, torch.ones(2))


def test_tensors_whose_names_look_alike_are_kept_apart(tmp_path: Path) -> None:
    state = {
        "a": {"b": torch.zeros(1)},
        "a/b": torch.ones(1),
        "c": [torch.full((1,), 2.0)],
        "c/0": torch.full((1,), 3.0),
    }
    found = round_trip(tmp_path, state)
    assert [float(found["a"]["b"]), float(found["a/b"]), float(found["c"][0]), float(found["c/0"])] == [0, 1, 2, 3]


def test_random_generators_go_on_where_they_stood(tmp_path: Path) -> None:
    rng, generator = np.random.default_rng(1), torch.Generator().manual_seed(1)
    rng.random(5)
    torch.rand(5, generator=generator)
    found = round_trip(tmp_path, {"numpy": rng.bit_generator.state, "torch": generator.get_state()})
    other, other_generator = np.random.default_rng(), torch.Generator()
    other.bit_generator.state = found["numpy"]
    other_generator.set_state(found["torch"])
    assert (other.random(9) == rng.random(9)).all()
    assert torch.equal(torch.rand(9, generator=other_generator), torch.rand(9, generator=generator))


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"a": {"b": [1, object()]}}, "the state holds a object at /a/b/1"),
        ({"a": {1: "x"}}, "the state holds the key 1 at /a;"),
        ({"a": {1, 2}}, "the state holds a set at /a;"),
        ({"a": [Path("x")]}, "at /a/0;"),
        ({"a": b"bytes"}, "the state holds a bytes at /a;"),
        ({"a": {"b": np.array(["x"])}}, "the state holds a <U1 array at /a/b;"),
        ({"a": {"b": np.array([object()])}}, "the state holds a object array at /a/b;"),
        ({"a": {"b": np.zeros(2, np.complex128)}}, "the state holds a complex128 array at /a/b;"),
        (
            {"a": {"b": torch.zeros(2, 2).to_sparse()}},
            "the state holds a torch.sparse_coo torch.float32 tensor at /a/b;",
        ),
    ],
)
def test_what_cannot_be_saved_is_refused_with_its_place_and_the_old_state_stays(
    tmp_path: Path, state: dict[str, Any], message: str
) -> None:
    path = tmp_path / "state"
    save_state(path, {"old": 1})
    with pytest.raises(TypeError, match=message) as caught:
        save_state(path, state)
    assert "\n" not in str(caught.value)
    assert load_state(path) == {"old": 1}
    assert os.listdir(tmp_path) == ["state"]


@pytest.mark.parametrize("fails", ["write", "fsync", "rename"])
def test_a_write_that_fails_leaves_the_old_state_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    path = tmp_path / "state"
    save_state(path, {"old": np.arange(3)})
    full = OSError(errno.ENOSPC, "No space left on device")

    def refuse(*args: object) -> None:
        raise full

    def half(file: Path, content: bytes) -> None:
        file.write_bytes(content[: len(content) // 2])
        raise full

    with monkeypatch.context() as patch:
        if fails == "write":
            patch.setattr("rank_search.files._write_bytes", half)
        elif fails == "fsync":
            patch.setattr("os.fsync", refuse)
        else:
            patch.setattr(Path, "replace", refuse)
        with pytest.raises(StorageError, match="the disk is full"):
            save_state(path, {"new": np.arange(1000)})
    assert load_state(path)["old"].tolist() == [0, 1, 2]
    assert os.listdir(tmp_path) == ["state"]


def test_the_file_is_never_seen_half_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Until the rename the old file is whole under the name; after it the new one is."""
    path, seen = tmp_path / "state", []
    save_state(path, {"x": 1})
    replace = Path.replace

    def watching(self: Path, target: Path) -> Path:
        seen.append((load_state(path), load_state(self)))
        return replace(self, target)

    monkeypatch.setattr(Path, "replace", watching)
    save_state(path, {"x": 2})
    assert seen == [({"x": 1}, {"x": 2})]
    assert load_state(path) == {"x": 2}


def test_files_that_are_no_states_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "state"
    with pytest.raises(InvalidInputError, match="does not exist"):
        load_state(path)
    path.write_bytes(b"not a state")
    with pytest.raises(InvalidInputError, match="is not a readable safetensors file"):
        load_state(path)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(InvalidInputError, match="is not a saved state"):
        load_state(path)
    save_state(path, {"x": np.zeros(100)})
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(InvalidInputError):
        load_state(path)
