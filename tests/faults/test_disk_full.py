"""A disk that is full while the night indexes: the error says where and what to do, nothing live is touched, and after
room was made the same command goes on. The disk is a small tmpfs that the test mounts, which only root may do."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from aisle.config import Settings
from aisle.errors import JobFailed, StoreError
from aisle.nightly.publish import live_or_none
from aisle.nightly.run import Item, Worker, serial
from tests.shop import library_of, live, run_night, sample, settings_for, write_source

DISK_BYTES = 32 << 20
LEFT_BYTES = 64 << 10
"""Enough for the lease, too little for a segment."""


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", str(folder)]
    done = subprocess.run(mount, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"a small disk cannot be mounted here, which takes root: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def fill(disk: Path, left_bytes: int = LEFT_BYTES) -> Path:
    """Takes all room but a little."""
    ballast, room = disk / "ballast", shutil.disk_usage(disk)
    with ballast.open("ab") as file:
        file.write(bytes(room.free - left_bytes))
    return ballast


def changed_shop(folder: Path, **changes: object) -> Settings:
    """A shop with a live snapshot and a source that has changed since, embedded and not yet indexed."""
    source = write_source(folder / "p.parquet", sample().products.slice(0, 200))
    lease = {"lease_ttl_s": 1, "clock_skew_s": 0}
    settings = settings_for(folder, source, nightly=lease, **changes)  # type: ignore[arg-type]
    run_night(settings)
    write_source(source, sample().products)
    run_night(settings, until="embed")
    return settings


@pytest.mark.parametrize("full", ["store", "work_dir"])
def test_a_disk_that_fills_while_indexing(tmp_path: Path, disk: Path, full: str) -> None:
    undisturbed = changed_shop(tmp_path / "undisturbed")
    run_night(undisturbed)
    settings = changed_shop(tmp_path / "shop", **{full: str(disk / full)})
    before = live(settings)
    ballast = fill(disk)
    where = disk / "store" if full == "store" else disk / "work_dir" / "segment-"
    said = "free some space" if full == "store" else "no space left .* work_dir, then start"
    with pytest.raises((StoreError, JobFailed), match=rf"{where}.*{said}") as caught:
        run_night(settings)
    assert "No space left" in str(caught.value)
    assert live_or_none(library_of(settings)) == before.snapshot_id
    assert live(settings) == before
    assert not list(Path(settings.work_dir).glob("segment-*"))  # it takes no room itself
    ballast.unlink()
    time.sleep(1.1)  # this process lives on, so a lease that could not be released has to expire
    steps: list[str] = []

    def mapper(
        make_worker: Callable[[], Worker], items: Sequence[Item], *, step: str, actors: bool = False
    ) -> Iterator[Item]:
        steps.append(step)
        return serial(make_worker, items, step=step, actors=actors)

    run_night(settings, mapper=mapper)
    assert steps == ["index"]  # what was read and embedded is kept
    assert live(settings).comparable() == live(undisturbed).comparable()


def test_a_disk_without_room_for_current_keeps_the_old_one(tmp_path: Path, disk: Path) -> None:
    settings = changed_shop(tmp_path / "shop", store=str(disk / "store"))
    before = live(settings)
    run_night(settings, until="evaluate")
    ballast = fill(disk)
    fill(disk, 0)
    with pytest.raises(StoreError, match=rf"{disk}/store/.*free some space .*jobs\.prune"):
        run_night(settings)
    assert live(settings) == before
    ballast.unlink()
    time.sleep(1.1)
    assert run_night(settings)["published"]
