from __future__ import annotations

import re
import zlib
from pathlib import Path

import matplotlib
import pytest
from drawn_texts import all_texts
from PIL import Image
from seeded_runs import rows_of, write_evaluated

from rank_search.report import report_of
from rank_search.report.render.png.page import PAPER
from rank_search.report.render.png.palette import looks
from rank_search.report.render.png.paper import DOTS_PER_INCH, write_pdf, write_png
from rank_search.report.render.png.write_plots import draw
from rank_search.report.sections import Report

MANY = [f"searcher{n:02}" for n in range(14)]


@pytest.fixture
def report(tmp_path: Path) -> Report:
    accuracies = {name: [0.9 - 0.01 * n, 0.91 - 0.01 * n] for n, name in enumerate(MANY)}
    return report_of(write_evaluated(tmp_path / "run", rows_of(accuracies)))


def test_lines_are_as_wide_as_a_column_and_without_title_or_notes(report: Report, tmp_path: Path) -> None:
    paths = {path.stem: path for path in write_png(report, tmp_path)}
    assert set(paths) == {named.stem for named in report.all_figures}
    for stem in ("accuracy_against_cost_digits", "accuracy_against_time_digits", "critical_difference"):
        with Image.open(paths[stem]) as image:
            assert image.width == pytest.approx(PAPER.width * DOTS_PER_INCH, abs=1)
            assert image.height < 2.5 * image.width
    for named in report.all_figures:
        figure = draw(named.figure, looks(report.searchers), PAPER)
        assert named.figure.title not in all_texts(figure)
        assert not any(note in all_texts(figure).replace("\n", " ") for note in named.figure.notes)


def test_pdfs_embed_truetype_and_repeat(report: Report, tmp_path: Path) -> None:
    before = dict(matplotlib.rcParams)
    (tmp_path / "again").mkdir()
    first, again = write_pdf(report, tmp_path), write_pdf(report, tmp_path / "again")
    assert dict(matplotlib.rcParams) == before
    for path, other in zip(first, again, strict=True):
        content = path.read_bytes()
        assert content == other.read_bytes()
        assert b"/FontFile2" in content
        assert b"/Subtype /Type3" not in content
        assert re.search(rb"/Subtype /(Type0|CIDFontType2)", content)


def test_a_pdfs_streams_are_whole(report: Report, tmp_path: Path) -> None:
    content = write_pdf(report, tmp_path)[0].read_bytes()
    assert content.startswith(b"%PDF")
    assert content.rstrip().endswith(b"%%EOF")
    streams = re.findall(rb"/FlateDecode.*?stream\r?\n(.*?)\r?\nendstream", content, re.DOTALL)
    assert streams
    assert all(zlib.decompressobj().decompress(stream) for stream in streams)
