"""Keeps one command and everything that comes of it, and leaves nothing of it behind.

Run by `jobs.cluster` as `python supervise.py TEMP_DIR START_TIMEOUT_S COMMAND...`. It knows nothing about Ray: it
starts the command, writes one JSON line when that has ended, then waits until its standard input closes, stops every
process that descends from the command and removes TEMP_DIR.

Two decisions. It is a process of its own because the kernel closes its standard input however the parent ends,
`kill -9` included, so that cleaning up does not depend on the parent's signal handlers. And it makes itself the
reaper of orphans (`PR_SET_CHILD_SUBREAPER`), because `ray start` leaves its daemons behind and Ray renames its
workers: ancestry is the one mark that neither loses, and other clusters on the machine do not share it. Off Linux
there is no such call, and daemons are found only while their parent lives.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

PR_SET_CHILD_SUBREAPER = 36
STOP_GRACE_S = 3.0
KILL_LIMIT_S = 20.0


def main(temp_dir: Path, start_timeout_s: float, command: list[str]) -> int:
    """Runs `command`, reports, waits for the end of standard input, cleans up; 0 when nothing was left."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _let_go)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    try:
        print(json.dumps(_start(temp_dir, start_timeout_s, command)), flush=True)
        while not _parent_is_gone(wait_s=1.0):
            _reap()
    finally:
        left = stop_descendants()
        shutil.rmtree(temp_dir, ignore_errors=True)
    return len(left)


def _start(temp_dir: Path, timeout_s: float, command: list[str]) -> dict[str, object]:
    """Runs the command to its end; `{"returncode": ..., "output": last lines}`, returncode null when cut short."""
    log = (
        temp_dir / "start.log"
    )  # a file: the daemons inherit it, and a pipe would stay open with them
    with log.open("wb") as sink:
        started = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=sink, stderr=subprocess.STDOUT
        )
    give_up_at = time.monotonic() + timeout_s
    while started.poll() is None and time.monotonic() < give_up_at:
        if _parent_is_gone(wait_s=0.1):
            break
    output = log.read_text(encoding="utf-8", errors="replace")[-4000:]
    return {"returncode": started.returncode, "output": output}


def _parent_is_gone(wait_s: float) -> bool:
    """Whether standard input has ended, waiting up to `wait_s` for it."""
    try:
        readable, _, _ = select.select([0], [], [], wait_s)
        return bool(readable) and os.read(0, 1) == b""
    except OSError:  # closed by a signal
        return True


def stop_descendants() -> list[psutil.Process]:
    """Ends every descendant of this process, politely and then not; returns what survived both.

    The list is read again on every round: a raylet that is being stopped may still start a worker.
    """
    begun_s = time.monotonic()
    asked: set[psutil.Process] = set()
    while time.monotonic() - begun_s < KILL_LIMIT_S:
        _reap()
        alive = psutil.Process().children(recursive=True)
        if not alive:
            return []
        out_of_patience = time.monotonic() - begun_s > STOP_GRACE_S
        for process in alive:
            with contextlib.suppress(psutil.NoSuchProcess):
                if out_of_patience:
                    process.kill()
                elif process not in asked:
                    process.terminate()
        asked.update(alive)
        time.sleep(0.1)
    return list(psutil.Process().children(recursive=True))


def _let_go(*_: object) -> None:
    """Asked to stop: leaves by the same way as when the parent ends."""
    with contextlib.suppress(OSError):
        os.close(0)


def _reap() -> None:
    """Collects orphans that have ended, so that they do not count as running."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]))
