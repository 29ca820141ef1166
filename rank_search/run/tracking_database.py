"""The SQLite file that MLflow writes to: its URI, whether it can be used, and how it comes to be, whole or not at all.

MLflow asks a database that it cannot open ten times, for 100 seconds; so it is looked at here first. A database that is
new is made under another name: whoever kills this process leaves none that is half made.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote, urlsplit

from rank_search.errors import TrackingError, without_escapes

DATABASE = "mlflow.db"
SIDE_FILES = ("-journal", "-wal", "-shm")
PATIENCE = 5.0  # seconds for another process that writes
UNFINISHED = ".mlflow-"
SETTINGS = {
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
"""Of MLflow, for whatever the user has not set."""
PASSING = re.compile(r"locked|disk is full|disk I/O error", re.IGNORECASE)
"""Refusals that say nothing against the database itself."""


class UnusableDatabaseError(TrackingError):
    """The file is no database that MLflow can use, and will not become one by itself."""


def database_uri(folder: Path) -> str:
    """The URI of the database inside a run folder, for MLflow and for a shell: letters, digits and ``% / : . _ -``."""
    path = folder / DATABASE
    if re.fullmatch(r"[A-Za-z0-9/._-]+", str(path)):
        return f"sqlite:///{path}"
    # Slashes, too: MLflow makes the folder that the text before the last slash names, whatever it stands for.
    escaped = quote(os.fsencode(path), safe="")
    if database_path(f"sqlite:///{escaped}") == path:
        return f"sqlite:///{escaped}"
    return f"sqlite:///file:{escaped}?uri=true"  # SQLAlchemy 2.0 takes a path as it stands, SQLite itself does not


def database_path(uri: str) -> Path | None:
    """The file of a SQLite URI; None for a server and for a database in memory."""
    if not re.match(r"sqlite(\+\w+)?:", uri):
        return None
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except ArgumentError:  # MLflow says so, too
        return None
    name = url.database
    if url.host or not name or name == ":memory:":
        return None
    return Path(unquote(urlsplit(name).path) if name.startswith("file:") else name)


def open_client(uri: str) -> Any:
    """A client of MLflow, after its server or database has answered.

    Raises:
        UnusableDatabaseError: if the file of a SQLite URI is none that MLflow can use.
        Exception: whatever MLflow, SQLite or the operating system raise else.
    """
    path = database_path(uri)
    if path is not None:
        if not _exists(path):
            _create(path)
        check_database(path)
    return _answering(uri, path)


def open_own_client(folder: Path) -> Any:
    """A client of the database inside a run folder; one that cannot be used is set aside, and a new one made.

    Raises:
        Exception: whatever MLflow, SQLite or the operating system raise.
    """
    for unfinished in folder.glob(f"{UNFINISHED}*"):
        shutil.rmtree(unfinished, ignore_errors=True)
    try:
        return open_client(database_uri(folder))
    except UnusableDatabaseError as error:
        path = folder / DATABASE
        aside = _set_aside(path)
        logging.getLogger("rank_search").warning(
            "MLflow's database %s cannot be used (%s): it is %s now, a new one is made from the files of the run.",
            path,
            error,
            aside.name,
        )
        return open_client(database_uri(folder))


def check_database(path: Path) -> None:
    """Opens the database at ``path`` for writing and reads it; nothing happens if there is none.

    Raises:
        UnusableDatabaseError: if it cannot be used.
        sqlite3.Error: if it cannot be used now.
    """
    try:
        if not _exists(path):
            return
        if path.exists() and not path.is_file():
            raise UnusableDatabaseError("it is no file")
        name = f"file:{quote(os.fsencode(path.absolute()))}?mode=rw"
        with closing(sqlite3.connect(name, uri=True, timeout=PATIENCE, isolation_level=None)) as connection:
            (answer,) = connection.execute("PRAGMA quick_check(1)").fetchone()
            if answer != "ok":
                raise UnusableDatabaseError(f"it is damaged: {first_line(Exception(answer))}")
            connection.execute("BEGIN IMMEDIATE")
            connection.execute("PRAGMA user_version = 0")  # a first write, which is taken back
            connection.execute("ROLLBACK")
    except sqlite3.Error as error:
        if PASSING.search(str(error)):
            raise
        raise UnusableDatabaseError(first_line(error)) from error


def import_mlflow() -> None:
    """Imports MLflow as one that says nothing by itself and does not try again: the queue does."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    import mlflow  # noqa: F401

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)  # it prints what it raises


def first_line(error: BaseException) -> str:
    """What an error says, in one line."""
    lines = without_escapes(str(error)).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _set_aside(path: Path) -> Path:
    """Renames a database, and what SQLite keeps beside it, so that a new one can be made; returns its new name."""
    number = 1
    while _exists(aside := path.with_name(f"{path.name}.unusable-{number}")):
        number += 1
    for suffix in ("", *SIDE_FILES):
        if _exists(old := path.with_name(path.name + suffix)):
            old.rename(aside.with_name(aside.name + suffix))
    return aside


def _exists(path: Path) -> bool:
    return os.path.lexists(path)


def _create(path: Path) -> None:
    """Makes a database under another name and gives it its own when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if any(_exists(path.with_name(path.name + suffix)) for suffix in SIDE_FILES):
        return  # of a database that was deleted: SQLite knows what to do with them
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=UNFINISHED) as folder:
        new = Path(folder) / DATABASE
        _answering(database_uri(Path(folder)), new)
        try:
            os.link(new, path)
        except FileExistsError:
            pass  # another run was first
        except OSError:  # a file system without hard links
            new.rename(path)


def _answering(uri: str, path: Path | None) -> Any:
    import_mlflow()
    from mlflow import MlflowClient

    try:
        with _fresh_connections(path):
            client = MlflowClient(tracking_uri=uri)
        client.search_experiments(max_results=1)
    except Exception as error:
        if path is None or PASSING.search(str(error)) or _errno(error) in (errno.ENOSPC, errno.EDQUOT):
            raise
        raise UnusableDatabaseError(f"MLflow cannot use it: {first_line(error)}") from error
    return client


def _errno(error: BaseException) -> int | None:
    return error.errno if isinstance(error, OSError) else None


@contextmanager
def _fresh_connections(path: Path | None) -> Iterator[None]:
    """MLflow opens this database anew whenever it needs it, so that it sees if another file has taken its place."""
    name = "MLFLOW_SQLALCHEMYSTORE_POOLCLASS"
    before = os.environ.get(name)
    if path is not None:
        os.environ[name] = "NullPool"
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = before
