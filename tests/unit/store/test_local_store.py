"""The store and its pointers on a local disk and in memory; S3 is in tests/store."""

import errno
import os
import pickle
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path

import pytest

from aisle.errors import PointerMoved, SnapshotError, StoreError, StoreReadOnly
from aisle.store import ABSENT, Pointer, Retry, Store, sha256_of
from aisle.store.failures import store_error
from aisle.store.files import whole_file

ONCE = Retry(budget_s=0.0)


@pytest.fixture(params=["local", "file URL", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    url = {
        "local": str(tmp_path / "store"),
        "file URL": f"file://{tmp_path}/store",
        "memory": f"memory://{tmp_path.name}/store",
    }[request.param]
    return Store.open(url)


def test_what_is_written_is_read_listed_and_deleted(store: Store, tmp_path: Path) -> None:
    record = store.write_bytes("a/b.bin", b"content")
    assert (record.name, record.size_bytes) == ("a/b.bin", 7)
    assert record.sha256 == sha256(b"content").hexdigest()
    store.write_bytes("a/c/d.bin", b"")
    store.write_bytes("e.bin", b"x")
    assert store.read_bytes("a/b.bin") == b"content"
    assert store.find_bytes("a/b.bin") == b"content"
    assert store.size_bytes("a/b.bin") == 7
    assert store.modified_s("a/b.bin") > 1.7e9
    assert store.list() == ("a/b.bin", "a/c/d.bin", "e.bin")
    assert store.list("a") == ("a/b.bin", "a/c/d.bin")
    assert store.folders() == ("a",)
    assert store.folders("a") == ("c",)
    assert store.exists("a/b.bin")
    assert store.exists("a")
    store.delete("e.bin")
    store.delete("a", recursive=True)
    assert store.list() == ()
    assert not store.exists("a/b.bin")


def test_what_is_not_there(store: Store) -> None:
    assert not store.exists("gone")
    assert store.find_bytes("gone") is None
    assert store.list("gone") == ()
    assert store.folders("gone") == ()
    store.delete("gone")
    store.delete("gone", recursive=True)
    for act in (store.read_bytes, store.size_bytes, store.modified_s):
        with pytest.raises(StoreError, match=rf"{store.url}/gone: cannot .*nothing is there"):
            act("gone")


def test_a_tree_is_put_and_fetched_back(store: Store, tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "sub").mkdir(parents=True)
    (source / "one").write_bytes(b"1" * 3_000_000)
    (source / "sub" / "two").write_bytes(b"")
    records = store.put_tree(source, "snap")
    assert [r.name for r in records] == ["snap/one", "snap/sub/two"]
    assert records[0].sha256 == sha256_of(source / "one")
    for record in records:
        target = tmp_path / "cache" / record.name
        assert store.fetch(record.name, target, record.sha256, record.size_bytes) == target
        assert sha256_of(target) == record.sha256


def test_a_damaged_file_is_not_fetched_and_both_hashes_are_named(
    store: Store, tmp_path: Path
) -> None:
    record = store.write_bytes("part", b"right")
    store.write_bytes("part", b"wrong")
    target = tmp_path / "cache" / "part"
    with pytest.raises(SnapshotError) as caught:
        store.fetch("part", target, record.sha256, record.size_bytes)
    message = str(caught.value)
    assert f"{store.url}/part: damaged" in message
    assert record.sha256 in message
    assert sha256(b"wrong").hexdigest() in message
    assert os.listdir(target.parent) == []


def test_a_file_cut_short_and_a_missing_one_are_not_fetched(store: Store, tmp_path: Path) -> None:
    record = store.write_bytes("part", b"whole")
    store.write_bytes("part", b"who")
    with pytest.raises(SnapshotError, match="3 bytes .* the manifest says 5 bytes"):
        store.fetch("part", tmp_path / "x", record.sha256, record.size_bytes)
    store.delete("part")
    with pytest.raises(SnapshotError, match="the manifest names it, but it is not there"):
        store.fetch("part", tmp_path / "x", record.sha256, record.size_bytes)
    assert not (tmp_path / "x").exists()


def test_a_store_crosses_a_process_as_url_and_options(store: Store) -> None:
    store.write_bytes("a", b"1")
    assert pickle.loads(pickle.dumps(store)) == store
    assert pickle.loads(pickle.dumps(store)).read_bytes("a") == b"1"


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/passwd"])
def test_names_do_not_leave_the_store(store: Store, name: str) -> None:
    for act in (store.read_bytes, store.delete, store.list, lambda n: store.write_bytes(n, b"")):
        with pytest.raises(StoreError, match="leaves the store"):
            act(name)


@pytest.mark.parametrize("name", ["", "/"])
def test_the_whole_store_is_not_deleted(store: Store, name: str) -> None:
    with pytest.raises(StoreError):
        store.delete(name, recursive=True)


def test_a_relative_path_is_taken_from_the_folder_of_opening(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    store = Store.open("data/store")
    assert store.url == str(tmp_path / "data/store")
    assert store.local_path("a/b") == tmp_path / "data/store/a/b"


@pytest.mark.parametrize("url", ["nosuch://bucket/x", "s4://bucket", ""])
def test_an_unknown_protocol_is_a_store_error(url: str) -> None:
    with pytest.raises(StoreError, match="cannot open the store .*use a local path, s3://"):
        Store.open(url)


# -- a disk that says no: root ignores file modes, so the kernel has to refuse ---------------------------------------


def test_a_store_below_a_file_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    store = Store.open(str(tmp_path / "file" / "store"), retry=ONCE)
    with pytest.raises(StoreError, match="a file stands where a folder should be"):
        store.write_bytes("a", b"")
    with pytest.raises(StoreError, match="a file stands where a folder should be"):
        Pointer(store).swap("CURRENT", ABSENT, b"x")
    assert store.list() == ()
    assert not store.exists("a")


def test_a_store_that_may_not_be_written_says_so() -> None:
    store = Store.open("/proc/sys/kernel")
    with pytest.raises(StoreError, match=r"/proc/sys/kernel/a: cannot write .*check"):
        store.write_bytes("a", b"x")
    with pytest.raises(StoreError, match=r"/proc/sys/kernel/CURRENT: cannot write"):
        Pointer(store).swap("CURRENT", ABSENT, b"x")


NEXT_STEPS = {
    "full disk": (OSError(errno.ENOSPC, "No space left on device"), "free some space"),
    "read-only mount": (OSError(errno.EROFS, "Read-only file system"), "choose another store"),
    "forbidden": (PermissionError(errno.EACCES, "Permission denied"), "check its rights"),
    "outage": (TimeoutError("no answer"), "check network and endpoint"),
    "anything else": (OSError(errno.ENAMETOOLONG, "File name too long"), "check the store's URL"),
}


@pytest.mark.parametrize("scenario", NEXT_STEPS)
def test_an_error_says_where_why_and_what_next(scenario: str) -> None:
    error, step = NEXT_STEPS[scenario]
    message = str(store_error(error, "write", "s3://shop/a"))
    assert message.startswith(f"s3://shop/a: cannot write ({type(error).__name__}: ")
    assert str(error.args[-1]) in message
    assert step in message


def test_a_write_that_breaks_off_keeps_the_old_file(tmp_path: Path) -> None:
    target = tmp_path / "a"
    target.write_bytes(b"old")

    def write() -> None:
        with whole_file(target) as file:
            file.write(b"new")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        write()
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["a"]


def test_what_a_crash_left_behind_is_not_listed(tmp_path: Path) -> None:
    store = Store.open(str(tmp_path))
    Pointer(store).swap("CURRENT", ABSENT, b"x")
    (tmp_path / ".part.0123.tmp").write_bytes(b"half")
    assert store.list() == ("CURRENT",)


# -- retries --------------------------------------------------------------------------------------------------------


class Clock:
    """Time that passes only by sleeping; enough, because Retry asks nothing else of a clock."""

    def __init__(self) -> None:
        self.now_s = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now_s += seconds

    def retry(self, **limits: float) -> Retry:
        return Retry(sleep=self.sleep, clock=lambda: self.now_s, **limits)


def test_an_outage_shorter_than_the_budget_is_outlived() -> None:
    clock = Clock()

    def act() -> str:
        if clock.now_s < 30:
            raise ConnectionResetError(104, "reset by peer")
        return "answer"

    assert clock.retry().call(act) == "answer"
    assert clock.waits[:5] == [0.2, 0.4, 0.8, 1.6, 3.2]
    assert max(clock.waits) == 5.0


def test_an_outage_longer_than_the_budget_is_not() -> None:
    clock = Clock()

    def act() -> None:
        raise TimeoutError("no answer")

    with pytest.raises(TimeoutError):
        clock.retry(budget_s=10).call(act)
    assert clock.now_s <= 10


@pytest.mark.parametrize(
    "error", [FileNotFoundError(2, "gone"), PermissionError(13, "no"), OSError(28, "full")]
)
def test_what_will_not_pass_is_not_tried_again(error: OSError) -> None:
    clock = Clock()

    def act() -> None:
        raise error

    with pytest.raises(OSError, match=error.strerror):
        clock.retry().call(act)
    assert clock.waits == []


# -- pointers -------------------------------------------------------------------------------------------------------


@pytest.fixture
def pointer(tmp_path: Path) -> Pointer:
    return Pointer(Store.open(str(tmp_path / "store")))


def test_a_pointer_is_absent_until_it_is_swapped(pointer: Pointer) -> None:
    nothing = pointer.read("CURRENT")
    assert (nothing.value, nothing.version) == (None, ABSENT)
    version = pointer.swap("CURRENT", ABSENT, b"one")
    found = pointer.read("CURRENT")
    assert (found.value, found.version) == (b"one", version)
    assert pointer.store.read_bytes("CURRENT") == b"one"


def test_a_stale_swap_writes_nothing_and_names_what_it_found(pointer: Pointer) -> None:
    first = pointer.swap("CURRENT", ABSENT, b"one")
    pointer.swap("CURRENT", first, b"two")
    for stale in (first, ABSENT):
        with pytest.raises(PointerMoved, match=r"CURRENT: changed by someone else.*holding 'two'"):
            pointer.swap("CURRENT", stale, b"three")
    assert pointer.read("CURRENT").value == b"two"


def test_a_value_that_left_and_came_back_is_another_version(pointer: Pointer) -> None:
    first = pointer.swap("CURRENT", ABSENT, b"one")
    second = pointer.swap("CURRENT", first, b"two")
    pointer.swap("CURRENT", second, b"one")
    with pytest.raises(PointerMoved):
        pointer.swap("CURRENT", first, b"three")


def test_of_two_swappers_of_the_same_value_exactly_one_wins(pointer: Pointer) -> None:
    barrier = threading.Barrier(2)

    def swap(_: int) -> bool:
        barrier.wait()
        try:
            pointer.swap("CURRENT", ABSENT, b"same")
        except PointerMoved:
            return False
        return True

    with ThreadPoolExecutor(2) as pool:
        assert sorted(pool.map(swap, range(2))) == [False, True]


def increment(pointer: Pointer, times: int) -> None:
    done = 0
    while done < times:
        found = pointer.read("counter")
        try:
            pointer.swap("counter", found.version, b"%d" % (int(found.value or b"0") + 1))
        except PointerMoved:
            continue
        done += 1


def test_increments_from_four_threads_lose_none(pointer: Pointer) -> None:
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: increment(pointer, 25), range(4)))
    assert pointer.read("counter").value == b"100"


def test_increments_from_two_processes_lose_none(pointer: Pointer) -> None:
    program = (
        "import sys\n"
        "from aisle.errors import PointerMoved\n"
        "from aisle.store import Pointer, Store\n"
        "p = Pointer(Store.open(sys.argv[1]))\n"
        "done = 0\n"
        "while done < 25:\n"
        "    found = p.read('counter')\n"
        "    try:\n"
        "        p.swap('counter', found.version, b'%d' % (int(found.value or b'0') + 1))\n"
        "        done += 1\n"
        "    except PointerMoved:\n"
        "        pass\n"
    )
    path = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    runs = [
        subprocess.Popen([sys.executable, "-c", program, pointer.store.url], env=os.environ | path)
        for _ in range(2)
    ]
    assert [run.wait(timeout=60) for run in runs] == [0, 0]
    assert pointer.read("counter").value == b"50"


def test_a_store_without_compare_and_swap_can_be_read_but_not_swapped(tmp_path: Path) -> None:
    store = Store.open(f"memory://{tmp_path.name}")
    store.write_bytes("CURRENT", b"one")
    pointer = Pointer(store)
    assert pointer.read("CURRENT").value == b"one"
    with pytest.raises(
        StoreReadOnly, match="protocol 'memory' has no compare-and-swap.*use a local path or s3://"
    ):
        pointer.swap("CURRENT", ABSENT, b"two")
