"""Two processes publish at once: both have read the same CURRENT, one of them moves it, the other one says so."""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.shop import library_of, live, run_night, sample, settings_for, write_source

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(180)


def waits_for(process: subprocess.Popen[str], lock: Path) -> bool:
    """Whether a process has the lock's file open: it has read CURRENT and is about to swap."""
    for descriptor in Path(f"/proc/{process.pid}/fd").iterdir():
        with suppress(OSError):
            if os.readlink(descriptor) == str(lock):
                return True
    return False


def test_of_two_processes_that_publish_at_once_one_wins_and_the_other_names_it(
    tmp_path: Path,
) -> None:
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 60))
    settings = settings_for(tmp_path, source)
    run_night(settings)
    snapshots = []
    for n_products in (61, 62):
        write_source(source, sample().products.slice(0, n_products))
        snapshots.append(run_night(settings, until="evaluate")["snapshot"])
    before = live(settings).snapshot_id
    lock = Path(settings.store) / ".CURRENT.lock"
    command = [sys.executable, "-m", "jobs.publish", "--config", "configs/local.yaml"]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT / "platform"), str(ROOT)])}
    with lock.open("ab") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        publishers = [
            subprocess.Popen(
                [*command, "--set", f"store={settings.store}", "--snapshot", each],
                cwd=ROOT,
                env=environment,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                text=True,
            )
            for each in snapshots
        ]
        give_up_at = time.monotonic() + 90
        while not all(waits_for(each, lock) for each in publishers):
            assert all(each.poll() is None for each in publishers)
            assert time.monotonic() < give_up_at
            time.sleep(0.02)
        assert library_of(settings).current() == before
    said = [json.loads(each.communicate(timeout=60)[0].splitlines()[-1]) for each in publishers]
    assert sorted(each.returncode for each in publishers) == [0, 1]
    (won,) = [each for each in said if each["ok"]]
    (lost,) = [each for each in said if not each["ok"]]
    assert library_of(settings).current() == won["snapshot"]
    assert won["before"] == before
    assert lost["error"] == "PointerMoved"
    assert won["snapshot"] in lost["message"]
