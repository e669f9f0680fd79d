"""Every metric of the application: name, unit, buckets and labels, once; and the few calls that record them.

Ray exports them on each node's metrics port with `ray_` before the name and Serve's labels (application, deployment,
replica) beside ours. Recording costs a microsecond or two, so a batch is recorded as a batch where that loses nothing.
What is a state rather than an event (age, requests inside, CPU) is read by a thread every few seconds.
"""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

import psutil
from ray.serve import metrics as serve_metrics

from aisle.errors import DeadlineExceeded, Overloaded, SnapshotNotHeld
from aisle.trace import Trace

PREFIX = "ray_"
"""What Ray puts before a name when it exports it."""
BEAT_S = 5.0
"""How often states are read: well below a scrape's usual 15 s."""

# Geometric, because latencies are: each bound is 1.6 times the last, so that an interpolated quantile is off by a
# quarter at most. From .5 ms, a warm stage, to 6 s, past the longest deadline of the configs (5 s).
SECONDS = tuple(round(0.0005 * 1.6**i, 6) for i in range(21))
# Powers of two, up to twice a batch of 128.
QUERIES = tuple(float(2**i) for i in range(9))


@dataclass(frozen=True, slots=True)
class Metric:
    """One metric."""

    kind: Literal["counter", "gauge", "histogram"]
    description: str
    labels: tuple[str, ...] = ()
    bounds: tuple[float, ...] = ()

    def exported(self, name: str) -> set[str]:
        """Names under which Prometheus finds it.

        NOTE: not a histogram's `_sum`. Ray 2.60 exports one, made of the middles of buckets: four batches of one query
        sum to 2. A mean wants a counter.
        """
        if self.kind == "histogram":
            return {f"{PREFIX}{name}_{part}" for part in ("bucket", "count")}
        return {PREFIX + name}


METRICS: Mapping[str, Metric] = {
    "aisle_request_seconds": Metric(
        "histogram",
        "a search in the gateway, from its arrival to its answer, waiting for a batch included",
        bounds=SECONDS,
    ),
    "aisle_stage_seconds": Metric(
        "histogram",
        "one stage of one batch; in split the gateway's retrieve and rank include the hop, the stage's own do not",
        ("stage",),
        SECONDS,
    ),
    "aisle_batch_queries": Metric(
        "histogram", "queries that one pass answered together", bounds=QUERIES
    ),
    "aisle_answers_total": Metric("counter", "searches that were answered"),
    "aisle_degraded_total": Metric(
        "counter", "answers that left a stage out, by the stage", ("stage",)
    ),
    "aisle_refused_total": Metric(
        "counter",
        "searches without an answer: overloaded, deadline, snapshot, failed; at the door size, key, client, all",
        ("reason",),
    ),
    "aisle_empty_pages_total": Metric("counter", "answers without a hit"),
    "aisle_judged_products_total": Metric("counter", "candidates that the relevance filter judged"),
    "aisle_kept_products_total": Metric("counter", "candidates that it kept"),
    "aisle_cache_total": Metric("counter", "look-ups in a cache", ("cache", "found")),
    "aisle_cpu_seconds_total": Metric(
        "counter", "core-seconds of this replica and the processes below it; over answers, the cost"
    ),
    "aisle_memory_bytes": Metric("gauge", "resident memory of this replica's process"),
    "aisle_ongoing_requests": Metric("gauge", "searches inside this gateway, those in a queue too"),
    "aisle_snapshot_age_seconds": Metric("gauge", "since the snapshot that is served was made"),
    "aisle_rollout_behind": Metric(
        "gauge", "1 while the gateways cannot follow CURRENT; the coordinator's log says why"
    ),
}


