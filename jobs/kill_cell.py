"""One cell of the kill matrix: a night on a real cluster, something killed inside one step, started again, looked at.

Nothing in the product knows about it: where a run stands is read from its folder in the store, and the moment between
a complete candidate and the swap of CURRENT is made long enough to hit by holding the lock that the swap waits for.
Kills are SIGKILL. `driver` is the job's own process, `worker` a process of Ray that is doing the step's work, and
`head` every process of the cluster at once.
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import psutil

from aisle.errors import AisleError, JobFailed
from aisle.snapshot import Library
from aisle.store import Store, sha256_of
from jobs.cluster import LocalCluster, local_cluster
from jobs.kill_shop import MADE, Shop
from jobs.kill_watch import Watch

ROOT = Path(__file__).resolve().parent.parent
VICTIMS = ("driver", "worker", "head")
AT_MOST_AGAIN = 0.02
"""Share of the rows embedded before the kill that may be embedded again."""
DRIVER_LIMIT_S = 900.0
END_LIMIT_S = 150.0
"""A driver whose cluster is gone has to end by itself within this time."""
SHORT_S = 0.002
EMBED_WORKERS = 2


@dataclass
class Cell:
    """What happened in one cell; `wrong` is empty where it held."""

    step: str
    victim: str
    killed: str = ""
    """What was killed, as the system called it."""
    parts: str = ""
    """Parts of the step that were done at the kill, of all."""
    first_status: int | None = None
    """How the disturbed attempt ended; negative numbers are signals."""
    ended_after_s: float = 0.0
    """How long after the kill."""
    attempts: int = 1
    embedded_before: int = 0
    """Rows with a marker when the kill came."""
    again: int = 0
    """Rows embedded again at most: those of parts made twice, and a whole part for every worker that was at one."""
    again_fraction: float = 0.0
    took_s: float = 0.0
    wrong: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """For the last line."""
        return asdict(self) | {"ok": not self.wrong}


class Clusters:
    """A cluster that is there when asked for, a new one after it was killed."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._running: LocalCluster | None = None

    def running(self) -> LocalCluster:
        """The cluster; three logical CPUs: two embedding workers and the tasks that feed them."""
        if self._running is not None and not _has_node(self._running):
            self.close()  # a process was killed that the node does not outlive
        if self._running is None:
            self._running = self._stack.enter_context(
                local_cluster(
                    num_cpus=3,
                    object_store_bytes=300_000_000,
                    fast_serve=False,
                    python_path=[ROOT, ROOT / "platform"],
                )
            )
        return self._running

    def kill(self) -> str:
        """Kills every process of the cluster at once, and collects what is left of it; says what was killed."""
        victims = processes_of(self.running())
        for process in victims:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        self.close()
        return f"{len(victims)} processes"

    def close(self) -> None:
        """Ends the cluster as `local_cluster` does."""
        self._running = None
        self._stack.close()


def processes_of(cluster: LocalCluster) -> list[psutil.Process]:
    """Processes with the cluster's folder on their command line, and all that descend from those."""
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["cmdline", "name"]):
        line = process.info["cmdline"] or []
        # The supervisor, which names the folder too, has to live on and clean up.
        if any(str(cluster.temp_dir) in each for each in line) and "supervise.py" not in str(line):
            with suppress(psutil.NoSuchProcess):
                found[process.pid] = process
                found |= {each.pid: each for each in process.children(recursive=True)}
    return list(found.values())


def _has_node(cluster: LocalCluster) -> bool:
    for process in processes_of(cluster):
        with suppress(psutil.NoSuchProcess):
            if process.name() == "raylet" and process.status() != psutil.STATUS_ZOMBIE:
                return True
    return False


def _workers(cluster: LocalCluster) -> Iterator[tuple[psutil.Process, str]]:
    """Worker processes with their titles: `ray::MapBatches(...)` or `ray::MapWorker(...)` while they map."""
    for process in processes_of(cluster):
        with suppress(psutil.NoSuchProcess, IndexError):
            title = process.cmdline()[0]
            if title.startswith("ray::"):
                yield process, title


