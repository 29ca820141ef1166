"""Writing a report in the formats asked for: all of it, or nothing."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path

from rank_search.errors import InvalidInputError
from rank_search.files import storage_errors
from rank_search.plugins import nearest
from rank_search.report.render.formats import FORMATS
from rank_search.report.sections import Report


def chosen(formats: Iterable[str]) -> list[str]:
    """The names of formats, each once; an entry may be several, separated by commas.

    Raises:
        InvalidInputError: if there is no such format, or none is named.
    """
    names = [name.strip() for entry in formats for name in entry.split(",")]
    for name in names:
        if name not in FORMATS:
            raise InvalidInputError(
                f"--format {name!r} is not known{nearest(name, FORMATS)}: give one or several of {', '.join(FORMATS)}"
            )
    return list(dict.fromkeys(names))


def write_report(report: Report, folder: Path, formats: Sequence[str]) -> list[Path]:
    """Writes the files of every format into a folder, which is made if it is not there.

    All are written beside the folder first and then take their places: files of the same names are replaced, others
    stay. If one cannot be written, the folder is as it was.

    Args:
        report: of a run, or of several.
        folder: where.
        formats: names of ``FORMATS``.

    Raises:
        InvalidInputError: if a format is not known, or the folder is a file.
        StorageError: if a file could not be written.
    """
    names = chosen(formats)
    if folder.exists() and not folder.is_dir():
        raise InvalidInputError(f"{folder} is a file: give a folder with --output")
    with storage_errors(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        place = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}.", suffix=".tmp"))
    try:
        with storage_errors(folder):
            written = [path for name in names for path in FORMATS[name](report, place)]
            if not folder.exists():
                place.chmod(0o755)
                place.rename(folder)
            else:
                for path in written:
                    path.replace(folder / path.name)
    finally:
        shutil.rmtree(place, ignore_errors=True)
    return [folder / path.name for path in written]
