"""The store and its pointers against an S3 server over real HTTP: moto's, started here.

Moto checks a put's condition and stores the object in two steps, which S3 does in one; puts are therefore let through
one at a time. Faults come from a layer in front of it: an answer lost after the work is done, a server that is busy.
"""

import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

from aisle.catalog import ColumnMap, plan_units, read_unit, source_fingerprint
from aisle.errors import CatalogError, LeaseHeld, PointerMoved, SnapshotError, StoreError
from aisle.nightly.lease import Lease
from aisle.store import ABSENT, Pointer, Retry, Store, sha256_of

QUICK = Retry(budget_s=10.0, first_wait_s=0.01, max_wait_s=0.1)

App = Callable[[dict[str, Any], Callable[..., Any]], Any]


class Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


@dataclass
class Server:
    """Moto behind a layer that can go wrong on request."""

    app: App
    endpoint: str = ""
    lose_answers: int = 0
    refuse: list[tuple[str, str]] = field(default_factory=list)
    puts: int = 0
    one_put: threading.Lock = field(default_factory=threading.Lock)

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        if environ["REQUEST_METHOD"] != "PUT":
            return self.app(environ, start)
        with self.one_put:
            self.puts += 1
            if self.refuse:
                return self._refusal(start)
            if not self.lose_answers:
                return list(self.app(environ, start))
            self.lose_answers -= 1
            list(self.app(environ, lambda *_: None))
            start("503 Service Unavailable", [("Content-Type", "application/xml")])
            return [b"<Error><Code>ServiceUnavailable</Code></Error>"]

    def _refusal(self, start: Callable[..., Any]) -> list[bytes]:
        status, code = self.refuse.pop()
        start(status, [("Content-Type", "application/xml")])
        return [f"<Error><Code>{code}</Code><Message>no</Message></Error>".encode()]

    def options(self) -> dict[str, Any]:
        return {"endpoint_url": self.endpoint, "key": "test", "secret": "test"}


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    server = Server(DomainDispatcherApplication(create_backend_app))
    http = make_server("127.0.0.1", 0, server, threaded=True, request_handler=Quiet)
    server.endpoint = f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, daemon=True)
    thread.start()
    yield server
    http.shutdown()
    thread.join()
    http.server_close()


@pytest.fixture
def server(running: Server) -> Server:
    running.lose_answers, running.refuse, running.puts = 0, [], 0
    return running


@pytest.fixture
def store(server: Server) -> Store:
    bucket = f"shop-{uuid.uuid4().hex[:8]}"
    store = Store.open(f"s3://{bucket}/aisle", server.options(), retry=QUICK)
    store.locate()[0].mkdir(bucket)
    return store


def test_what_is_written_is_read_listed_and_deleted(store: Store) -> None:
    store.write_bytes("a/b.bin", b"content")
    store.write_bytes("a/c/d.bin", b"")
    store.write_bytes("a/b.bin", b"content!")
    assert store.read_bytes("a/b.bin") == b"content!"
    assert store.find_bytes("a/gone") is None
    assert store.size_bytes("a/b.bin") == 8
    assert abs(store.modified_s("a/b.bin") - time.time()) < 60
    assert store.list() == ("a/b.bin", "a/c/d.bin")
    assert store.folders("a") == ("c",)
    assert store.exists("a")
    store.delete("a/b.bin")
    store.delete("a/b.bin")
    assert store.list("a") == ("a/c/d.bin",)
    store.delete("a", recursive=True)
    store.delete("a", recursive=True)
    assert not store.exists("a")
    with pytest.raises(
        StoreError, match=r"s3://shop-.*/aisle/gone: cannot read .*nothing is there"
    ):
        store.read_bytes("gone")


def test_what_another_client_writes_is_seen_at_once(store: Store, server: Server) -> None:
    other = Store.open(store.url, server.options() | {"default_fill_cache": False})
    assert store.list("a") == ()
    other.write_bytes("a/b", b"1")
    assert store.list("a") == ("a/b",)
    other.write_bytes("a/b", b"22")
    assert store.size_bytes("a/b") == 2
    other.delete("a/b")
    assert not store.exists("a/b")


