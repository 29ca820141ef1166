"""From a plan to a network and back from a folder: right weights, an untouched model, nothing half-written."""

from __future__ import annotations

import copy
import errno
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import pytest
import torch
from measured import reconstruct, relative_difference
from small_nets import CONV_NET_INPUT, ConvNet, Tiny
from torch import Tensor, nn

from rank_search.errors import InvalidInputError, PlanError, RankSearchError, StorageError, UnknownNameError
from rank_search.space import Budget, Choice, RankPlan, RankSpace, compress, load, plan_of, save
from rank_search.space.compress import PLAN_FILE, WEIGHTS_FILE
from rank_search.space.forms.low_rank import LowRank

PLAN = RankPlan.from_json(
    {
        "stem": {"form": "cp", "ranks": [3]},
        "wide": {"form": "tucker2", "ranks": [4, 3]},
        "shortcut": {"form": "svd", "ranks": [2]},
        "head": {"form": "svd", "ranks": [2]},
    }
)
CHANGED = {"form": "svd", "ranks": [2]}


def trained() -> ConvNet:
    """A network with batch-norm statistics of its own, in evaluation mode."""
    model = ConvNet()
    with torch.no_grad():
        for _ in range(3):
            model(torch.randn(8, *CONV_NET_INPUT[1:]) + 1)
    return model.eval()


def same_state(first: nn.Module, second: nn.Module) -> bool:
    one, other = first.state_dict(), second.state_dict()
    return one.keys() == other.keys() and all(
        torch.equal(one[key], other[key]) and one[key].dtype == other[key].dtype for key in one
    )


def run(model: nn.Module, example: Tensor) -> Tensor:
    with torch.no_grad():
        output: Tensor = model(example)
    return output


# -- compressing -------------------------------------------------------------------------------------------------------


def test_the_compressed_network_computes_what_the_dense_one_does_with_the_rebuilt_weights() -> None:
    model, example = trained(), torch.randn(4, *CONV_NET_INPUT[1:])
    compressed, dense = compress(model, PLAN), copy.deepcopy(model)
    for name, choice in PLAN.items():
        low_rank, layer = compressed.get_submodule(name), dense.get_submodule(name)
        assert isinstance(low_rank, LowRank)
        assert low_rank.choice == choice
        layer.weight = nn.Parameter(reconstruct(low_rank).float())
    assert relative_difference(run(compressed, example), run(dense, example)) < 1e-5
    assert relative_difference(run(compressed, example), run(model, example)) > 1e-3


def test_at_full_rank_the_compressed_network_is_the_network() -> None:
    model, example = trained(), torch.randn(4, *CONV_NET_INPUT[1:])
    full = {
        "stem": Choice("tucker2", (6, 2)),
        "wide": Choice("tucker2", (8, 6)),
        "shortcut": Choice("svd", (6,)),
        "head": Choice("svd", (5,)),
    }
    assert relative_difference(run(compress(model, RankPlan(full)), example), run(model, example)) < 1e-5


def test_a_space_and_the_plain_function_build_the_same_network() -> None:
    model = trained()
    space = RankSpace.from_model(model, torch.randn(CONV_NET_INPUT), forms=["tucker2", "svd", "cp"])
    plan = RankPlan({name: PLAN[name] for name in ("wide", "shortcut", "head")})
    assert same_state(space.compress(model, plan), compress(model, plan))
    options = space.layers[0]
    rank = next(options.choice(row) for row in range(len(options)) if options.choice(row).form == "cp")
    assert same_state(*(build(model, RankPlan({"stem": rank})) for build in (space.compress, compress)))


def test_the_plan_can_be_read_from_the_compressed_network() -> None:
    compressed = compress(trained(), PLAN)
    assert plan_of(compressed) == PLAN
    assert plan_of(trained()) == RankPlan({})
    assert plan_of(copy.deepcopy(compressed)) == PLAN


def test_the_dense_plan_is_a_copy() -> None:
    model = trained()
    compressed = compress(model, RankPlan({}))
    assert same_state(compressed, model)
    assert compressed is not model


def test_the_model_is_untouched_and_shares_nothing_with_its_copy() -> None:
    model = trained().train()
    model.bn.eval()
    modes, before = [part.training for part in model.modules()], copy.deepcopy(model)
    parameters = [id(parameter) for parameter in model.parameters()]
    compressed = compress(model, PLAN)
    with torch.no_grad():
        for tensor in compressed.state_dict().values():
            tensor.zero_()
    assert same_state(model, before)
    assert [part.training for part in model.modules()] == modes
    assert [id(parameter) for parameter in model.parameters()] == parameters
    assert plan_of(model) == RankPlan({})


def test_training_flags_carry_over() -> None:
    model = trained().train()
    model.bn.eval()
    compressed = compress(model, PLAN)
    assert compressed.training
    assert not compressed.get_submodule("bn").training
    assert all(part.training for part in compressed.get_submodule("wide").modules())
    assert not any(part.training for part in compress(model.eval(), PLAN).modules())


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_the_dtype_of_the_layer_carries_over(dtype: torch.dtype) -> None:
    model = trained().to(dtype)
    compressed = compress(model, PLAN)
    assert {parameter.dtype for parameter in compressed.parameters()} == {dtype}
    example = torch.randn(CONV_NET_INPUT, dtype=dtype)
    assert torch.isfinite(run(compressed, example)).all()