class Telemetry:
    """Records for one replica. Every method may be called from any thread, and none waits."""

    def __init__(self, children: bool = False) -> None:
        """Makes the metrics and starts the thread that reads states; it ends with this object.

        Args:
            children: counts the core-seconds of processes below this one too, as vLLM's engine is. Finding them reads
                the whole process table, so only who has some should ask.
        """
        self._metrics = {name: _made(name, metric) for name, metric in METRICS.items()}
        self._states: dict[str, Callable[[], float]] = {}
        self._looked_up: dict[tuple[str, str, str], int] = {}
        self._process = psutil.Process()
        self._children = children
        self._cpu_seconds = self._used()
        threading.Thread(
            target=_beat, args=(weakref.ref(self),), name="telemetry", daemon=True
        ).start()

    def watch(self, name: str, state: Callable[[], float]) -> None:
        """Reads a gauge from `state` at every beat, and now."""
        self._states[name] = state
        self._metrics[name].set(state())

    def answered(self, seconds: float, hits: int) -> None:
        """One search that was answered, however degraded."""
        self._metrics["aisle_request_seconds"].observe(seconds)
        if hits == 0:
            self._metrics["aisle_empty_pages_total"].inc()

    def batch(self, queries: int, trace: Trace) -> None:
        """One pass of the pipeline: its stages' times, what it left out, what the filter kept."""
        self.stage_batch(queries, trace.timings_ms)
        self._metrics["aisle_answers_total"].inc(queries)
        for stage in trace.degraded:
            self._metrics["aisle_degraded_total"].inc(queries, {"stage": stage})
        if trace.judged:
            self._metrics["aisle_judged_products_total"].inc(trace.judged)
        if trace.kept:
            self._metrics["aisle_kept_products_total"].inc(trace.kept)

    def answered_from_memory(self) -> None:
        """One search whose answer was kept: no stage ran."""
        self._metrics["aisle_answers_total"].inc()

    def stage_batch(self, queries: int, timings_ms: Mapping[str, float]) -> None:
        """One batch in a stage's own replica."""
        self._metrics["aisle_batch_queries"].observe(queries)
        for stage, ms in timings_ms.items():
            self._metrics["aisle_stage_seconds"].observe(ms / 1000, {"stage": stage})

    def refused(self, reason: str) -> None:
        """One search without an answer, by a reason of `reason_of` or of admission."""
        self._metrics["aisle_refused_total"].inc(1, {"reason": reason})

    def looked_up(self, cache: str, hits: int, misses: int, owner: str = "") -> None:
        """A cache's counts so far; what came since the last call is added. `owner` tells caches of one kind apart."""
        for found, total in (("hit", hits), ("miss", misses)):
            new = total - self._looked_up.get((cache, owner, found), 0)
            self._looked_up[cache, owner, found] = total
            if new > 0:
                self._metrics["aisle_cache_total"].inc(new, {"cache": cache, "found": found})

    def beat(self) -> None:
        """Reads every state once."""
        used = self._used()
        # A child that ended takes its time with it; a counter never goes back.
        if used > self._cpu_seconds:
            self._metrics["aisle_cpu_seconds_total"].inc(used - self._cpu_seconds)
        self._cpu_seconds = used
        self._metrics["aisle_memory_bytes"].set(float(self._process.memory_info().rss))
        for name, state in list(self._states.items()):
            self._metrics[name].set(state())

    def _used(self) -> float:
        """Core-seconds of this process, and of those below it where they are counted."""
        spent = time.process_time()
        for process in self._process.children(recursive=True) if self._children else ():
            try:
                times = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            spent += times.user + times.system
        return spent


class Refusals:
    """Counts what the door refuses, which is made before and apart from the gateway's own Telemetry."""

    def __init__(self) -> None:
        self._counter = _made("aisle_refused_total", METRICS["aisle_refused_total"])

    def __call__(self, reason: str) -> None:
        """One request, by its reason: size, key, client or all."""
        self._counter.inc(1, {"reason": reason})


def reason_of(error: BaseException) -> str:
    """Why a search has no answer, as the label of `aisle_refused_total`."""
    if isinstance(error, Overloaded):
        return "overloaded"
    if isinstance(error, DeadlineExceeded):
        return "deadline"
    if isinstance(error, SnapshotNotHeld):
        return "snapshot"
    return "failed"


def age_s(created_at: str, now_s: Callable[[], float] = time.time) -> float:
    """Seconds since an ISO 8601 time; one without a zone is UTC."""
    created = datetime.fromisoformat(created_at)
    return now_s() - (created if created.tzinfo else created.replace(tzinfo=UTC)).timestamp()


def _made(name: str, metric: Metric) -> Any:
    kinds: dict[str, Any] = {
        "counter": serve_metrics.Counter,
        "gauge": serve_metrics.Gauge,
        "histogram": serve_metrics.Histogram,
    }
    bounds = {"boundaries": list(metric.bounds)} if metric.bounds else {}
    return kinds[metric.kind](name, metric.description, tag_keys=metric.labels, **bounds)


def _beat(reference: weakref.ref[Telemetry]) -> None:
    while True:
        time.sleep(BEAT_S)
        telemetry = reference()
        if telemetry is None:
            return
        telemetry.beat()
        del telemetry
