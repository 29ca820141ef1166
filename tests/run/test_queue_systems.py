"""Jobs for queue systems: the SLURM script with stand-ins for its commands, the KubeRay job read as YAML."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

CLUSTER = Path(__file__).parents[2] / "examples" / "cluster"
STAND_INS = {
    "scontrol": '[ "$1" = show ] && printf "one\\ntwo\\nthree\\n" || echo "$@" >> "$CALLS"',
    "srun": 'while [ "${1#-}" != "$1" ]; do [ "$1" = -w ] && shift; shift; done; exec "$@"',
    "hostname": "echo 10.0.0.1",
    "ray": 'echo "ray $@" >> "$CALLS"; [ "$1" = status ] || sleep 2',
    "rank-search": 'echo "rank-search $@" >> "$CALLS"; trap "exit 143" TERM; '
    "for i in $(seq ${SECONDS_TO_RUN:-0}); do sleep 0.1; done; exit ${CODE:-0}",
}


@pytest.fixture
def calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """What the stand-ins were called with."""
    commands = tmp_path / "bin"
    commands.mkdir()
    for name, body in STAND_INS.items():
        (commands / name).write_text(f"#!/bin/bash\n{body}\n")
        (commands / name).chmod(0o755)
    settings = {"SLURM_JOB_NODELIST": "node[1-3]", "SLURM_JOB_ID": "7", "SLURM_CPUS_PER_TASK": "4"}
    found = tmp_path / "calls"
    for name, value in {**settings, "PATH": f"{commands}:{os.environ['PATH']}", "CALLS": str(found)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("CONFIG", "quickstart")
    monkeypatch.setenv("RUN", str(tmp_path / "run"))
    return found


def started() -> subprocess.Popen[str]:
    return subprocess.Popen(["bash", str(CLUSTER / "slurm.sh")], stdout=-1, stderr=-2, text=True)


def test_slurm_starts_a_node_of_ray_per_host_and_the_driver(calls: Path, tmp_path: Path) -> None:
    process = started()
    said, _ = process.communicate(timeout=120)
    assert process.returncode == 0, said
    lines = calls.read_text().splitlines()
    starts = [line for line in lines if line.startswith("ray start")]
    assert [("--head" in line, "--address=10.0.0.1:20007" in line) for line in starts].count((True, False)) == 1
    assert [("--head" in line, "--address=10.0.0.1:20007" in line) for line in starts].count((False, True)) == 2
    (bench,) = [line for line in lines if line.startswith("rank-search")]
    assert bench == (
        f"rank-search bench quickstart --output {tmp_path / 'run'} --ray-address 10.0.0.1:20007 --set run.workers=auto"
    )


def test_slurm_goes_on_with_a_run_that_is_there(calls: Path, tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.yaml").write_text("")
    started().communicate(timeout=120)
    assert [line.endswith("--resume") for line in calls.read_text().splitlines() if "rank-search" in line] == [True]


def test_slurm_passes_sigterm_on_and_puts_the_job_back_into_the_queue(
    calls: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECONDS_TO_RUN", "3000")
    process = started()
    deadline = time.monotonic() + 120
    while not (calls.exists() and "rank-search" in calls.read_text()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=120)
    assert process.returncode == 143
    assert "requeue 7" in calls.read_text()


@pytest.mark.parametrize("code", [0, 2])
def test_slurm_ends_with_the_code_of_the_driver(calls: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    monkeypatch.setenv("CODE", str(code))
    process = started()
    process.communicate(timeout=120)
    assert process.returncode == code
    assert "requeue" not in calls.read_text()


def test_the_kuberay_job_has_what_the_operator_and_the_driver_need() -> None:
    claim, job = yaml.safe_load_all((CLUSTER / "kuberay.yaml").read_text())
    assert (job["apiVersion"], job["kind"]) == ("ray.io/v1", "RayJob")
    assert "rank-search bench" in job["spec"]["entrypoint"]
    assert "--ray-address auto" in job["spec"]["entrypoint"]
    head = job["spec"]["rayClusterSpec"]["headGroupSpec"]
    assert head["rayStartParams"] == {"num-cpus": "0"}  # the operator takes text only
    pod = head["template"]["spec"]
    (volume,) = pod["volumes"]
    assert volume["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
    (mount,) = pod["containers"][0]["volumeMounts"]
    assert mount["name"] == volume["name"]
    assert f"--output {mount['mountPath']}/" in job["spec"]["entrypoint"]
    (workers,) = job["spec"]["rayClusterSpec"]["workerGroupSpecs"]
    assert 1 <= workers["minReplicas"] <= workers["replicas"] <= workers["maxReplicas"]
    images = {container["image"] for group in (head, workers) for container in group["template"]["spec"]["containers"]}
    assert len(images) == 1