def test_files_are_put_and_fetched_verified(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "big").write_bytes(bytes(range(256)) * 80_000)  # 20 MB: more than one chunk
    (record,) = store.put_tree(source, "snap")
    target = store.fetch("snap/big", tmp_path / "cache" / "big", record.sha256, record.size_bytes)
    assert sha256_of(target) == record.sha256
    store.write_bytes("snap/big", b"damaged")
    with pytest.raises(SnapshotError, match=f"damaged: 7 bytes .*{record.sha256}"):
        store.fetch("snap/big", tmp_path / "again", record.sha256, record.size_bytes)
    with pytest.raises(SnapshotError, match="not there"):
        store.fetch("snap/gone", tmp_path / "again", record.sha256, record.size_bytes)
    assert not (tmp_path / "again").exists()


def test_a_busy_server_is_tried_again(store: Store, server: Server) -> None:
    server.refuse = [("503 Slow Down", "SlowDown")] * 3
    store.write_bytes("a", b"1")
    assert store.read_bytes("a") == b"1"


def test_a_forbidden_write_is_not_tried_again(store: Store, server: Server) -> None:
    server.refuse = [("403 Forbidden", "AccessDenied")] * 2
    with pytest.raises(
        StoreError, match="read-only for this user: check its rights or credentials"
    ):
        store.write_bytes("a", b"1")
    assert len(server.refuse) == 1


def test_a_missing_bucket_is_a_store_error(server: Server) -> None:
    store = Store.open("s3://no-such-bucket/aisle", server.options(), retry=QUICK)
    with pytest.raises(StoreError, match="s3://no-such-bucket/aisle/CURRENT: cannot read"):
        Pointer(store).read("CURRENT")
    with pytest.raises(StoreError, match="cannot write"):
        store.write_bytes("a", b"1")


def test_an_unreachable_endpoint_is_a_store_error_within_the_budget() -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{free.getsockname()[1]}"
    options = {"endpoint_url": endpoint, "key": "test", "secret": "test"}
    store = Store.open("s3://shop/aisle", options, retry=Retry(budget_s=1.0))
    for act in (
        lambda: store.read_bytes("a"),
        lambda: store.write_bytes("a", b""),
        lambda: store.list(),
        lambda: Pointer(store).read("CURRENT"),
        lambda: Pointer(store).swap("CURRENT", ABSENT, b"x"),
    ):
        start = time.monotonic()
        with pytest.raises(StoreError, match=r"s3://shop/aisle.*check network and endpoint"):
            act()
        assert time.monotonic() - start < 10


# -- pointers -------------------------------------------------------------------------------------------------------


def test_a_pointer_is_swapped_only_from_the_version_in_place(store: Store) -> None:
    pointer = Pointer(store)
    assert pointer.read("CURRENT").version == ABSENT
    first = pointer.swap("CURRENT", ABSENT, b"one")
    assert pointer.read("CURRENT").version == first
    second = pointer.swap("CURRENT", first, b"two")
    for stale in (ABSENT, first):
        with pytest.raises(PointerMoved, match="changed by someone else.*holding 'two'"):
            pointer.swap("CURRENT", stale, b"three")
    found = pointer.read("CURRENT")
    assert (found.value, found.version) == (b"two", second)
    assert store.read_bytes("CURRENT") == b"two"
    store.delete("CURRENT")
    with pytest.raises(PointerMoved, match="holding nothing"):
        pointer.swap("CURRENT", second, b"three")


