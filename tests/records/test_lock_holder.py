from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from rank_search.errors import RunError
from rank_search.records.lock_holder import HOLDER_FILE, check_at_rest


def note(folder: Path, pid: int, host: str | None = None) -> None:
    holder = {"pid": pid, "host": host or socket.gethostname(), "since": "2026-01-01 00:00:00"}
    (folder / HOLDER_FILE).write_text(json.dumps(holder))


def test_a_folder_that_somebody_writes_into_is_not_at_rest(tmp_path: Path) -> None:
    note(tmp_path, os.getpid())
    with pytest.raises(RunError, match=f"still being written to by process {os.getpid()} on .*: wait for its end"):
        check_at_rest(tmp_path)
    note(tmp_path, 1, "elsewhere")
    with pytest.raises(RunError, match="process 1 on elsewhere since 2026"):
        check_at_rest(tmp_path)


def test_what_a_killed_process_left_is_nobody(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        ended.wait(300)
    note(tmp_path, ended.pid)
    check_at_rest(tmp_path)


def test_without_a_note_or_a_folder_nobody_writes(tmp_path: Path) -> None:
    check_at_rest(tmp_path)
    check_at_rest(tmp_path / "absent")
    (tmp_path / HOLDER_FILE).write_text("{")
    check_at_rest(tmp_path)
