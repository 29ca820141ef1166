"""The server for a team: its compose file holds together, has no secret in it, and the paper says what is so."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rank_search.run import tracking, tracking_database, tracking_queue

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ROOT / "examples" / "compose"
PAPER = (ROOT / "docs" / "tracking.md").read_text(encoding="utf-8")
VARIABLE = re.compile(r"(?<!\$)\$\{(\w+)([:?-][^}]*)?\}")


def settings() -> dict[str, str]:
    lines = (COMPOSE / ".env.example").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def filled() -> dict[str, Any]:
    """The compose file with its variables, as compose would read it."""

    def value(match: re.Match[str]) -> str:
        default = match[2].removeprefix(":-") if match[2] and match[2].startswith(":-") else None
        found = settings().get(match[1], default)
        assert found is not None, f"{match[0]} is not set in .env.example"
        return found

    return dict(yaml.safe_load(VARIABLE.sub(value, (COMPOSE / "compose.yaml").read_text())))


def test_the_services_wait_for_one_another_and_each_says_whether_it_is_well() -> None:
    services = filled()["services"]
    assert set(services) == {"postgres", "minio", "bucket", "mlflow"}
    for name, service in services.items():
        assert ("image" in service) != ("build" in service)
        assert ("healthcheck" in service) == (name != "bucket")
        for other, how in service.get("depends_on", {}).items():
            healthy = "healthcheck" in services[other]
            assert how == {"condition": "service_healthy" if healthy else "service_completed_successfully"}
    assert set(services["mlflow"]["depends_on"]) == {"postgres", "minio", "bucket"}


def test_the_server_finds_its_database_and_its_bucket() -> None:
    services, told = filled()["services"], settings()
    server, environment = services["mlflow"], services["mlflow"]["environment"]
    user, password, database = (
        services["postgres"]["environment"][f"POSTGRES_{x}"] for x in ("USER", "PASSWORD", "DB")
    )
    uri = f"postgresql+psycopg2://{user}:{password}@postgres:5432/{database}"  # the driver that the image installs
    assert environment["MLFLOW_BACKEND_STORE_URI"] == uri
    assert "psycopg2" in (COMPOSE / "Dockerfile").read_text()
    assert f"--artifacts-destination=s3://{services['bucket']['environment']['BUCKET']}" in server["command"]
    assert environment["AWS_ACCESS_KEY_ID"] == services["minio"]["environment"]["MINIO_ROOT_USER"]
    assert environment["AWS_SECRET_ACCESS_KEY"] == services["minio"]["environment"]["MINIO_ROOT_PASSWORD"]
    assert server["ports"] == [f"{told['BIND']}:{told['PORT']}:5000"]
    assert told["BIND"] == "127.0.0.1"
    assert set(filled()["volumes"]) == {"postgres", "minio"}


def test_the_options_are_those_of_mlflow_server() -> None:
    from mlflow.cli import server

    known = {option for parameter in server.params for option in parameter.opts}
    command = filled()["services"]["mlflow"]["command"]
    assert command[:2] == ["mlflow", "server"]
    assert {option.split("=")[0] for option in command[2:]} <= known
    variables = {name for parameter in server.params for name in [parameter.envvar] if isinstance(name, str)}
    assert "MLFLOW_BACKEND_STORE_URI" in variables


def test_no_secret_is_committed() -> None:
    assert {key: value for key, value in settings().items() if "PASSWORD" in key} == {
        "POSTGRES_PASSWORD": "change-me",
        "MINIO_ROOT_PASSWORD": "change-me-too",
    }
    text = (COMPOSE / "compose.yaml").read_text()
    for line in text.splitlines():
        if "PASSWORD:" in line or "SECRET" in line:
            assert VARIABLE.search(line), line


def test_compose_itself_takes_the_file() -> None:
    if (
        shutil.which("docker") is None
        or subprocess.run(["docker", "compose", "version"], capture_output=True).returncode
    ):
        pytest.skip("docker compose is not installed")
    asked = ["docker", "compose", "--env-file", ".env.example", "config", "--quiet"]
    done = subprocess.run(asked, cwd=COMPOSE, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr


def test_the_paper_says_the_seconds_and_names_that_the_code_has() -> None:
    pauses = [tracking_queue.FIRST_PAUSE]
    while pauses[-1] < tracking_queue.LONGEST_PAUSE:
        pauses.append(min(2 * pauses[-1], tracking_queue.LONGEST_PAUSE))
    said = f"after {', '.join(f'{pause:g}' for pause in pauses[:-1])}, then every {pauses[-1]:g} seconds"
    text = " ".join(PAPER.split())
    assert said in text
    assert f"after {tracking.GRACE:g} seconds of an outage" in text
    assert f"({tracking_queue.HANGING:g} where a request hangs" in text
    assert f"it is {tracking.HASTE:g} seconds in all" in text
    assert f"{tracking_database.SETTINGS['MLFLOW_HTTP_REQUEST_TIMEOUT']} unless set" in text
    import mlflow.environment_variables as known

    for name in set(re.findall(r"`(MLFLOW_\w+)`", PAPER)):
        assert hasattr(known, name), f"MLflow knows no {name}"


def test_what_it_links_to_exists() -> None:
    for link in re.findall(r"\]\(([^)#]+)", PAPER):
        assert (ROOT / "docs" / link).exists(), link
