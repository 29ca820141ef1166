"""MLflow's database is where it should be, whole or not there, and never holds a run up."""

from __future__ import annotations

import os
import shlex
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

import pytest
from tracked_run import Run, artifacts, logged

from rank_search.errors import TrackingError
from rank_search.run import tracking_database
from rank_search.run.tracking import make_tracking
from rank_search.run.tracking_database import check_database, database_path, database_uri, open_client, open_own_client

NAMES = ["what?a", "half%20macs", "a#b", "mit leerzeichen", "größe", "q'uote\"$x;&", "x%zz+?uri=true"]
CELLS = [("digits-macs=0.5-random-s0", "FINISHED"), ("digits-macs=0.5-random-s1", "FINISHED"), ("small", "FINISHED")]
OF_A_RUN = sorted(["config.yaml", "results.csv", *2 * ["plan.json", "result.json", "steps.csv"]])
SOON = 40.0  # seconds; MLflow alone takes 100 for a database that it cannot open


@pytest.mark.parametrize("name", NAMES)
def test_the_uri_of_a_folder_of_any_name_is_that_of_its_database_and_passes_a_shell(name: str, tmp_path: Path) -> None:
    uri = database_uri(tmp_path / name)
    assert database_path(uri) == tmp_path / name / "mlflow.db"
    assert uri.isascii()
    said = subprocess.run(["sh", "-c", f"printf %s {shlex.quote(uri)}"], capture_output=True, text=True, check=True)
    assert said.stdout == uri


def test_mlflow_writes_into_a_folder_of_any_name_and_nowhere_else(tmp_path: Path) -> None:
    name = "".join(NAMES)
    Run(tmp_path / name).go_on()
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert logged(tmp_path / name / "mlflow.db") == {"rank-search/small": CELLS}
    assert artifacts(tmp_path / name) == OF_A_RUN


def test_a_plain_path_stays_readable() -> None:
    assert database_uri(Path("/runs/quick-start_1.0")) == "sqlite:////runs/quick-start_1.0/mlflow.db"


@pytest.mark.parametrize(
    "uri",
    ["http://host:5000", "postgresql://u:p@h/db", "sqlite://", "sqlite:///:memory:", "sqlite://host/x", "file:///x"],
)
def test_what_is_no_file_of_sqlite_has_no_path(uri: str) -> None:
    assert database_path(uri) is None


def test_sqlites_own_spelling_of_a_path_is_understood() -> None:
    assert database_path("sqlite:///file:/runs/x.db?uri=true") == Path("/runs/x.db")
    assert database_path("sqlite+pysqlite:////runs/x.db") == Path("/runs/x.db")


def test_a_database_that_could_not_be_finished_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(uri: str, path: Path | None) -> None:
        assert path is not None
        path.write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(tracking_database, "_answering", interrupted)
        with pytest.raises(KeyboardInterrupt):
            open_client(database_uri(tmp_path))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / ".mlflow-killed").mkdir()
    open_own_client(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]


def spoil(path: Path, how: str) -> None:
    content = path.read_bytes()
    path.unlink()
    if how == "garbage":
        path.write_bytes(b"no database at all " * 999)
    elif how == "folder":
        path.mkdir()
    elif how == "half made":
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("create table experiments (experiment_id integer)")
            connection.execute("create table alembic_version (version_num varchar(32))")
            connection.commit()
    elif how == "of another version":
        path.write_bytes(content)
        with closing(sqlite3.connect(path)) as connection:
            connection.execute("update alembic_version set version_num = 'abcdef123456'")
            connection.commit()


@pytest.mark.parametrize("how", ["garbage", "folder", "half made", "of another version"])
def test_a_spoilt_database_of_the_run_is_said_once_set_aside_and_made_from_the_files(
    how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    Run(tmp_path / "before").go_on()
    database = (tmp_path / "before").rename(tmp_path / "run") / "mlflow.db"  # MLflow remembers those that it has opened
    spoil(database, how)
    database.with_name("mlflow.db-journal").write_bytes(b"of the old one")
    started = time.monotonic()
    Run(tmp_path / "run").go_on()
    assert time.monotonic() - started < SOON
    (said,) = [record.getMessage() for record in caplog.records if record.name == "rank_search"]
    assert f"MLflow's database {database} cannot be used (" in said
    assert "it is mlflow.db.unusable-1 now" in said
    assert "\n" not in said
    assert "Traceback" not in capfd.readouterr().err
    assert logged(database) == {"rank-search/small": CELLS}
    assert (tmp_path / "run" / "mlflow.db.unusable-1").exists()
    assert not (tmp_path / "run" / "mlflow.db-journal").exists()


def test_a_database_that_is_spoilt_while_cells_run_is_said_once_and_holds_nothing_up(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run, database = Run(tmp_path / "run", seeds=4), tmp_path / "run" / "mlflow.db"
    tracking = make_tracking(run.config, run.folder)
    tracking.begin(run.cells, [])
    spoil(database, "garbage")
    started = time.monotonic()
    for cell in run.cells:
        tracking.progress(cell, 0, None)
        tracking.finish(cell, run.end_cell(cell))
    tracking.end(True)
    assert time.monotonic() - started < SOON
    (said,) = [record.getMessage() for record in caplog.records if record.name == "rank_search"]
    assert f"MLflow at {database} refused: " in said
    assert "\n" not in said
    Run(tmp_path / "run", seeds=4).go_on()
    finished = logged(database)["rank-search/small"]
    assert [status for _, status in finished] == ["FINISHED"] * 5


def test_after_a_refusal_the_database_is_asked_once_more_at_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(tmp_path / "run", seeds=5)
    asked: list[str] = []

    def refuse(where: object) -> None:
        asked.append(str(where))
        raise sqlite3.OperationalError("database is locked")

    monkeypatch.setattr("rank_search.run.tracking.open_own_client", refuse)
    monkeypatch.setattr("rank_search.run.tracking.open_client", refuse)
    run.go_on()
    assert len(asked) == 2


def test_a_locked_database_is_left_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracking_database, "PATIENCE", 0.2)
    Run(tmp_path / "run").go_on()
    with closing(sqlite3.connect(tmp_path / "run" / "mlflow.db", isolation_level=None)) as other:
        other.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()
        Run(tmp_path / "run").go_on()
        assert time.monotonic() - started < SOON
    assert "refused: database is locked" in caplog.text
    assert not list((tmp_path / "run").glob("*unusable*"))
    assert logged(tmp_path / "run" / "mlflow.db") == {"rank-search/small": CELLS}


def test_a_damaged_database_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table t (x)")
        connection.executemany("insert into t values (?)", [("x" * 500,)] * 100)
        connection.commit()
    check_database(path)
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])
    with pytest.raises(TrackingError, match=r"malformed|damaged"):
        check_database(path)
    path.write_bytes(content[:8192] + b"\xff" * (len(content) - 8192))
    with pytest.raises(TrackingError, match=r"malformed|damaged"):
        check_database(path)


