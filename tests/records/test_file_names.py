"""A name that is cut keeps its beginning, fits in bytes, and stays apart from every other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rank_search.files import write_text
from rank_search.records.file_names import AROUND_A_NAME, LONGEST_NAME, fitting, size


@pytest.mark.parametrize("name", ["a", "digits-macs=0.5-tpe-s0", "x" * 255, "ß" * 127])
def test_what_fits_stays_as_it_is(name: str) -> None:
    assert fitting(name) == name


@pytest.mark.parametrize("letter", ["x", "ß", "長", "\N{GRINNING FACE}"])
def test_what_is_too_long_is_cut_to_bytes_that_the_file_system_takes(letter: str, tmp_path: Path) -> None:
    name = letter * 256
    cut = fitting(name)
    assert 250 <= len(cut.encode()) <= 255
    assert name.startswith(cut.rpartition("-")[0])
    (tmp_path / cut).mkdir()
    assert os.listdir(tmp_path) == [cut]


def test_the_same_name_is_cut_alike_and_two_names_with_one_beginning_differ() -> None:
    one, two = "x" * 300 + "1", "x" * 300 + "2"
    assert fitting(one) == fitting(one) != fitting(two)
    assert len(fitting(one, 40)) == 40


def test_a_name_that_is_no_text_of_this_system_is_measured_too() -> None:
    assert size(os.fsdecode(b"\xff\xfe")) == 2


def test_a_file_can_be_written_whose_name_leaves_room_for_the_temporary_one(tmp_path: Path) -> None:
    name = fitting("y" * 300, LONGEST_NAME - AROUND_A_NAME)
    write_text(tmp_path / name, "whole")
    assert (tmp_path / name).read_text() == "whole"