def test_every_factor_can_be_trained_and_the_bias_sits_in_the_last() -> None:
    model = trained()
    compressed = compress(model, PLAN)
    compressed(torch.randn(CONV_NET_INPUT)).square().sum().backward()
    for name in PLAN:
        factors = list(compressed.get_submodule(name))  # type: ignore[arg-type]
        assert all(factor.weight.grad is not None for factor in factors)
        assert all(factor.bias is None for factor in factors[:-1])
        bias = model.get_submodule(name).bias
        assert factors[-1].bias is None if bias is None else torch.equal(factors[-1].bias, bias)


def test_a_module_under_two_names_is_replaced_under_both() -> None:
    shared = nn.Linear(6, 6)
    compressed = compress(nn.Sequential(shared, nn.ReLU(), shared), RankPlan({"0": Choice("svd", (2,))}))
    assert isinstance(compressed[0], LowRank)  # type: ignore[index]
    assert compressed[0] is compressed[2]  # type: ignore[index]


def test_compressing_again_gives_the_same_bits() -> None:
    model = trained()
    assert same_state(compress(model, PLAN), compress(model, PLAN))


@pytest.mark.parametrize(
    ("plan", "error", "words"),
    [
        ({"heat": CHANGED}, PlanError, "'heat', which this model does not have (did you mean 'head'?)"),
        ({"heat": "dense"}, PlanError, "'heat', which this model does not have"),
        (
            {"bn": CHANGED},
            PlanError,
            "'bn', a BatchNorm2d: only Linear, Conv1d, Conv2d, Conv3d, ConvTranspose2d are decomposed",
        ),
        ({"stem": CHANGED}, PlanError, "layer 'stem' cannot become svd 2: svd is for linear layers"),
        (
            {"depthwise": {"form": "tucker2", "ranks": [2, 1]}},
            PlanError,
            "depthwise: nothing to gain in the channel modes",
        ),
        ({"head": {"form": "svd", "ranks": [6]}}, PlanError, "layer 'head': svd rank 6 of mode 'rank' is above"),
        ({"head": {"form": "svd", "ranks": [10**40]}}, PlanError, "is above the largest, 5"),
        ({"wide": {"form": "tucker2", "ranks": [4]}}, PlanError, "layer 'wide': tucker2 takes 2 rank(s)"),
        ({"wide": {"form": "tucker2", "ranks": [8, 7]}}, PlanError, "rank 7 of mode 'in' is above the largest, 6"),
        ({"wide": {"form": "tucker2", "ranks": [4, 1]}}, PlanError, "one mode is too small for the other"),
        ({"head": {"form": "svdd", "ranks": [1]}}, UnknownNameError, "did you mean 'svd'"),
    ],
)
def test_an_impossible_plan_is_refused_in_one_line(plan: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error) as caught:
        compress(trained(), RankPlan.from_json(plan))
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_ranks_above_break_even_can_be_built_although_no_space_offers_them() -> None:
    compressed = compress(trained(), RankPlan({"head": Choice("svd", (5,))}))
    assert sum(p.numel() for p in compressed.get_submodule("head").parameters()) == 5 * 8 + 5 * 5 + 5


# -- saving and loading ------------------------------------------------------------------------------------------------


def test_a_saved_network_comes_back_bit_for_bit_with_its_plan(tmp_path: Path) -> None:
    compressed, example = compress(trained(), PLAN), torch.randn(CONV_NET_INPUT)
    assert save(compressed, tmp_path / "deep" / "down") == tmp_path / "deep" / "down"
    torch.manual_seed(99)
    back = load(tmp_path / "deep" / "down", ConvNet)
    assert same_state(back, compressed)
    assert plan_of(back) == PLAN
    assert torch.equal(run(back, example), run(compressed, example))
    assert not back.training
    assert sorted(path.name for path in (tmp_path / "deep" / "down").iterdir()) == [WEIGHTS_FILE, PLAN_FILE]


def test_the_folder_may_be_text_and_the_plan_dense(tmp_path: Path) -> None:
    model = trained()
    save(model, str(tmp_path))
    assert same_state(load(str(tmp_path), ConvNet), model)


def test_the_header_of_the_weights_holds_the_plan(tmp_path: Path) -> None:
    from safetensors import safe_open

    save(compress(trained(), PLAN), tmp_path)
    with safe_open(tmp_path / WEIGHTS_FILE, framework="pt") as file:
        assert RankPlan.from_json(file.metadata()["plan"]) == PLAN


def test_saving_again_replaces_what_was_there(tmp_path: Path) -> None:
    save(trained(), tmp_path)
    compressed = compress(trained(), PLAN)
    save(compressed, tmp_path)
    assert same_state(load(tmp_path, ConvNet), compressed)


