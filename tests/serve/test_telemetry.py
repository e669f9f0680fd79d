"""What one replica records: read from the metrics themselves, replaced by ones that remember."""

from __future__ import annotations

import gc
import threading
import time
from collections import defaultdict
from typing import Any

import pytest

from aisle.errors import DeadlineExceeded, Overloaded, SnapshotNotHeld, StageError
from aisle.trace import Trace
from deployments import telemetry as module
from deployments.telemetry import METRICS, Telemetry, age_s, reason_of


class Remembered:
    """Stands for Ray's metric; enough, because Telemetry only ever calls these three."""

    def __init__(self) -> None:
        self.calls: list[tuple[float, dict[str, str]]] = []

    def record(self, value: float = 1.0, tags: dict[str, str] | None = None) -> None:
        self.calls.append((value, tags or {}))

    inc = observe = set = record


@pytest.fixture
def recorded(monkeypatch: pytest.MonkeyPatch) -> tuple[Telemetry, dict[str, Remembered]]:
    made: dict[str, Remembered] = defaultdict(Remembered)
    monkeypatch.setattr(module, "_made", lambda name, _: made[name])
    return Telemetry(), made


def test_rays_own_metrics_take_every_definition():
    """Without a cluster they go nowhere, but names, labels and bounds are checked."""
    telemetry: Any = Telemetry()
    assert telemetry._metrics.keys() == METRICS.keys()
    telemetry.batch(2, Trace({"rank": 1.5}, ["rewrite"], judged=10, kept=4))
    telemetry.answered(0.01, hits=0)
    telemetry.refused("deadline")
    telemetry.looked_up("rewrite", 1, 1)
    telemetry.beat()


def test_a_batch_is_recorded_once_and_its_answers_by_number(recorded):
    telemetry, made = recorded
    telemetry.batch(3, Trace({"encode": 2.0, "rank": 1.0}, ["rewrite", "rank"], judged=30, kept=12))
    assert made["aisle_batch_queries"].calls == [(3, {})]
    assert made["aisle_stage_seconds"].calls == [
        (0.002, {"stage": "encode"}),
        (0.001, {"stage": "rank"}),
    ]
    assert made["aisle_answers_total"].calls == [(3, {})]
    assert made["aisle_degraded_total"].calls == [
        (3, {"stage": "rewrite"}),
        (3, {"stage": "rank"}),
    ]
    assert made["aisle_judged_products_total"].calls == [(30, {})]
    assert made["aisle_kept_products_total"].calls == [(12, {})]


def test_an_empty_page_is_an_answer_and_counted(recorded):
    telemetry, made = recorded
    telemetry.answered(0.25, hits=0)
    telemetry.answered(0.5, hits=3)
    assert [value for value, _ in made["aisle_request_seconds"].calls] == [0.25, 0.5]
    assert len(made["aisle_empty_pages_total"].calls) == 1


def test_a_caches_totals_become_what_was_added_and_owners_are_kept_apart(recorded):
    telemetry, made = recorded
    telemetry.looked_up("rewrite", hits=5, misses=2, owner="a")
    telemetry.looked_up("rewrite", hits=8, misses=2, owner="a")
    telemetry.looked_up("rewrite", hits=1, misses=0, owner="b")
    hit, miss = {"cache": "rewrite", "found": "hit"}, {"cache": "rewrite", "found": "miss"}
    assert made["aisle_cache_total"].calls == [(5, hit), (2, miss), (3, hit), (1, hit)]


def test_a_beat_reads_states_and_the_core_seconds_that_were_spent(recorded):
    telemetry, made = recorded
    age = [1.0]
    telemetry.watch("aisle_snapshot_age_seconds", lambda: age[0])
    spent, until = 0, time.process_time() + 0.05
    while time.process_time() < until:
        spent += 1
    age[0] = 2.0
    telemetry.beat()
    assert [value for value, _ in made["aisle_snapshot_age_seconds"].calls] == [1.0, 2.0]
    assert sum(value for value, _ in made["aisle_cpu_seconds_total"].calls) >= 0.03
    assert made["aisle_memory_bytes"].calls[0][0] > 10e6


def test_the_thread_ends_with_its_object(monkeypatch):
    monkeypatch.setattr(module, "BEAT_S", 0.01)
    before = set(threading.enumerate())
    telemetry = Telemetry()
    (thread,) = set(threading.enumerate()) - before
    del telemetry
    gc.collect()
    thread.join(5.0)
    assert not thread.is_alive()


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (Overloaded("full"), "overloaded"),
        (DeadlineExceeded("late"), "deadline"),
        (SnapshotNotHeld("not here"), "snapshot"),
        (StageError("broken"), "failed"),
    ],
)
def test_a_refusal_has_a_reason(error, reason):
    assert reason_of(error) == reason


def test_age_counts_from_utc():
    assert age_s("1970-01-01T00:01:00+00:00", lambda: 100.0) == 40.0
    assert age_s("1970-01-01T00:01:00", lambda: 100.0) == 40.0
    assert age_s("1970-01-01T01:01:00+01:00", lambda: 100.0) == 40.0
