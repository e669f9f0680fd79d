"""One run at a time: who holds the lease, who may take it over, and that a token never comes twice."""

from __future__ import annotations

import os
import signal
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from aisle.config import NightlyConfig, Settings
from aisle.errors import LeaseHeld, StoreError, StoreReadOnly
from aisle.nightly.lease import LEASE, Claim, Lease, held, read_claim, require_free
from aisle.nightly.publish import live_or_none
from aisle.snapshot import Manifest
from aisle.store import Pointer, Retry, Store
from tests.shop import library_of, run_night, sample, write_source


class Clock:
    """Seconds that pass only when told to."""

    def __init__(self, now_s: float = 1_800_000_000.0) -> None:
        self.now_s = now_s

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store.open(str(tmp_path / "store"), retry=Retry(budget_s=0.0))


@pytest.fixture
def clock() -> Clock:
    return Clock()


def claim_of(store: Store) -> Claim:
    claim = read_claim(store)
    assert claim is not None
    return claim


def put(store: Store, claim: Claim) -> None:
    pointer = Pointer(store)
    pointer.swap(LEASE, pointer.read(LEASE).version, claim.to_json())


def test_a_second_run_is_told_who_holds_the_lease_since_when_and_until_when(
    store: Store, clock: Clock
) -> None:
    lease = Lease.acquire(store, ttl_s=60, clock=clock)
    lease.name_run("shop-0123456789ab")
    clock.now_s += 30
    with pytest.raises(LeaseHeld) as caught:
        Lease.acquire(store, ttl_s=60, clock=clock)
    message = str(caught.value)
    claim = claim_of(store)
    assert f"process {os.getpid()} on {claim.host} for run shop-0123456789ab" in message
    assert "since 2027-01-15T08:00:00+00:00, until 2027-01-15T08:01:00+00:00" in message


def test_a_released_lease_is_free_and_its_successor_has_the_next_token(
    store: Store, clock: Clock
) -> None:
    tokens = []
    for _ in range(3):
        lease = Lease.acquire(store, ttl_s=60, clock=clock)
        tokens.append(lease.token)
        lease.release()
    assert tokens == [1, 2, 3]


@pytest.mark.parametrize(
    ("passed_s", "skew_s", "free"),
    [
        (59, 0, False),
        (61, 0, True),
        (61, 5, False),  # our clock may be ahead of the holder's
        (66, 5, True),
    ],
)
def test_a_dead_holders_lease_expires(
    store: Store, clock: Clock, passed_s: float, skew_s: float, free: bool
) -> None:
    Lease.acquire(store, ttl_s=60, clock=clock)
    clock.now_s += passed_s
    if free:
        assert Lease.acquire(store, ttl_s=60, clock_skew_s=skew_s, clock=clock).token == 2
    else:
        with pytest.raises(LeaseHeld):
            Lease.acquire(store, ttl_s=60, clock_skew_s=skew_s, clock=clock)


def test_a_renewed_lease_lives_on(store: Store, clock: Clock) -> None:
    lease = Lease.acquire(store, ttl_s=60, clock=clock)
    clock.now_s += 50
    lease.renew()
    clock.now_s += 50
    with pytest.raises(LeaseHeld, match="token 1"):
        Lease.acquire(store, ttl_s=60, clock=clock)


def test_a_holder_whose_lease_was_taken_over_notices_and_changes_nothing(
    store: Store, clock: Clock
) -> None:
    paused = Lease.acquire(store, ttl_s=60, clock=clock)
    clock.now_s += 61
    Lease.acquire(store, ttl_s=60, clock=clock)
    after = claim_of(store)
    paused.require()  # it does not know yet
    with pytest.raises(
        LeaseHeld, match=r"token 1\) was not renewed in time and it is now .*token 2"
    ):
        paused.renew()
    with pytest.raises(LeaseHeld):
        paused.require()
    paused.release()
    assert claim_of(store) == after


def test_an_expired_lease_that_nobody_took_over_is_renewed(store: Store, clock: Clock) -> None:
    lease = Lease.acquire(store, ttl_s=60, clock=clock)
    clock.now_s += 600
    lease.renew()
    assert claim_of(store).expires_s == clock.now_s + 60


def test_a_holder_that_is_certainly_dead_is_succeeded_at_once(store: Store, clock: Clock) -> None:
    Lease.acquire(store, ttl_s=60, clock=clock)
    pid = os.posix_spawn("/bin/true", ["true"], {})
    os.waitpid(pid, 0)  # gone, and its number is not given again so soon
    put(store, replace(claim_of(store), pid=pid))
    assert Lease.acquire(store, ttl_s=60, clock=clock).token == 2