@pytest.mark.parametrize("is_there", [False, True])
def test_of_concurrent_swappers_of_the_same_value_exactly_one_wins(
    store: Store, is_there: bool
) -> None:
    pointer = Pointer(store)
    expected = pointer.swap("CURRENT", ABSENT, b"zero") if is_there else ABSENT
    barrier = threading.Barrier(4)

    def swap(_: int) -> bool:
        barrier.wait()
        try:
            pointer.swap("CURRENT", expected, b"same")
        except PointerMoved:
            return False
        return True

    with ThreadPoolExecutor(4) as pool:
        assert sorted(pool.map(swap, range(4))) == [False, False, False, True]


def test_fifty_increments_from_four_threads_lose_none(store: Store) -> None:
    def increment(times: int) -> None:
        pointer, done = Pointer(store), 0
        while done < times:
            found = pointer.read("counter")
            try:
                pointer.swap("counter", found.version, b"%d" % (int(found.value or b"0") + 1))
            except PointerMoved:
                continue
            done += 1

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(increment, (13, 13, 12, 12)))
    assert Pointer(store).read("counter").value == b"50"


def test_a_swap_whose_answer_was_lost_is_known_for_our_own(store: Store, server: Server) -> None:
    pointer = Pointer(store)
    first = pointer.swap("CURRENT", ABSENT, b"one")
    server.lose_answers, server.puts = 1, 0
    second = pointer.swap("CURRENT", first, b"two")
    assert server.puts == 2  # the second one was refused: the value was there already
    found = pointer.read("CURRENT")
    assert (found.value, found.version) == (b"two", second)


def test_a_swap_refused_while_a_rival_is_in_flight_is_tried_again(
    store: Store, server: Server
) -> None:
    pointer = Pointer(store)
    first = pointer.swap("CURRENT", ABSENT, b"one")
    server.refuse = [("409 Conflict", "ConditionalRequestConflict")] * 2
    pointer.swap("CURRENT", first, b"two")
    assert pointer.read("CURRENT").value == b"two"


def test_a_swap_refused_because_the_rival_won_has_moved(store: Store, server: Server) -> None:
    pointer = Pointer(store)
    first = pointer.swap("CURRENT", ABSENT, b"one")
    pointer.swap("CURRENT", first, b"two")
    server.refuse = [("409 Conflict", "ConditionalRequestConflict")]
    with pytest.raises(PointerMoved, match="holding 'two'"):
        pointer.swap("CURRENT", first, b"three")


# -- the catalogue ----------------------------------------------------------------------------------------------------


def test_a_catalogue_is_read_from_s3_and_a_replaced_file_is_noticed(
    store: Store, server: Server
) -> None:
    columns = ColumnMap.model_validate({"product_id": "id", "title": "name"})
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"id": [1, 2], "name": ["a", "b"]}), sink)
    store.write_bytes("in/a.parquet", sink.getvalue().to_pybytes())
    units = plan_units(f"{store.url}/in/", server.options())
    products = [m.products for u in units for m in read_unit(u, columns, 10, server.options())]
    assert pa.concat_tables(products)["product_id"].to_pylist() == ["1", "2"]
    before = source_fingerprint(units[0], server.options())
    assert before == source_fingerprint(units[0], server.options())
    store.write_bytes("in/a.parquet", b"replaced")
    assert source_fingerprint(units[0], server.options()) != before
    with pytest.raises(CatalogError, match=r"s3://.*in/gone.csv: not found"):
        plan_units(f"{store.url}/in/gone.csv", server.options())


def test_the_lease_on_s3_has_one_holder_and_its_tokens_rise(store: Store) -> None:
    lease = Lease.acquire(store, ttl_s=60)
    lease.name_run("shop-0123456789ab")
    lease.renew()
    with pytest.raises(LeaseHeld, match=r"for run shop-0123456789ab \(token 1\)"):
        Lease.acquire(store, ttl_s=60)
    late = Lease.acquire(store, ttl_s=60, clock=lambda: time.time() + 61)
    assert late.token == 2
    with pytest.raises(LeaseHeld, match="token 2"):
        lease.renew()
    late.release()
    assert Lease.acquire(store, ttl_s=60).token == 3
