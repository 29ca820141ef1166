"""Whether a run that goes on has what it began with: results of two data sets or two networks do not mix."""

from __future__ import annotations

from pathlib import Path

from rank_search.digests import digest_of, digest_of_file, digest_of_text
from rank_search.errors import RunError
from rank_search.files import read_json, write_json
from rank_search.task import Data

DATA_DIGEST, WEIGHTS_DIGEST = "data.json", "weights.json"


def check_same_data(data: Data, folder: Path) -> None:
    """Looks whether a task's data are those that its ``folder`` began with.

    Raises:
        RunError: if not.
    """
    texts, tensors = data.fingerprint()
    _check(folder / DATA_DIGEST, digest_of_text([texts, digest_of(tensors)]), "its data")


def check_same_weights(weights: str | None, folder: Path) -> None:
    """Looks whether a file of weights is the one that the ``folder`` began with; one that is gone is not missed.

    Raises:
        RunError: if it is another.
    """
    path = None if weights is None else Path(weights)
    if path is not None and path.is_file():
        _check(folder / WEIGHTS_DIGEST, digest_of_file(path), f"the weights in {path}")


def _check(kept: Path, digest: str, what: str) -> None:
    if not kept.exists():
        write_json(kept, {"digest": digest})
    elif read_json(kept).get("digest") != digest:
        raise RunError(
            f"{what} are not those that this run began with, and results of both would be mixed: put them back, or "
            "begin anew in another folder with --output"
        )
