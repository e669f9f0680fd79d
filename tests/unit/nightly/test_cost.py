"""The table of steps: its counts, and CPU seconds that add up over parts, driver and attempts."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aisle.config import Settings
from aisle.errors import StoreError
from aisle.nightly.cost import SAVE_EVERY_S, Steps
from aisle.nightly.cpu import hand_over, spent_s
from aisle.nightly.reindex import Night
from aisle.nightly.run import Run, serial
from aisle.store import Store
from tests.shop import library_of, sample, settings_for, write_source
from tests.unit.nightly.test_resume import Killed, Parts


def burn(cpu_s: float) -> None:
    """Spends CPU time, whatever else the machine does."""
    until = time.process_time() + cpu_s
    while time.process_time() < until:
        sum(range(1000))


def table_of(steps: Steps) -> dict[str, dict[str, Any]]:
    return {row["step"]: row for row in steps.table()}


class Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def run(tmp_path: Path) -> Run:
    settings = settings_for(tmp_path, tmp_path / "p.parquet")
    return Run("test-0123456789ab", settings, Store.open(settings.store))


def test_each_cpu_second_is_told_once() -> None:
    began_s = time.process_time()
    spent_s()
    burn(0.05)
    first = spent_s()
    assert first >= 0.05
    burn(0.02)
    second = spent_s()
    assert second >= 0.02
    assert first + second <= time.process_time() - began_s
    time.sleep(0.05)
    assert spent_s() < 0.04  # waiting is no work


def test_what_another_process_spent_is_handed_over_once() -> None:
    spent_s()
    hand_over(5.0)
    hand_over(2.5)
    assert 7.5 <= spent_s() < 8.5
    assert spent_s() < 1.0


def test_parts_and_driver_together_tell_what_the_process_spent(tmp_path: Path) -> None:
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 60))
    steps = Steps()
    began_s = time.process_time()
    Night(settings_for(tmp_path, source), serial, lambda _: None, steps=steps).run()
    spent = time.process_time() - began_s
    rows = table_of(steps)
    # All parts ran in this process; what is missing is what came after the last step.
    assert 0.8 * spent <= rows["all"]["core_s"] <= spent + 0.1
    assert rows["all"]["core_s"] == pytest.approx(
        sum(row["core_s"] for name, row in rows.items() if name != "all"), abs=0.1
    )
    assert rows["index"]["core_s_per_million"] == pytest.approx(
        rows["index"]["core_s"] / 60 * 1e6, rel=0.05
    )


def test_the_table_of_a_night_that_changes_little(tmp_path: Path) -> None:
    rows = sample().products.slice(0, 60).to_pylist()
    source = write_source(
        tmp_path / "p.parquet", pa.Table.from_pylist(rows, sample().products.schema)
    )
    settings = settings_for(tmp_path, source)
    Night(settings, serial, lambda _: {"queries": 49}).run()
    rows[10]["price"], rows[11]["title"] = 1.25, "Crimson velociraptor lamp"
    rows.append({**rows[20], "product_id": "bad", "title": ""})
    write_source(source, pa.Table.from_pylist(rows[1:], sample().products.schema))
    steps = Steps()
    summary = Night(settings, serial, lambda _: {"queries": 49}, steps=steps).run()
    table = table_of(steps)
    assert summary["steps"] == steps.table()
    counts = {
        step: tuple(row[name] for name in ("rows_in", "rows_out", "reused", "quarantined"))
        for step, row in table.items()
    }
    assert counts == {
        "models": (None, None, None, None),
        "read": (60, 59, None, 1),  # one went, a bad one came
        "rows": (59, 2, 57, None),
        "embed": (2, 1, 1, None),  # the text of one is as it was
        "index": (2, 59, 57, None),
        "evaluate": (49, None, None, None),
        "publish": (None, None, None, None),
        "all": (60, 59, 57, 1),
    }
    assert table["read"]["rows_s"] > 0
    assert table["publish"]["rows_s"] is None
    assert table["all"]["gpu_s"] is None


def test_a_run_that_was_killed_adds_up_all_its_attempts(tmp_path: Path) -> None:
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 60))
    settings = settings_for(tmp_path, source)
    began_s, attempts = time.process_time(), 0
    seconds = 0.0
    while True:
        steps = Steps()
        attempts += 1
        try:
            summary = Night(settings, Parts(dies_after=3), lambda _: None, steps=steps).run()
        except Killed:
            assert (
                sum(map(len, steps.results.values())) >= 3
            )  # what was done shows, although a step failed
            seconds += sum(row["seconds"] for row in steps.table() if row["step"] != "all")
            continue
        break
    assert attempts > 3
    assert summary["attempts"] == attempts
    table = table_of(steps)
    # The parts of every step, although this attempt did three at most.
    assert (table["read"]["rows_in"], table["embed"]["rows_out"]) == (60, 60)
    spent = time.process_time() - began_s
    assert 0.6 * spent <= table["all"]["core_s"] <= spent + 0.1
    assert table["all"]["seconds"] > seconds / attempts
    assert library_of(settings).store.folders("runs") == ()


def test_an_attempt_is_written_down_while_a_step_lasts(run: Run) -> None:
    clock = Clock()
    killed = Steps(clock)
    killed.join(run, "first")
    with killed.timed("embed"):
        clock.now_s += SAVE_EVERY_S + 2
        burn(0.03)
        killed.keep()
        clock.now_s += 1
        killed.keep()  # too soon: what follows the last save is lost with the process
        killed.leave()  # stands for SIGKILL: nothing is written any more
    later = Steps(clock)
    later.join(run, "second")
    with later.timed("embed"):
        clock.now_s += 3
    row = table_of(later)["embed"]
    assert (later.attempts, row["seconds"]) == (2, SAVE_EVERY_S + 5)
    assert 0.03 <= row["core_s"] < 1


@pytest.mark.parametrize("damage", [b"", b"{", b'["embed"]', b'{"embed": {"wall": 1}}'])
def test_a_damaged_record_of_an_attempt_is_left_out(run: Run, damage: bytes) -> None:
    run.store.write_bytes(f"{run.folder}/attempts/first.json", damage)
    steps = Steps()
    steps.join(run, "second")
    assert steps.attempts == 2
    assert [row["step"] for row in steps.table()] == ["all"]


def test_a_store_that_fails_costs_no_night(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise StoreError("disk full")

    steps = Steps()
    steps.join(run, "first")
    monkeypatch.setattr(Store, "write_bytes", fails)
    with pytest.raises(ZeroDivisionError), steps.timed("embed"):
        _ = 1 / 0


def test_gpu_seconds_are_those_of_the_parts(tmp_path: Path) -> None:
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 60))
    settings: Settings = settings_for(
        tmp_path, source, ray={"embed_gpus": 0.5, "part_fraction": 0.1}
    )
    steps = Steps()
    Night(settings, serial, lambda _: None, steps=steps).run()
    parts = steps.results["embed"]
    assert all(0 < part["gpu_s"] < 1 for part in parts)
    row = table_of(steps)["embed"]
    assert row["gpu_s"] == pytest.approx(sum(part["gpu_s"] for part in parts), abs=0.01)
