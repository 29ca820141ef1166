"""A real MLflow server of a test's own, which may be killed and started again, and what it says over HTTP."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, Request, build_opener

DEADLINE = 300.0  # seconds
_open = build_opener(ProxyHandler({})).open


class Server:
    """``mlflow server`` on a free port of this machine, with SQLite and served artifacts below a folder.

    Args:
        folder: of its store; the same one and port when it is started again.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        folder.mkdir(parents=True, exist_ok=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.uri = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, wait: bool = True) -> Server:
        """Starts it, unless it runs.

        Args:
            wait: until it answers.
        """
        if self._process is not None:
            self.wait()
            return self
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self.port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command,
                cwd=self._folder,
                env={**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true"},
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        if wait:
            self.wait()
        return self

    def wait(self) -> None:
        """Until it answers."""
        assert self._process is not None
        deadline = time.monotonic() + DEADLINE
        while True:
            with contextlib.suppress(URLError, ConnectionError, TimeoutError):
                _open(f"{self.uri}/health", timeout=5).close()
                return
            log = self._folder / "server.log"
            assert self._process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.2)

    def kill(self) -> None:
        """Ends it and its workers at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def asked(self, path: str, body: dict[str, Any] | None = None, **query: str) -> dict[str, Any]:
        """The answer of MLflow's REST API to a POST of the body, or to a GET."""
        url = f"{self.uri}/api/2.0/mlflow/{path}?{urlencode(query)}"
        data = None if body is None else json.dumps(body).encode()
        with _open(Request(url, data, {"Content-Type": "application/json"}), timeout=60) as answer:
            return dict(json.load(answer))

    def experiment(self, name: str) -> str:
        found = self.asked("experiments/get-by-name", experiment_name=name)
        return str(found["experiment"]["experiment_id"])

    def runs(self, name: str) -> dict[str, dict[str, Any]]:
        """The runs of an experiment by their names, each once: id, status, tags, params, metrics (the last values)."""
        body = {"experiment_ids": [self.experiment(name)], "max_results": 1000}
        found: dict[str, dict[str, Any]] = {}
        for run in self.asked("runs/search", body).get("runs", []):
            info, data = run["info"], run["data"]
            assert info["run_name"] not in found, f"{info['run_name']} is there twice"
            found[info["run_name"]] = {
                "id": info["run_id"],
                "status": info["status"],
                "tags": {tag["key"]: tag["value"] for tag in data.get("tags", [])},
                "params": {param["key"]: param["value"] for param in data.get("params", [])},
                "metrics": {metric["key"]: metric["value"] for metric in data.get("metrics", [])},
            }
        return found

    def history(self, run_id: str, metric: str) -> list[tuple[int, float]]:
        """Steps and values of a metric."""
        found = self.asked("metrics/get-history", run_id=run_id, metric_key=metric)
        return sorted((int(each.get("step", 0)), float(each["value"])) for each in found.get("metrics", []))

    def files(self, run_id: str) -> set[str]:
        return {file["path"] for file in self.asked("artifacts/list", run_id=run_id).get("files", [])}

    def file(self, run_id: str, path: str) -> bytes:
        query = urlencode({"run_uuid": run_id, "path": path})
        with _open(f"{self.uri}/get-artifact?{query}", timeout=60) as answer:
            return bytes(answer.read())