def _kill_worker(cluster: LocalCluster, give_up_after_s: float = 1.0) -> str:
    """Kills a worker that maps, if none is seen to one that waits for work, else an agent of the node; its title.

    The driver judges and publishes by itself: in those steps no worker has anything to do.
    """
    started = time.monotonic()
    while (waited_s := time.monotonic() - started) < 3 * give_up_after_s:
        for process, title in _workers(cluster):
            if (
                "Map" in title
                or (waited_s > give_up_after_s and "Agent" not in title)
                or waited_s > 2 * give_up_after_s
            ):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
                    return title
    raise JobFailed("the cluster has no worker process to kill")


@dataclass
class Driver:
    """`python -m jobs.reindex` against a running cluster, its output in files."""

    process: subprocess.Popen[bytes]
    out: Path

    @classmethod
    def start(cls, shop: Shop, store: Path, judgments: str, cluster: LocalCluster) -> Driver:
        """Starts it, in a session of its own."""
        sets = [*shop.overrides, f"store={store}", f"evaluation.judgments={judgments}"]
        number = len(list(store.parent.glob(f"{store.name}.*.out")))
        out = store.parent / f"{store.name}.{number}.out"
        command = [sys.executable, "-m", "jobs.reindex", "--config", str(shop.config)]
        with out.open("wb") as stdout, out.with_suffix(".err").open("wb") as stderr:
            process = subprocess.Popen(
                [*command, *(word for each in sets for word in ("--set", each))],
                cwd=ROOT,
                # A driver that has lost its head node gives up after Ray's minute; the matrix need not wait for it.
                env={**cluster.env, "RAY_gcs_rpc_server_reconnect_timeout_s": "15"},
                stdin=subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )
        return cls(process, out)

    def wait(self, limit_s: float) -> int:
        """Its exit status; one that has not ended by then is killed, which is an error."""
        try:
            return self.process.wait(limit_s)
        except subprocess.TimeoutExpired as error:
            self.process.kill()
            self.process.wait()
            raise JobFailed(f"the driver had not ended after {limit_s:.0f} s") from error

    def wait_for(self, reached: Callable[[], bool]) -> None:
        """Waits until the run has come somewhere; JobFailed where the driver ended before."""
        give_up_at = time.monotonic() + DRIVER_LIMIT_S
        while not reached():
            if self.process.poll() is not None:
                raise JobFailed(f"ended before it could be killed: {self.last_words()}")
            if time.monotonic() > give_up_at:
                raise JobFailed(f"did not come to the step within {DRIVER_LIMIT_S:.0f} s")
            time.sleep(SHORT_S)

    def has_open(self, file: Path) -> bool:
        """Whether its process has a file open; a lock's file is open while the lock is waited for."""
        with suppress(OSError):
            for descriptor in Path(f"/proc/{self.process.pid}/fd").iterdir():
                with suppress(OSError):
                    if os.readlink(descriptor) == str(file):
                        return True
        return False

    def maps(self, name: str) -> bool:
        """Whether its process maps a file of that name."""
        with suppress(OSError):
            return f"/{name}\n" in Path(f"/proc/{self.process.pid}/maps").read_text()
        return False

    def last_line(self) -> dict[str, Any]:
        """The JSON of its last line; empty where it printed none."""
        lines = self.out.read_text().splitlines()
        with suppress(IndexError, ValueError):
            return dict(json.loads(lines[-1]))
        return {}

    def last_words(self) -> str:
        """The end of its standard error."""
        return self.out.with_suffix(".err").read_text(errors="replace")[-600:]


def kill_and_restart(
    shop: Shop, clusters: Clusters, step: str, victim: str, *, prepared: bool
) -> Cell:
    """Runs one cell; what is wrong with it is in the result, not raised."""
    cell, started = Cell(step, victim), time.monotonic()
    store = shop.new_store(f"{step}-{victim}", step, prepared=prepared)
    with Watch(store, shop.parent_id) as watch:
        try:
            _disturb(shop, clusters, cell, store, watch)
            if cell.first_status != 0:
                _restart(shop, clusters, cell, store)
        except JobFailed as error:
            cell.wrong.append(str(error))
    cell.wrong += watch.wrong
    cell.again += watch.rows_made_twice
    if cell.embedded_before:
        cell.again_fraction = round(cell.again / cell.embedded_before, 4)
    if step == "embed" and not 0 < cell.again_fraction <= AT_MOST_AGAIN:
        cell.wrong.append(f"{cell.again} of {cell.embedded_before} rows may be embedded again")
    try:
        cell.wrong += differences(shop, store)
    except AisleError as error:
        cell.wrong.append(str(error))
    cell.took_s = round(time.monotonic() - started, 1)
    return cell