def test_tied_and_not_contiguous_weights_survive(tmp_path: Path) -> None:
    def tied() -> nn.Sequential:
        model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
        model[1].weight = model[0].weight
        return model

    model = tied()
    model[0].weight.data = torch.randn(4, 4).T
    save(model, tmp_path)
    assert same_state(load(tmp_path, tied), model)


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_header(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[:8] = b"\xff" * 8
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("file", "damage"),
    [
        (PLAN_FILE, lambda path: path.unlink()),
        (PLAN_FILE, truncate),
        (PLAN_FILE, lambda path: path.write_text("")),
        (PLAN_FILE, lambda path: path.write_text("[1, 2]")),
        (PLAN_FILE, lambda path: path.write_bytes(b"\xff\xfe\x00")),
        (PLAN_FILE, lambda path: path.write_text('{"stem": {"form": "cp", "ranks": [4]}}')),
        (PLAN_FILE, lambda path: path.write_text("{}")),
        (PLAN_FILE, lambda path: (path.unlink(), path.mkdir())),
        (WEIGHTS_FILE, lambda path: path.unlink()),
        (WEIGHTS_FILE, truncate),
        (WEIGHTS_FILE, flip_header),
        (WEIGHTS_FILE, lambda path: path.write_bytes(b"")),
        (WEIGHTS_FILE, lambda path: path.write_text("not tensors")),
        (WEIGHTS_FILE, lambda path: (path.unlink(), path.mkdir())),
    ],
)
def test_a_missing_or_broken_file_is_one_readable_line(
    tmp_path: Path, file: str, damage: Callable[[Path], Any]
) -> None:
    save(compress(trained(), PLAN), tmp_path)
    damage(tmp_path / file)
    with pytest.raises(RankSearchError) as caught:
        load(tmp_path, ConvNet)
    assert isinstance(caught.value, InvalidInputError)
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 2000


@pytest.mark.parametrize("factory", [Tiny, lambda: nn.Sequential(nn.Linear(3, 3))], ids=["tiny", "linear"])
@pytest.mark.parametrize("plan", [PLAN, RankPlan({})], ids=["compressed", "dense"])
def test_another_models_folder_is_refused_in_one_line(
    tmp_path: Path, plan: RankPlan, factory: Callable[[], nn.Module]
) -> None:
    save(compress(trained(), plan), tmp_path)
    with pytest.raises(InvalidInputError) as caught:
        load(tmp_path, factory)
    assert "\n" not in str(caught.value)


def test_a_folder_that_does_not_exist_is_one_readable_line(tmp_path: Path) -> None:
    with pytest.raises(InvalidInputError, match=r"nowhere.plan.json does not exist"):
        load(tmp_path / "nowhere", ConvNet)


def disk_full(*_: Any, **__: Any) -> NoReturn:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def half_written(path: Path, content: bytes) -> NoReturn:
    with path.open("wb") as file:
        file.write(content[: len(content) // 2])
    disk_full()


@pytest.mark.parametrize(
    ("target", "broken"),
    [("pathlib.Path.write_bytes", half_written), ("pathlib.Path.replace", disk_full), ("os.fsync", disk_full)],
)
@pytest.mark.parametrize("before", [True, False], ids=["over another", "in an empty folder"])
def test_a_full_disk_leaves_what_was_there_and_no_other_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, broken: Callable[..., NoReturn], before: bool
) -> None:
    folder, first = tmp_path / "model", trained()
    if before:
        save(first, folder)
    compressed = compress(first, PLAN)
    with monkeypatch.context() as patched:
        patched.setattr(target, broken)
        with pytest.raises(StorageError, match="the disk is full; free some space"):
            save(compressed, folder)
    assert sorted(path.name for path in folder.iterdir()) == ([WEIGHTS_FILE, PLAN_FILE] if before else [])
    if before:
        assert same_state(load(folder, ConvNet), first)
    save(compressed, folder)
    assert same_state(load(folder, ConvNet), compressed)


def test_a_plan_found_by_a_budget_is_built_saved_and_loaded(tmp_path: Path) -> None:
    model, example = trained(), torch.randn(CONV_NET_INPUT)
    space, budget = RankSpace.from_model(model, example), Budget(macs=0.5)
    plan = space.plan(space.minimise(space.relative_errors(), budget).indices)
    back = load(save(space.compress(model, plan), tmp_path), ConvNet)
    assert space.admit(plan_of(back), budget) == space.cost(plan)


def test_a_layer_that_something_beside_it_uses_is_refused() -> None:
    encoder = nn.TransformerEncoder(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True), 1, enable_nested_tensor=False
    )
    tied = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    tied[1].weight = tied[0].weight
    for model, name, words in (
        (encoder, "layers.0.linear1", "nn.TransformerEncoderLayer reads its weight directly"),
        (tied, "1", "its weight or bias is shared with '0'"),
    ):
        with pytest.raises(PlanError, match=words):
            compress(model, RankPlan({name: Choice("svd", (2,))}))
