"""How the files of cells come back from workers that do not see the run folder, and go to the next ones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from contextlib import suppress
from pathlib import Path
from typing import Any

from rank_search.errors import RunError, StorageError
from rank_search.run.parcel import Parcel, packed, unpack


class Relay(ABC):
    """Keeps the files of cells where the next worker and the driver find them."""

    @abstractmethod
    def send(self, cell: str, parcel: Parcel) -> None:
        """Keeps these files of a cell's folder, in their order.

        Raises:
            StorageError
        """

    @abstractmethod
    def fetch(self, cell: str) -> Parcel:
        """What was kept of a cell."""

    @abstractmethod
    def finish(self, cell: str, parcel: Parcel) -> None:
        """Keeps these files, in their order, and no others.

        Raises:
            StorageError
        """


class Desk:
    """An actor on the driver's machine: writes what workers send into the run folder.

    Args:
        cells: the folder of the cells' folders.
    """

    def __init__(self, cells: str) -> None:
        self._cells = Path(cells)

    def send(self, cell: str, parcel: Parcel) -> str | None:
        """Why it could not be written, or None."""
        try:
            unpack(parcel, self._cells / cell)
        except StorageError as error:
            return str(error)
        return None

    def fetch(self, cell: str) -> Parcel:
        """The files of a cell."""
        return packed(self._cells / cell)

    def finish(self, cell: str, parcel: Parcel) -> str | None:
        """As :meth:`send`; what else is there goes."""
        refusal = self.send(cell, parcel)
        if refusal is None:
            for path in (self._cells / cell).iterdir():
                if path.is_file() and path.name not in parcel:
                    path.unlink(missing_ok=True)
        return refusal


class ByRay(Relay):
    """Through Ray, to the driver's machine.

    Args:
        desk: the actor there.
    """

    def __init__(self, desk: Any) -> None:
        self._desk = desk

    def send(self, cell: str, parcel: Parcel) -> None:
        _accepted(self._desk.send.remote(cell, parcel))

    def fetch(self, cell: str) -> Parcel:
        import ray

        return dict(ray.get(self._desk.fetch.remote(cell)))

    def finish(self, cell: str, parcel: Parcel) -> None:
        _accepted(self._desk.finish.remote(cell, parcel))


class ByStorage(Relay):
    """Through storage that the driver and all nodes see.

    Args:
        uri: any that ``pyarrow.fs`` knows: ``s3://BUCKET/PATH``, ``gs://...``, ``hdfs://...``, ``file:///PATH``.
        run: the identifier of the run, a folder there.
    """

    def __init__(self, uri: str, run: str) -> None:
        self._uri, self._run = uri, run

    def send(self, cell: str, parcel: Parcel) -> None:
        system, folder = self._place(cell)
        try:
            system.create_dir(folder, recursive=True)
            for name, content in parcel.items():
                with system.open_output_stream(f"{folder}/{name}.part") as stream:
                    stream.write(content)
                system.move(f"{folder}/{name}.part", f"{folder}/{name}")
        except Exception as error:
            raise StorageError(f"cannot write to the storage {self._uri}: {_line(error)}") from error

    def fetch(self, cell: str) -> Parcel:
        from pyarrow.fs import FileSelector, FileType

        system, folder = self._place(cell)
        found: dict[str, bytes] = {}
        try:
            for info in system.get_file_info(FileSelector(folder, allow_not_found=True)):
                if info.type == FileType.File and not info.path.endswith(".part"):
                    with system.open_input_stream(info.path) as stream:
                        found[info.base_name] = stream.read()
        except Exception as error:
            raise StorageError(f"cannot read from the storage {self._uri}: {_line(error)}") from error
        return found

    def finish(self, cell: str, parcel: Parcel) -> None:
        self.send(cell, parcel)
        system, folder = self._place(cell)
        for name in {*self.fetch(cell)} - {*parcel}:
            with suppress(OSError):
                system.delete_file(f"{folder}/{name}")

    def begin(self) -> None:
        """Tries to write there.

        Raises:
            RunError: if the URI is none, or cannot be written.
        """
        try:
            self.send("", {"probe": b"rank-search"})
        except (StorageError, RunError) as error:
            raise RunError(f"run.storage: {error}; give another URI, or null to send results through Ray") from None

    def seen(self) -> bool:
        """Whether what :meth:`begin` wrote is seen here."""
        return self.fetch("").get("probe") == b"rank-search"

    def end(self) -> None:
        """Removes all that the run has kept there."""
        system, folder = self._place("")
        with suppress(OSError):
            system.delete_dir(folder.rstrip("/"))

    def _place(self, cell: str) -> tuple[Any, str]:
        from pyarrow.fs import FileSystem

        try:
            system, path = FileSystem.from_uri(self._uri)
        except Exception as error:
            raise RunError(f"{self._uri!r} is no URI of a storage: {_line(error)}") from None
        return system, f"{path.rstrip('/')}/{self._run}/{cell}".rstrip("/")


def _accepted(reference: Any) -> None:
    import ray

    refusal = ray.get(reference)
    if refusal is not None:
        raise StorageError(refusal)


def _line(error: BaseException) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