def _disturb(shop: Shop, clusters: Clusters, cell: Cell, store: Path, watch: Watch) -> None:
    """The attempt in which something is killed, to its end."""
    cluster, lock = clusters.running(), store / ".CURRENT.lock"
    with _held(lock) if cell.step == "publish" else nullcontext():
        driver = Driver.start(shop, store, _judgments(shop, cell), cluster)
        try:
            if cell.step == "publish":  # the candidate is complete, and only the swap is left
                driver.wait_for(lambda: driver.has_open(lock))
            else:
                driver.wait_for(_point(shop, driver, cell.step, watch))
            _note(shop, cell, watch)
            if cell.victim == "driver":
                driver.process.kill()
                cell.killed = f"process {driver.process.pid}"
            elif cell.victim == "worker":
                cell.killed = _kill_worker(cluster)
            else:
                cell.killed = clusters.kill()
        except BaseException:
            driver.process.kill()
            driver.process.wait()
            raise
        killed_at = time.monotonic()
        if watch.current() != shop.parent_id:
            cell.wrong.append("CURRENT had moved before the kill")
    cell.first_status = driver.wait(END_LIMIT_S if cell.victim == "head" else DRIVER_LIMIT_S)
    cell.ended_after_s = round(time.monotonic() - killed_at, 1)
    if cell.victim == "worker" and cell.first_status != 0:
        cell.killed += f"; the driver said: {driver.last_line().get('message', '')[:200]}"


def _restart(shop: Shop, clusters: Clusters, cell: Cell, store: Path) -> None:
    """The attempt that has to end right."""
    cell.attempts += 1
    driver = Driver.start(shop, store, _judgments(shop, cell), clusters.running())
    status, said = driver.wait(DRIVER_LIMIT_S), driver.last_line()
    if status != 0 or not (said.get("published") or said.get("unchanged")):
        cell.wrong.append(f"started again it ended with {status}: {said or driver.last_words()}")


def _judgments(shop: Shop, cell: Cell) -> str:
    """Judging takes longest and belongs to one step."""
    return shop.judgments if cell.step == "evaluate" else "null"


def _point(shop: Shop, driver: Driver, step: str, watch: Watch) -> Callable[[], bool]:
    """Where the kill comes: half the step's parts are done, or what stands for that in a step without parts."""
    if step in MADE:
        return lambda: watch.parts_done(step) >= max(shop.parts[step] // 2, 1)
    # Evaluate: the candidate is assembled, and the driver has it open to judge it.
    return lambda: watch.is_assembled() and driver.maps("vectors.npy")


def _note(shop: Shop, cell: Cell, watch: Watch) -> None:
    """What was done just before the kill came, so that less seems to have been saved than was."""
    if cell.step in MADE:
        cell.parts = f"{watch.parts_done(cell.step)}/{shop.parts[cell.step]}"
    if cell.step == "embed":
        cell.embedded_before = watch.rows_embedded()
        left = shop.parts["embed"] - watch.parts_done("embed")
        at_work = 1 if cell.victim == "worker" else EMBED_WORKERS
        cell.again = min(at_work, left) * shop.part_rows


def differences(shop: Shop, store: Path) -> list[str]:
    """How what a store holds in the end differs from what the undisturbed night left; empty where it does not."""
    library = Library(Store.open(str(store)))
    live = library.current()
    if live == shop.parent_id:
        return ["nothing was published"]
    manifest = library.manifest(live)
    wrong = [f"manifest: {each}" for each in manifest.differences(shop.undisturbed)]
    for path, entry in manifest.files.items():
        if sha256_of(store / "snapshots" / entry.owner / path) != entry.sha256:
            wrong.append(f"{path}: not the bytes that the manifest names")
    own = {path for path, entry in manifest.files.items() if entry.owner == live}
    there = {name.split("/", 2)[2] for name in library.store.list(f"snapshots/{live}")}
    wrong += [f"{path}: left behind" for path in sorted(there - own - {"manifest.json"})]
    return wrong + [f"runs/{each}: left behind" for each in library.store.folders("runs")]


@contextmanager
def _held(lock: Path) -> Iterator[None]:
    """Holds the lock that a swap of CURRENT waits for."""
    with lock.open("ab") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield
