"""The comparison of `jobs.bench --compare`: one machine, snapshot, models and queries, systems in alternating order.

Each system runs alone: it is started, warmed up, measured with one client and with several, and stopped. The next
round goes through them in the opposite order, so that a drift of the machine falls on all alike; the table shows the
better of a system's rounds, since noise only ever takes away, and the JSON every round. Speed stands beside ndcg@10 of
the answers to the same queries, which each system is asked first.
"""

from __future__ import annotations

import asyncio
import logging
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from aisle.config import Settings
from aisle.errors import JobFailed
from aisle.evaluation import Judgments, Run, ndcg
from jobs.cluster import free_port, local_cluster
from jobs.http_load import Client, Tally
from jobs.rivals import floor
from jobs.serving import GRAPH, deploy

logger = logging.getLogger("jobs.bench")

ROOT = Path(__file__).resolve().parent.parent
EMPTY = "deployments.empty:build"
PLAIN = "jobs.rivals.plain_serve:build"
START_LIMIT_S = 300.0
ALIKE = (
    "serving.gateway_replicas=2",
    "rewriter.mode=off",
    # Queries repeat here, and nobody else remembers: what is compared is searching.
    "serving.remembered_vectors=0",
    "serving.remembered_answers=0",
)
FUSED = ("serving.topology=fused", *ALIKE)
SPLIT = ("serving.topology=split", *ALIKE)
JUDGED_QUERIES = 300
"""A system's first requests, one after another, are these: they warm it up and say how well it answers."""
LEFT_OUT = ("ours_split", "plain_serve")
"""Not loaded in open loop: what the question is about is the service as it would run on one node."""


@dataclass(frozen=True)
class Contest:
    """What every system is given."""

    config: Path
    overrides: tuple[str, ...]
    settings: Settings
    judgments: Judgments
    k: int
    clients: int
    seconds: float

    @property
    def bodies(self) -> list[dict[str, Any]]:
        """Requests, one a judged query."""
        return [
            {"query": text, "k": self.k, "rewrite": "off", "timeout_ms": 5000}
            for text in self.judgments.texts
        ]


System = Callable[[Contest], AbstractContextManager[str]]
"""Starts a system and gives its base URL."""


@contextmanager
def on_serve(
    contest: Contest, import_path: str = GRAPH, settings: Sequence[str] = FUSED, fast: bool = True
) -> Iterator[str]:
    """An application on a Ray cluster of its own."""
    with local_cluster(
        num_cpus=8, fast_serve=fast, python_path=[ROOT, ROOT / "platform"]
    ) as cluster:
        yield deploy(
            cluster, contest.config, [*contest.overrides, *settings], import_path=import_path
        )


@contextmanager
def on_uvicorn(contest: Contest, rival: str) -> Iterator[str]:
    """A rival with one uvicorn worker a core."""
    port = free_port()
    command = [sys.executable, "-m", "jobs.rivals.workers", "--config", str(contest.config)]
    command += [word for each in contest.overrides for word in ("--set", each)]
    command += ["--rival", rival, "--port", str(port)]
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(command, cwd=ROOT, stdout=log, stderr=subprocess.STDOUT)
        try:
            _wait(f"http://127.0.0.1:{port}/docs", process)
            yield f"http://127.0.0.1:{port}"
        except JobFailed as error:
            log.seek(0)
            printed = log.read().decode(errors="replace")[-2000:]
            raise JobFailed(f"{rival}: {error}; it printed: {printed}") from error
        finally:
            process.terminate()
            process.wait(30)


def _wait(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while process.poll() is None and time.monotonic() < deadline:
        with suppress(OSError), urllib.request.urlopen(url, timeout=5):
            return
        time.sleep(0.25)
    raise JobFailed(f"{url}: no answer; its process ended with {process.poll()}")


SYSTEMS: dict[str, System] = {
    "ours_fused": on_serve,
    "empty_fused": partial(on_serve, import_path=EMPTY),
    "ours_split": partial(on_serve, settings=SPLIT),
    "fastapi": partial(on_uvicorn, rival="pipeline"),
    "lancedb": partial(on_uvicorn, rival="lancedb"),
    "plain_serve": partial(
        on_serve, import_path=PLAIN, settings=("rewriter.mode=off",), fast=False
    ),
}


def compete(contest: Contest, names: Sequence[str], rounds: int) -> dict[str, Any]:
    """Measures the floor and the systems `rounds` times; see the module."""
    measured: dict[str, list[dict[str, Any]]] = {name: [] for name in ("floor", *names)}
    for number in range(rounds):
        order = list(measured) if number % 2 == 0 else list(measured)[::-1]
        for name in order:
            logger.info("round %d of %d: %s", number + 1, rounds, name)
            if name == "floor":
                found = floor.measure(contest.settings, contest.k, contest.seconds)
            else:
                with SYSTEMS[name](contest) as url:
                    found = asyncio.run(_measure(contest, url, _half(measured, name)))
            logger.info("%s", {key: value for key, value in found.items() if key != "stages"})
            measured[name].append(found)
    best = {name: _best(each) for name, each in measured.items()}
    return {"systems": best, "rounds": measured, "targets": targets(best)}


def _half(measured: dict[str, list[dict[str, Any]]], name: str) -> float | None:
    """Half of the ceiling: the rate of the open loop, where one is run and the ceiling is known."""
    ceilings = [each["ceiling_per_s"] for each in measured["floor"]]
    return max(ceilings) / 2 if ceilings and name not in LEFT_OUT else None


async def _measure(contest: Contest, url: str, rate_per_s: float | None) -> dict[str, Any]:
    async with Client(url, contest.bodies) as client:
        first = await client.warm_up(JUDGED_QUERIES)
        await client.closed_loop(contest.clients, 2.0)
        alone = await client.closed_loop(1, contest.seconds)
        crowd = await client.closed_loop(contest.clients, contest.seconds)
        found = {
            "p50_ms": _rounded(alone.percentile_ms(50)),
            "p99_ms": _rounded(alone.percentile_ms(99)),
            "requests_per_s": _rounded(crowd.requests_per_s),
            "crowd_p50_ms": _rounded(crowd.percentile_ms(50)),
            "crowd_p99_ms": _rounded(crowd.percentile_ms(99)),
            "errors": alone.errors + crowd.errors,
            "ndcg@10": _quality(contest, first),
        }
        if rate_per_s is not None:
            due = await client.open_loop(rate_per_s, contest.seconds)
            found |= {
                "open_rate_per_s": _rounded(rate_per_s),
                "open_p50_ms": _rounded(due.percentile_ms(50)),
                "open_p99_ms": _rounded(due.percentile_ms(99)),
                "open_errors": due.errors,
            }
        return found


def _quality(contest: Contest, tally: Tally) -> float | None:
    """Mean ndcg@10 over the queries that were asked: the same for every system, whatever it has time for later."""
    values = ndcg(contest.judgments, Run.from_lists(tally.found), 10)
    values = values[np.isin(np.array(contest.judgments.texts), np.array(list(tally.found)))]
    return _rounded(float(np.nanmean(values)), 4) if np.isfinite(values).any() else None


def _best(rounds: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Largest rates, smallest times, all errors."""
    best = dict(rounds[0])
    for other in rounds[1:]:
        for name, value in other.items():
            if not isinstance(value, (int, float)):
                continue
            if name.endswith("errors"):
                best[name] = best.get(name, 0) + value
            elif name.endswith("per_s"):
                best[name] = max(best.get(name, value), value)
            elif name.endswith("_ms"):
                best[name] = min(best.get(name, value), value)
    return best


def targets(best: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the fused service is held to, as ratios within the run: measure, value, wanted, met."""
    ours = best.get("ours_fused")
    if ours is None:
        return []
    ceiling = best["floor"]["ceiling_per_s"]
    rows = [("p50 over the floor, ms", ours["p50_ms"] - best["floor"]["p50_ms"], 2.0, False)]
    if "empty_fused" in best:
        # Serving and searching share the cores, so their times add: rates combine as resistances do.
        possible = 1 / (1 / ceiling + 1 / best["empty_fused"]["requests_per_s"])
        rows.append(
            ("throughput of what is possible", ours["requests_per_s"] / possible, 0.9, True)
        )
    for name, wanted in (("plain_serve", 11.0), ("lancedb", 5.0), ("fastapi", 1.1)):
        if name in best:
            ratio = ours["requests_per_s"] / best[name]["requests_per_s"]
            rows.append((f"throughput over {name}", ratio, wanted, True))
    if "open_p99_ms" in ours:
        ratio = ours["open_p99_ms"] / ours["open_p50_ms"]
        rows.append(("p99 over p50 at half of the ceiling", ratio, 5.0, False))
    rows.append(("dense recall@100", best["floor"]["dense_recall@100"], 0.98, True))
    return [
        {
            "measure": measure,
            "value": _rounded(value, 3),
            "wanted": f"{'>=' if more else '<='} {wanted:g}",
            "met": bool(value >= wanted if more else value <= wanted),
        }
        for measure, value, wanted, more in rows
    ]


def text_table(result: dict[str, Any]) -> str:
    """For a terminal: a row a system, then a row a target."""
    columns = (
        *("p50_ms", "p99_ms", "requests_per_s", "crowd_p50_ms", "crowd_p99_ms"),
        *("open_p50_ms", "open_p99_ms", "errors", "ndcg@10"),
    )
    lines = ["".join([f"{'':14}", *(f"{name:>16}" for name in columns)])]
    for name, row in result["systems"].items():
        if name == "floor":
            row = row | {"requests_per_s": row["ceiling_per_s"]}
        lines.append(
            "".join([f"{name:14}", *(f"{row.get(column, '-')!s:>16}" for column in columns)])
        )
    lines.append("")
    for each in result["targets"]:
        verdict = "met" if each["met"] else "not met"
        lines.append(f"{each['measure']:40}{each['value']:>10} {each['wanted']:>10}  {verdict}")
    return "\n".join(lines)


def _rounded(value: float, digits: int = 2) -> float:
    return round(float(value), digits)