def test_a_read_only_database_cannot_be_used(tmp_path: Path) -> None:
    path = tmp_path / "x.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("create table t (x)")
    check_database(path)
    if os.geteuid() == 0:  # whom the mode of a file does not stop: SQLite's own switch
        before = sqlite3.connect
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sqlite3, "connect", lambda name, **options: before(name.replace("=rw", "=ro"), **options))
            with pytest.raises(TrackingError, match="readonly"):
                check_database(path)
        return
    path.chmod(0o444)
    with pytest.raises(TrackingError, match="readonly"):
        check_database(path)


def test_a_database_of_the_users_is_refused_at_once_and_never_touched(tmp_path: Path) -> None:
    shared = tmp_path / "shared.db"
    shared.write_bytes(b"my notes" * 999)
    run = Run(tmp_path / "run", f"sqlite:///{shared}")
    started = time.monotonic()
    with pytest.raises(TrackingError) as refused:
        make_tracking(run.config, run.folder)
    assert time.monotonic() - started < SOON
    assert f"the tracking database {shared} cannot be used: file is not a database; " in str(refused.value)
    assert "--set run.tracking=none" in str(refused.value)
    assert "\n" not in str(refused.value)
    assert shared.read_bytes() == b"my notes" * 999
    assert {path.name for path in tmp_path.iterdir()} == {"run", "shared.db"}


def test_two_runs_of_one_name_on_one_database_keep_their_own_artifacts_and_find_their_own_runs(tmp_path: Path) -> None:
    shared = tmp_path / "shared.db"
    for _ in range(2):  # the second time is a resume
        for name in ("one", "two"):
            Run(tmp_path / name, f"sqlite:///{shared}").go_on()
    found = logged(shared)
    first, other = sorted(found)
    assert first == "rank-search/small"
    assert other.startswith("rank-search/small-")
    assert found[first] == found[other] == CELLS
    for name in ("one", "two"):
        assert set(artifacts(tmp_path / name)) == set(OF_A_RUN)
        assert len(list((tmp_path / name / "mlartifacts").iterdir())) == 3


def test_an_experiment_that_was_deleted_is_left_alone(tmp_path: Path) -> None:
    Run(tmp_path / "run").go_on()
    client = open_client(database_uri(tmp_path / "run"))
    client.delete_experiment(client.get_experiment_by_name("rank-search/small").experiment_id)
    run = Run(tmp_path / "run")
    run.go_on()
    found = logged(tmp_path / "run" / "mlflow.db")
    assert len(found) == 2
    assert found[max(found)] == CELLS


def test_what_mlflow_refuses_of_one_cell_keeps_no_other_from_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    run = Run(tmp_path / "run", seeds=3)
    for cell in run.cells:
        run.end_cell(cell)
    file = run.folder.cell(run.cells[0]) / "steps.csv"
    file.write_text(file.read_text().replace("kept_macs", "100 %!"))
    run.go_on()
    assert len([record for record in caplog.records if record.name == "rank_search"]) == 1
    found = dict(logged(tmp_path / "run" / "mlflow.db")["rank-search/small"])
    assert found.pop(run.cells[0].id) == "RUNNING"
    assert {*found.values()} == {"FINISHED"}
    assert len(found) == 3


def test_a_kill_while_mlflow_makes_its_database_leaves_none(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from rank_search.run.tracking_database import *\n"
    code += "open_own_client(Path(sys.argv[1]))"
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    deadline = time.monotonic() + 600
    while not list(tmp_path.glob(".mlflow-*/mlflow.db")):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.kill()
    process.wait()
    assert not (tmp_path / "mlflow.db").exists()
    open_own_client(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mlflow.db"]
