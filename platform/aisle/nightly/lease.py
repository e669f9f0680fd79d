"""The lease: one nightly run at a time, whoever starts a second one is told who is at work.

`runs/LEASE` is a pointer that changes by compare-and-swap. Every holder gets a fencing token one above the last one's,
and the object stays when a run ends, so a token never comes twice. A run that was paused for longer than its lease
finds another token there and stops before it moves CURRENT (Kleppmann, "How to do distributed locking", 2016).

A holder that died on this machine is known to be dead and succeeded at once, so that a run that was killed goes on
without waiting; anywhere else its lease has to expire. What "this machine" means takes the boot and the PID namespace
into account: two containers may share a host name, but not the meaning of a PID.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

from aisle.config import NightlyConfig
from aisle.errors import LeaseHeld, PointerMoved, StoreError
from aisle.store import Pointer, Store

logger = logging.getLogger(__name__)

LEASE = "runs/LEASE"
"""Name of the pointer."""

_RENEWALS = 3
"""Renewals within the lifetime of a lease: two may fail."""

Clock = Callable[[], float]
"""Seconds since 1970."""


@dataclass(frozen=True)
class Claim:
    """What the lease's object says. Times are seconds since 1970 by the holder's clock."""

    token: int
    holder: str
    """One run's own name, never used again."""
    host: str
    pid: int
    machine: str
    """Boot and PID namespace, empty where the system does not tell."""
    run_id: str
    acquired_s: float
    renewed_s: float
    expires_s: float
    released: bool = False

    def to_json(self) -> bytes:
        """One line."""
        return json.dumps(asdict(self), sort_keys=True).encode()

    @classmethod
    def from_json(cls, data: bytes, where: str) -> Claim:
        """Reads a claim; StoreError where it is not one."""
        try:
            return cls(**json.loads(data))
        except (ValueError, TypeError) as error:
            raise StoreError(
                f"{where}: not a lease ({error}); if no run is under way, delete it and start again"
            ) from error

    def is_free(self, now_s: float, clock_skew_s: float) -> bool:
        """May someone else take over? Released, expired by any clock within the skew, or its process is gone."""
        return self.released or now_s > self.expires_s + clock_skew_s or _is_dead(self)

    def __str__(self) -> str:
        run = f" for run {self.run_id}" if self.run_id else ""
        return (
            f"held by process {self.pid} on {self.host}{run} (token {self.token}) since {_at(self.acquired_s)}, "
            f"until {_at(self.expires_s)}"
        )


class Lease:
    """A lease that this process holds. Safe to use from several threads."""

    def __init__(self, store: Store, claim: Claim, ttl_s: float, clock: Clock) -> None:
        """See `acquire`."""
        self._store = store
        self._claim = claim
        self._ttl_s = ttl_s
        self._clock = clock
        self._lock = threading.Lock()
        self._lost: LeaseHeld | None = None

    @classmethod
    def acquire(
        cls, store: Store, *, ttl_s: float, clock_skew_s: float = 0.0, clock: Clock = time.time
    ) -> Lease:
        """Takes the lease if it is free.

        Raises:
            LeaseHeld: someone holds it, or was faster; says who, since when and until when.
            StoreReadOnly: the store has no compare-and-swap.
        """
        pointer, where = Pointer(store), f"{store.url}/{LEASE}"
        found = pointer.read(LEASE)
        now_s, token = clock(), 1
        if found.value is not None:
            before = Claim.from_json(found.value, where)
            _require_free(before, where, now_s, ttl_s, clock_skew_s)
            if not before.released:
                logger.warning("the lease was %s and not renewed; taking it over", before)
            token = before.token + 1
        claim = Claim(
            token=token,
            holder=uuid.uuid4().hex,
            host=socket.gethostname(),
            pid=os.getpid(),
            machine=_machine(),
            run_id="",
            acquired_s=now_s,
            renewed_s=now_s,
            expires_s=now_s + ttl_s,
        )
        try:
            pointer.swap(LEASE, found.version, claim.to_json())
        except PointerMoved as error:
            winner = read_claim(store)
            raise LeaseHeld(_held(where, winner, float("inf"))) from error
        return cls(store, claim, ttl_s, clock)

    @property
    def token(self) -> int:
        """The fencing token: larger than that of every run before."""
        return self._claim.token

    def name_run(self, run_id: str) -> None:
        """Says which run it is for, so that nobody prunes what that run has made."""
        self._write(run_id=run_id)

    def renew(self) -> None:
        """Proves that the lease is still ours and prolongs it.

        An expired lease that nobody took over is still ours. LeaseHeld where someone did.
        """
        self._write()

    def require(self) -> None:
        """Raises LeaseHeld where a renewal has found the lease lost; asks nobody."""
        if self._lost is not None:
            raise self._lost

    def release(self) -> None:
        """Lets the next run begin at once. One that is lost or unreachable is left to expire."""
        try:
            self._write(released=True)
        except StoreError as error:
            logger.warning("the lease was not released: %s", error)

    def _write(self, *, run_id: str | None = None, released: bool = False) -> None:
        pointer, where = Pointer(self._store), f"{self._store.url}/{LEASE}"
        with self._lock:
            self.require()
            found = pointer.read(LEASE)
            there = Claim.from_json(found.value, where) if found.value is not None else None
            if there is None or there.holder != self._claim.holder:
                self._lost = LeaseHeld(_lost(where, self.token, there))
                raise self._lost
            now_s = self._clock()
            claim = replace(
                self._claim,
                run_id=self._claim.run_id if run_id is None else run_id,
                renewed_s=now_s,
                expires_s=now_s + self._ttl_s,
                released=released,
            )
            try:
                pointer.swap(LEASE, found.version, claim.to_json())
            except PointerMoved as error:
                self._lost = LeaseHeld(_lost(where, self.token, read_claim(self._store)))
                raise self._lost from error
            self._claim = claim


