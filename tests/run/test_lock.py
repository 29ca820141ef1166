"""One writer for a folder: the second is refused and told by whom, a dead one's lock is taken over in silence."""

from __future__ import annotations

import errno
import json
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import filelock
import pytest

from rank_search.errors import RunError, StorageError
from rank_search.run.lock import HOLDER_FILE, LOCK_FILE, contents, forget_lock, only_writer

HOLD = """
import sys, time
from pathlib import Path
from rank_search.run.lock import only_writer
with only_writer(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def holding(folder: Path) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lock of a folder."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()


def test_another_process_is_named_in_one_line_and_its_lock_is_taken_over_when_it_was_killed(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "run"
    with holding(folder) as other:
        for _ in range(2):
            with pytest.raises(RunError) as refused, only_writer(folder):
                pass
            said = str(refused.value)
            assert f"{folder} is being written to by process {other.pid} on {socket.gethostname()} since 20" in said
            assert "--output" in said
            assert "\n" not in said
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert (folder / HOLDER_FILE).exists()
        with only_writer(folder):
            assert json.loads((folder / HOLDER_FILE).read_text())["pid"] == os.getpid()
    assert list(folder.iterdir()) == []
    assert caplog.records == []


def test_a_second_call_in_one_process_is_refused_until_the_first_has_ended(tmp_path: Path) -> None:
    with only_writer(tmp_path):
        with pytest.raises(RunError, match=f"process {os.getpid()} on "), only_writer(tmp_path):
            pass
        assert contents(tmp_path) == []
        assert (tmp_path / LOCK_FILE).exists()
    with only_writer(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_the_lock_ends_whatever_is_raised(error: type[BaseException], tmp_path: Path) -> None:
    with pytest.raises(error), only_writer(tmp_path):
        raise error
    with only_writer(tmp_path):
        pass


def test_a_folder_that_was_made_goes_if_it_is_empty_and_stays_if_it_is_not(tmp_path: Path) -> None:
    with only_writer(tmp_path / "new" / "deep" / "run"):
        pass
    assert list(tmp_path.iterdir()) == []
    with only_writer(tmp_path / "new" / "run"):
        (tmp_path / "new" / "run" / "file").touch()
    assert [path.name for path in (tmp_path / "new" / "run").iterdir()] == ["file"]
    (tmp_path / "mine").mkdir()
    with only_writer(tmp_path / "mine"):
        pass
    assert (tmp_path / "mine").is_dir()


def test_a_folder_can_be_replaced_under_its_lock(tmp_path: Path) -> None:
    folder, finished = tmp_path / "net", tmp_path / "finished"
    finished.mkdir()
    (finished / "plan.json").touch()
    with only_writer(folder):
        forget_lock(folder)
        folder.rmdir()
        finished.rename(folder)
    assert [path.name for path in folder.iterdir()] == ["plan.json"]


@pytest.mark.parametrize("note", ["", "null", '{"pid": -1, "host": "", "since": ""}'])
def test_a_holder_that_cannot_be_read_is_another_process(note: str, tmp_path: Path) -> None:
    with only_writer(tmp_path):
        (tmp_path / HOLDER_FILE).write_text(note)
        with pytest.raises(RunError, match="is being written to by another process: "), only_writer(tmp_path):
            pass


def test_a_holder_on_another_host_is_believed(tmp_path: Path) -> None:
    with only_writer(tmp_path):
        (tmp_path / HOLDER_FILE).write_text('{"pid": 7, "host": "node3", "since": "2026-01-01 10:00:00+00:00"}')
        with pytest.raises(RunError, match=re.escape("process 7 on node3 since 2026-01-01")), only_writer(tmp_path):
            pass


def test_a_file_system_without_locks_is_said_and_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(filelock.FileLock, "acquire", none)
    with only_writer(tmp_path):
        (tmp_path / "file").touch()
    assert [record.getMessage().count("\n") for record in caplog.records] == [0]
    assert "has no locks" in caplog.text


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for path, why in (
        (tmp_path / "file", "File exists"),
        (tmp_path / "file" / "run", "Not a directory"),
        (Path("/proc/rank-search/run"), "No such file or directory"),
    ):
        line = f"cannot make {path}: {why}; choose a folder that can be written to, then run again"
        with pytest.raises(StorageError, match=f"^{re.escape(line)}$"), only_writer(path):
            pass
    assert (tmp_path / "file").is_file()
