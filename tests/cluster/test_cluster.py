"""A local cluster comes up, is reached through every door, and leaves nothing behind however it ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from aisle.errors import JobFailed
from jobs.cluster import LocalCluster, local_cluster

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SMALL: dict[str, Any] = {"num_cpus": 1, "object_store_bytes": 100_000_000, "fast_serve": False}
# Starts a cluster, says where, and sleeps until a signal ends it.
HOLDER = f"""
import time
from jobs.cluster import local_cluster
with local_cluster(**{SMALL!r}) as cluster:
    print(cluster.temp_dir, flush=True)
    time.sleep(250)
"""


def run(cluster: LocalCluster, *command: str) -> subprocess.CompletedProcess[str]:
    """Runs a client of the cluster from the repository's root, with the cluster's environment."""
    return subprocess.run(
        command,
        cwd=ROOT,
        env=dict(cluster.env),
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


def processes_of(temp_dir: Path) -> list[psutil.Process]:
    """Processes with the cluster's folder on their command line, and all that descend from those."""
    found = {}
    for process in psutil.process_iter(["cmdline"]):
        if any(str(temp_dir) in argument for argument in process.info["cmdline"] or []):
            found[process.pid] = process
            try:
                found |= {child.pid: child for child in process.children(recursive=True)}
            except psutil.NoSuchProcess:
                continue
    return list(found.values())


def wait_until_gone(processes: list[psutil.Process], temp_dir: Path) -> None:
    _, alive = psutil.wait_procs(processes, timeout=40)
    assert alive == []
    give_up_at = time.monotonic() + 10
    while temp_dir.exists() and time.monotonic() < give_up_at:
        time.sleep(0.1)
    assert not temp_dir.exists()


def test_a_driver_reaches_the_cluster_through_its_environment_alone(cluster):
    done = run(
        cluster,
        sys.executable,
        "-c",
        "import ray; ray.init(); print(ray.get(ray.remote(lambda: 6 * 7).remote()))",
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == ["42"]


def test_a_submitted_job_sees_the_uploaded_aisle_in_driver_and_task(cluster):
    """Through infra/runtime_env.yaml; the path proves that the upload wins over an installed aisle."""
    source = (
        "import ray, platform; ray.init();"
        "where = lambda: (__import__('aisle').__file__, platform.python_version());"
        "print('driver', where()); print('task', ray.get(ray.remote(where).remote()))"
    )
    submit = ("ray", "job", "submit", "--working-dir", ".", "--runtime-env")
    done = run(cluster, *submit, "infra/runtime_env.yaml", "--", "python", "-c", source)
    assert done.returncode == 0, done.stdout + done.stderr
    for who in ("driver", "task"):
        (line,) = [line for line in done.stdout.splitlines() if line.startswith(who)]
        assert str(cluster.temp_dir) in line
        assert "py_modules_files" in line


def test_a_client_without_the_token_is_refused(cluster):
    stranger = {name: value for name, value in cluster.env.items() if "AUTH" not in name}
    done = subprocess.run(
        ["ray", "job", "list"],
        env=stranger | {"HOME": str(cluster.temp_dir)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode != 0
    assert "authentication" in (done.stdout + done.stderr).lower()


def test_nothing_is_left_after_the_raylet_was_killed_and_the_block_raised():
    with suppress(ZeroDivisionError), local_cluster(**SMALL) as running:
        temp_dir, processes = running.temp_dir, processes_of(running.temp_dir)
        (raylet,) = [process for process in processes if process.name() == "raylet"]
        raylet.kill()
        _ = 1 / 0
    assert len(processes) > 3
    wait_until_gone(processes, temp_dir)


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_after_the_holder_got(signum):
    path = os.pathsep.join([str(ROOT / "platform"), str(ROOT)])
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        env=os.environ | {"PYTHONPATH": path},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as holder:
        assert holder.stdout is not None
        temp_dir = Path(holder.stdout.readline().strip())
        processes = processes_of(temp_dir)
        assert len(processes) > 3
        holder.send_signal(signum)
    wait_until_gone(processes, temp_dir)


def test_a_failed_start_says_what_ray_printed_and_leaves_nothing(monkeypatch):
    before = set(Path(tempfile.gettempdir()).glob("aisle-*"))
    with (
        pytest.raises(JobFailed, match="object store"),
        local_cluster(num_cpus=1, object_store_bytes=1),
    ):
        pass
    assert set(Path(tempfile.gettempdir()).glob("aisle-*")) == before