@contextmanager
def held(store: Store, config: NightlyConfig, clock: Clock = time.time) -> Iterator[Lease]:
    """Holds the lease during a block: renewed in a background thread, released at the end, also after an error."""
    lease = Lease.acquire(
        store, ttl_s=config.lease_ttl_s, clock_skew_s=config.clock_skew_s, clock=clock
    )
    done = threading.Event()
    thread = threading.Thread(
        target=_keep,
        args=(lease, done.wait, config.lease_ttl_s / _RENEWALS),
        name="lease",
        daemon=True,
    )
    thread.start()
    try:
        yield lease
    finally:
        done.set()
        thread.join(timeout=config.lease_ttl_s)
        lease.release()


def require_free(store: Store, config: NightlyConfig, clock: Clock = time.time) -> None:
    """Raises LeaseHeld where a run could not begin now: to say so before a cluster is started for it."""
    claim = read_claim(store)
    if claim is not None:
        where = f"{store.url}/{LEASE}"
        _require_free(claim, where, clock(), config.lease_ttl_s, config.clock_skew_s)


def read_claim(store: Store) -> Claim | None:
    """What the lease says, none where no run has ever been."""
    value = Pointer(store).read(LEASE).value
    return Claim.from_json(value, f"{store.url}/{LEASE}") if value is not None else None


def _keep(lease: Lease, wait: Callable[[float], bool], every_s: float) -> None:
    """Renews until told to stop or the lease is lost. An unreachable store is tried again, as it may come back."""
    while not wait(every_s):
        try:
            lease.renew()
        except LeaseHeld as error:
            logger.error("%s", error)
            return
        except StoreError as error:
            logger.warning("the lease could not be renewed: %s", error)


def _require_free(
    claim: Claim, where: str, now_s: float, ttl_s: float, clock_skew_s: float
) -> None:
    if not claim.is_free(now_s, clock_skew_s):
        raise LeaseHeld(_held(where, claim, now_s + ttl_s + clock_skew_s))


def _held(where: str, claim: Claim | None, latest_s: float) -> str:
    if claim is None:
        return f"{where}: taken by another run this moment; start again"
    message = (
        f"{where}: {claim}; wait for that run or stop it, a dead one's lease expires by itself"
    )
    if claim.expires_s > latest_s:
        ahead_s = claim.expires_s - latest_s
        message += (
            f". Its clock is at least {ahead_s:.0f} s ahead of this one, or its lease is longer"
        )
    return message


def _lost(where: str, token: int, now: Claim | None) -> str:
    taken = f"it is now {now}" if now else "it was deleted"
    return (
        f"{where}: this run's lease (token {token}) was not renewed in time and {taken}. Nothing was published; "
        "start again when that run has ended: what is done is kept"
    )


def _is_dead(claim: Claim) -> bool:
    """Is it certain that the holder's process has ended? Only its own machine can tell."""
    return bool(claim.machine and claim.machine == _machine() and not _is_running(claim.pid))


def _is_running(pid: int) -> bool:
    """Whether a process runs; one that was killed and that its parent has not collected yet does not."""
    try:
        os.kill(pid, 0)  # /proc may hide the processes of other users
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    except ProcessLookupError:
        return False
    except OSError:
        return True
    return stat.rpartition(")")[2].split()[0] not in ("Z", "X")


def _machine() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
        return f"{boot}/{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _at(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