def test_a_holder_that_was_killed_and_not_yet_collected_by_its_parent_is_dead(
    store: Store, clock: Clock
) -> None:
    Lease.acquire(store, ttl_s=60, clock=clock)
    pid = os.posix_spawn("/bin/sleep", ["sleep", "60"], {})
    try:
        put(store, replace(claim_of(store), pid=pid))
        with pytest.raises(LeaseHeld, match=f"process {pid}"):
            Lease.acquire(store, ttl_s=60, clock=clock)
        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)  # it has ended, and stays a zombie
        assert Lease.acquire(store, ttl_s=60, clock=clock).token == 2
    finally:
        os.waitpid(pid, 0)


def test_a_process_of_that_number_on_another_machine_says_nothing_and_its_lease_expires(
    store: Store, clock: Clock
) -> None:
    Lease.acquire(store, ttl_s=60, clock=clock)
    put(store, replace(claim_of(store), pid=2**22 + 1, machine="another boot/pid:[1]"))
    with pytest.raises(LeaseHeld, match="another boot|process 4194305"):
        Lease.acquire(store, ttl_s=60, clock=clock)
    clock.now_s += 61
    assert Lease.acquire(store, ttl_s=60, clock=clock).token == 2


def test_a_holders_clock_that_is_far_ahead_is_named(store: Store, clock: Clock) -> None:
    ahead = Clock(clock.now_s + 3600)
    Lease.acquire(store, ttl_s=60, clock=ahead)
    with pytest.raises(LeaseHeld, match="clock is at least 3595 s ahead"):
        Lease.acquire(store, ttl_s=60, clock_skew_s=5, clock=clock)


def test_of_many_that_start_at_once_one_gets_the_lease(store: Store) -> None:
    barrier, got, refused = threading.Barrier(8), [], []

    def start() -> None:
        barrier.wait()
        try:
            got.append(Lease.acquire(store, ttl_s=60).token)
        except LeaseHeld as error:
            refused.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert got == [1]
    assert len(refused) == 7


def test_the_lease_is_renewed_while_the_block_runs(store: Store) -> None:
    with held(store, NightlyConfig(lease_ttl_s=0.3)):
        first = claim_of(store)
        deadline = time.monotonic() + 10
        while claim_of(store).renewed_s == first.renewed_s and time.monotonic() < deadline:
            time.sleep(0.02)
        assert claim_of(store).expires_s > first.expires_s
    assert claim_of(store).released


def test_the_lease_is_released_after_an_error(store: Store) -> None:
    def work() -> None:
        with held(store, NightlyConfig()):
            raise RuntimeError("boom")

    with pytest.raises(RuntimeError, match="boom"):
        work()
    assert claim_of(store).released


def test_whether_a_run_could_begin_is_known_without_taking_the_lease(
    store: Store, clock: Clock
) -> None:
    config = NightlyConfig(lease_ttl_s=60)
    require_free(store, config, clock)
    lease = Lease.acquire(store, ttl_s=60, clock=clock)
    with pytest.raises(LeaseHeld, match="token 1"):
        require_free(store, config, clock)
    lease.release()
    require_free(store, config, clock)
    assert claim_of(store).token == 1


def test_an_object_that_is_no_lease_is_named(store: Store) -> None:
    store.write_bytes(LEASE, b"{}")
    with pytest.raises(StoreError, match=r"runs/LEASE: not a lease.*delete it"):
        Lease.acquire(store, ttl_s=60)


def test_a_store_without_compare_and_swap_has_no_lease() -> None:
    with pytest.raises(StoreReadOnly):
        Lease.acquire(Store.open("memory://lease"), ttl_s=60)


def test_two_nights_at_once(settings: Settings) -> None:
    """The second starts while the first is being judged."""
    seen: list[str] = []

    def judge(_: Manifest) -> None:
        with pytest.raises(LeaseHeld, match=rf"process {os.getpid()} on .* for run test-[0-9a-f]+"):
            run_night(settings)
        seen.append("refused")

    assert run_night(settings, judge=judge)["published"]
    assert seen == ["refused"]
    assert run_night(settings)["unchanged"]  # the lease is free again


def test_a_night_that_lost_its_lease_does_not_publish(settings: Settings, source: Path) -> None:
    first = run_night(settings)["snapshot"]
    store = library_of(settings).store

    def judge(_: Manifest) -> None:
        put(store, replace(claim_of(store), token=7, holder="another", host="elsewhere"))

    write_source(source, sample().products.slice(0, 290))
    with pytest.raises(LeaseHeld, match=r"elsewhere.*token 7.*Nothing was published"):
        run_night(settings, judge=judge)
    assert live_or_none(library_of(settings)) == first
    assert claim_of(store).holder == "another"
