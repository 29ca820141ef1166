"""The coarse-to-fine ranges: against schedules worked out by hand."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from rank_search.errors import InvalidInputError
from rank_search.searchers.ortos.rank_ranges import CIFAR, IMAGENET, Candidates, RankRanges, Schedule, nearest_row
from rank_search.space import Choice, RankSpace
from rank_search.space.tables.options import LayerOptions
from rank_search.states import load_state, save_state

pytestmark = pytest.mark.usefixtures("single_thread")


def tables(*modules: nn.Module, forms: Sequence[str] = ("svd",), size: int = 6) -> tuple[LayerOptions, ...]:
    """The layers of a network whose modules follow each other; a linear one comes alone."""
    net = nn.Sequential(*modules)
    first = modules[0]
    features = first.in_features if isinstance(first, nn.Linear) else 0
    into = 0 if features else first.weight.shape[1]  # type: ignore[union-attr, index]
    example = torch.zeros(1, features) if features else torch.zeros(1, int(into), size, size)  # type: ignore[call-overload]
    return RankSpace.from_model(net, example, list(forms)).layers


def wide() -> tuple[LayerOptions, ...]:
    """A layer whose largest rank is 1000."""
    return tables(nn.Linear(1000, 1000))


def single(ranges: RankRanges, name: str = "0") -> list[int]:
    """The ranks of a form with one mode."""
    return [choice.ranks[0] for choice in ranges.candidates()[name].choices]


def pairs(ranges: RankRanges, name: str = "0") -> list[tuple[int, ...]]:
    return [choice.ranks for choice in ranges.candidates()[name].choices]


def test_the_defaults_for_cifar_take_two_rounds() -> None:
    ranges = RankRanges(wide(), CIFAR)
    assert single(ranges) == [10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    ranges.narrow({"0": {"svd": (50,)}})
    assert (ranges.step, ranges.rounds, ranges.done) == (1, 1, False)
    assert single(ranges) == [45, 46, 47, 48, 49, 50, 51, 52, 53, 54, 55]
    ranges.narrow({"0": {"svd": (47,)}})
    assert (ranges.step, ranges.rounds, ranges.done) == (0, 2, True)


def test_the_defaults_for_imagenet_take_three_rounds() -> None:
    ranges = RankRanges(wide(), IMAGENET)
    assert single(ranges) == [50, 150, 250, 350, 450, 550, 650, 750, 850]
    ranges.narrow({"0": {"svd": (450,)}})
    assert ranges.step == 10
    assert single(ranges) == [400, 410, 420, 430, 440, 450, 460, 470, 480, 490, 500]
    ranges.narrow({"0": {"svd": (430,)}})
    assert ranges.step == 1
    assert single(ranges) == [425, 426, 427, 428, 429, 430, 431, 432, 433, 434, 435]
    ranges.narrow({"0": {"svd": (425,)}})
    assert ranges.done


def test_candidates_are_clipped_to_one_and_stay_distinct() -> None:
    ranges = RankRanges(wide(), IMAGENET)
    ranges.narrow({"0": {"svd": (50,)}})
    assert single(ranges) == [1, 10, 20, 30, 40, 50, 60, 70, 80, 90, 100]
    ranges.narrow({"0": {"svd": (1,)}})
    assert single(ranges) == [1, 2, 3, 4, 5, 6]


def test_candidates_are_clipped_to_the_largest_rank_and_stay_distinct() -> None:
    ranges = RankRanges(tables(nn.Linear(60, 27)), CIFAR)
    assert single(ranges) == [10, 20, 27]
    ranges.narrow({"0": {"svd": (27,)}})
    assert single(ranges) == [22, 23, 24, 25, 26, 27]


def test_every_layer_follows_its_own_winner() -> None:
    layers = tables(nn.Conv2d(4, 12, 1), nn.Conv2d(12, 30, 1), forms=["svd"])
    ranges = RankRanges(layers, Schedule(2, 12, 4, 4))
    assert (single(ranges, "0"), single(ranges, "1")) == ([2, 4], [2, 6, 10])
    ranges.narrow({"0": {"svd": (2,)}, "1": {"svd": (10,)}})
    assert (single(ranges, "0"), single(ranges, "1")) == ([1, 2, 3, 4], [8, 9, 10, 11, 12])


@pytest.mark.parametrize(
    ("step", "shrink", "steps"),
    [(7, 2, [7, 3, 1]), (100, 10, [100, 10, 1]), (5, 10, [5]), (1, 10, [1]), (3, 1.5, [3, 2, 1])],
)
def test_the_step_is_divided_and_floored_until_it_is_below_one(step: int, shrink: float, steps: list[int]) -> None:
    ranges, seen = RankRanges(wide(), Schedule(100, 200, step, shrink)), []
    while not ranges.done:
        found = single(ranges)
        assert set(np.diff(found)) <= {ranges.step}
        assert len(found) > 1 or shrink < 2
        seen.append(ranges.step)
        ranges.narrow({"0": {"svd": (found[len(found) // 2],)}})
        if not ranges.done:
            assert found[len(found) // 2] in single(ranges), "the winner must stay a candidate"
    assert seen == steps


def test_one_tied_rank_is_clipped_per_mode_of_tucker2() -> None:
    conv = tables(nn.Conv2d(3, 16, 3), forms=["tucker2"])  # largest ranks: 16 out, 3 in
    found = RankRanges(conv, CIFAR).candidates()["0"]
    assert found.choices == (Choice("tucker2", (10, 3)), Choice("tucker2", (16, 3)))
    assert found.sizes == (10, 16)


def test_the_tensor_train_has_its_input_rank_first() -> None:
    conv = tables(nn.Conv2d(3, 16, 3), forms=["tensor_train"])
    assert pairs(RankRanges(conv, CIFAR)) == [(3, 10), (3, 16)]


def test_a_tied_range_narrows_around_the_rank_that_was_not_clipped() -> None:
    ranges = RankRanges(tables(nn.Conv2d(3, 16, 3), forms=["tucker2"]), CIFAR)
    ranges.narrow({"0": {"tucker2": (10, 3)}})
    assert pairs(ranges) == [(rank, 3) for rank in range(5, 16)]


def test_cp_has_one_rank() -> None:
    conv = tables(nn.Conv2d(4, 4, 3), forms=["cp"])  # largest: 4 * 4
    found = RankRanges(conv, Schedule(5, 100, 5)).candidates()["0"]
    assert found.choices == tuple(Choice("cp", (rank,)) for rank in (5, 10, 15, 16))
    assert found.sizes == (5, 10, 15, 16)


def test_separate_ranks_are_the_grid_of_both_modes_with_parameters_as_size() -> None:
    conv = tables(nn.Conv2d(3, 8, 3), forms=["tucker2"])
    found = RankRanges(conv, Schedule(2, 6, 2, tied=False)).candidates()["0"]
    ranks = [(2, 2), (2, 3), (4, 2), (4, 3), (6, 2), (6, 3)]
    assert found.choices == tuple(Choice("tucker2", pair) for pair in ranks)
    assert found.sizes == tuple(3 * into + 9 * out * into + 8 * out for out, into in ranks)


def test_separate_ranks_narrow_per_mode_and_leave_out_what_cannot_be() -> None:
    conv = tables(nn.Conv2d(20, 20, (2, 1)), forms=["tucker2"])  # out <= 2 in, in <= 2 out
    ranges = RankRanges(conv, Schedule(4, 16, 4, 4, tied=False))
    grid = [(out, into) for out in (4, 8, 12, 16) for into in (4, 8, 12, 16)]
    assert pairs(ranges) == [(out, into) for out, into in grid if out <= 2 * into and into <= 2 * out]
    ranges.narrow({"0": {"tucker2": (16, 8)}})
    fine = [(out, into) for out in range(14, 19) for into in range(6, 11)]
    assert pairs(ranges) == [(out, into) for out, into in fine if out <= 2 * into]


def test_several_forms_stand_side_by_side_and_narrow_each_around_its_own() -> None:
    conv = tables(nn.Conv2d(8, 8, 3), forms=["tucker2", "cp"])
    ranges = RankRanges(conv, Schedule(4, 12, 4, 4))
    found = ranges.candidates()["0"]
    assert [str(choice) for choice in found.choices] == ["tucker2 4,4", "tucker2 8,8", "cp 4", "cp 8", "cp 12"]
    assert found.sizes == (32 + 144 + 32, 64 + 576 + 64, 4 * 25, 8 * 25, 12 * 25)
    ranges.narrow({"0": {"tucker2": (4, 4), "cp": (12,)}})
    expected = [f"tucker2 {rank},{rank}" for rank in range(2, 7)] + [f"cp {rank}" for rank in range(10, 15)]
    assert [str(choice) for choice in ranges.candidates()["0"].choices] == expected
    ranges = RankRanges(conv, Schedule(4, 12, 4, 4))
    ranges.narrow({"0": {"cp": (12,)}})
    assert single(ranges) == [10, 11, 12, 13, 14]


def test_saved_ranges_go_on(tmp_path: Path) -> None:
    ranges, other = RankRanges(wide(), IMAGENET), RankRanges(wide(), IMAGENET)
    ranges.narrow({"0": {"svd": (450,)}})
    save_state(tmp_path / "state.safetensors", ranges.state_dict())
    other.load_state_dict(load_state(tmp_path / "state.safetensors"))
    for one in (ranges, other):
        one.narrow({"0": {"svd": (430,)}})
    assert ranges.candidates() == other.candidates()
    assert (other.step, other.rounds) == (1, 2)


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lowest": 0}, "lowest=0 .* at least 1"),
        ({"lowest": 2.5}, "lowest=2.5 .* whole number"),
        ({"highest": True}, "highest=True .* whole number"),
        ({"lowest": 20, "highest": 10}, "lowest=20 and highest=10 leave no candidate rank"),
        ({"step": 0}, "step=0 .* at least 1"),
        ({"shrink": 0.5}, "shrink=0.5 .* above 1"),
        ({"shrink": 1}, "shrink=1 .* never fall below 1"),
        ({"shrink": float("nan")}, "shrink=nan"),
    ],
)
def test_a_bad_schedule_is_an_error(options: dict[str, float], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says) as caught:
        Schedule(**options)  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("module", "form", "largest"),
    [(nn.Conv2d(4, 4, 3), "cp", 16), (nn.Linear(20, 30), "svd", 20), (nn.Conv2d(9, 12, 3), "tucker2", 12)],
)
def test_a_lowest_rank_above_the_largest_names_layer_and_rank(module: nn.Module, form: str, largest: int) -> None:
    layers = tables(module, forms=[form])
    RankRanges(layers, Schedule(largest, 100))
    with pytest.raises(InvalidInputError, match=f"{form} for layer '0', whose largest is {largest}"):
        RankRanges(layers, Schedule(largest + 1, 100))


def test_a_form_with_a_mode_that_is_no_rank_is_refused() -> None:
    with pytest.raises(InvalidInputError, match="'svd_grouped' of layer '0' has modes that are no ranks"):
        RankRanges(tables(nn.Conv2d(8, 8, 3), forms=["svd_grouped"]), Schedule(1, 4, 1))


def test_no_layer_is_an_error() -> None:
    with pytest.raises(InvalidInputError, match="no layer was given"):
        RankRanges([])


@pytest.mark.parametrize(
    ("best", "says"),
    [
        ({}, "of other layers than the ranges: 0"),
        ({"0": {"svd": (10,)}, "1": {"svd": (10,)}}, "of other layers than the ranges: 1"),
        ({"0": {"cp": (10,)}}, "forms cp were given; it has svd"),
        ({"0": {}}, "forms none were given; it has svd"),
        ({"0": {"svd": (10, 10)}}, r"svd has 1 ranks, \[10, 10\] were given"),
    ],
)
def test_narrowing_around_what_is_not_there_is_an_error(best: dict[str, dict[str, tuple[int]]], says: str) -> None:
    with pytest.raises(InvalidInputError, match=says):
        RankRanges(wide()).narrow(best)


def test_an_ended_schedule_and_foreign_states_are_errors() -> None:
    ranges = RankRanges(wide(), Schedule(10, 20, 5))
    with pytest.raises(InvalidInputError, match="saved ranges are of other layers"):
        ranges.load_state_dict({"ranges": {"x": {}}, "step": 1, "rounds": 0})
    ranges.narrow({"0": {"svd": (10,)}})
    for act in (ranges.candidates, lambda: ranges.narrow({"0": {"svd": (10,)}})):
        with pytest.raises(InvalidInputError, match="ended after 1 rounds"):
            act()


@pytest.mark.parametrize(
    ("choices", "sizes"), [((), ()), ((Choice("svd", (1,)),) * 2, (1.0, 1.0)), ((Choice("svd", (1,)),), (0.0,))]
)
def test_bad_candidates_are_an_error(choices: tuple[Choice, ...], sizes: tuple[float, ...]) -> None:
    with pytest.raises(InvalidInputError):
        Candidates(choices, sizes)


def test_the_nearest_row_is_the_choice_itself_or_dense_or_the_nearest_offered() -> None:
    (options,) = tables(nn.Conv2d(8, 8, 3), forms=["tucker2"])
    assert options.choice(nearest_row(options, Choice("tucker2", (3, 5)))) == Choice("tucker2", (3, 5))
    assert nearest_row(options, Choice("tucker2", (8, 8))) == 0  # 704 > 576 weights
    net = nn.Sequential(nn.Conv2d(8, 8, 3))
    (thin,) = RankSpace.from_model(net, torch.zeros(1, 8, 6, 6), ["tucker2"], multiple_of=4).layers
    assert thin.choice(nearest_row(thin, Choice("tucker2", (5, 3)))) == Choice("tucker2", (4, 4))
    with pytest.raises(InvalidInputError, match="no form 'cp'; it has tucker2"):
        nearest_row(options, Choice("cp", (3,)))
