"""Open-loop load on a running service: requests leave on schedule whether or not earlier ones came back.

    python -m jobs.bench --config configs/local.yaml --url http://127.0.0.1:8000 --rate 50 --seconds 20
    python -m jobs.bench --config configs/local.yaml --url http://127.0.0.1:8000 --clients 16 --seconds 20

With `--rate` latency counts from the moment a request was due, so a stall shows in every request that it delayed
(coordinated omission avoided). With `--clients` each client sends its next request when the last one is answered: that
measures the ceiling, not the latency. Queries are those of the environment's judgments, and the ndcg@10 of what came
back stands beside the speed. Nothing is measured inside the service; its own `timings_ms` are summed up by stage.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import sys
import time
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import httpx
import numpy as np

from aisle.config import Settings
from aisle.errors import JobFailed
from aisle.evaluation import Judgments, Run, ndcg
from jobs import command
from jobs.evaluate import read_judgments


@dataclass
class Tally:
    """What came back."""

    latencies_ms: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    degraded: Counter[str] = field(default_factory=Counter)
    stages_ms: dict[str, list[float]] = field(default_factory=dict)
    found: dict[str, list[str]] = field(default_factory=dict)


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Loads the service and sums up."""
    judgments = read_judgments(settings, settings.evaluation.split)
    tally, took_s = asyncio.run(_load(judgments, arguments))
    if not tally.latencies_ms:
        raise JobFailed(f"{arguments.url}: no request was answered: {dict(tally.statuses)}")
    report = _report(tally, took_s, judgments) | {
        "mode": f"open loop, {arguments.rate} requests/s"
        if arguments.rate
        else f"{arguments.clients} clients",
        "machine": f"{os.cpu_count()} cores, {platform.machine()}",
    }
    for name, value in report.items():
        print(f"{name:24}{value}", file=sys.stderr)
    return report


async def _load(judgments: Judgments, arguments: argparse.Namespace) -> tuple[Tally, float]:
    tally = Tally()
    limits = httpx.Limits(max_connections=512, max_keepalive_connections=512)
    async with httpx.AsyncClient(base_url=arguments.url, timeout=30.0, limits=limits) as client:

        async def ask(number: int, due: float) -> None:
            text = judgments.texts[number % len(judgments.texts)]
            body = {"query": text, "k": arguments.k, "rewrite": arguments.rewrite}
            try:
                response = await client.post("/v1/search", json=body)
            except httpx.HTTPError as error:
                tally.statuses[type(error).__name__] += 1
                return
            tally.statuses[str(response.status_code)] += 1
            if response.status_code == 200:
                tally.latencies_ms.append((time.perf_counter() - due) * 1000)
                _note(tally, text, response.json())

        for number in range(arguments.warm_up):
            await ask(number, time.perf_counter())
        tally = Tally()
        started = time.perf_counter()
        drive = _open_loop if arguments.rate else _closed_loop
        await drive(ask, started, arguments)
        return tally, time.perf_counter() - started


Ask = Callable[[int, float], Coroutine[Any, Any, None]]


async def _open_loop(ask: Ask, started: float, arguments: argparse.Namespace) -> None:
    """Sends at the due times and waits for all answers at the end."""
    sent: list[asyncio.Task[None]] = []
    for number in range(int(arguments.rate * arguments.seconds)):
        due = started + number / arguments.rate
        await asyncio.sleep(max(due - time.perf_counter(), 0))
        sent.append(asyncio.create_task(ask(number, due)))
    await asyncio.gather(*sent)


async def _closed_loop(ask: Ask, started: float, arguments: argparse.Namespace) -> None:
    """Each client sends again as soon as it has its answer."""

    async def client(first: int) -> None:
        number = first
        while time.perf_counter() - started < arguments.seconds:
            await ask(number, time.perf_counter())
            number += arguments.clients

    await asyncio.gather(*(client(first) for first in range(arguments.clients)))


def _note(tally: Tally, text: str, answer: dict[str, Any]) -> None:
    tally.degraded.update(answer["degraded"])
    for stage, ms in answer["timings_ms"].items():
        tally.stages_ms.setdefault(stage, []).append(ms)
    tally.found[text] = [hit["product_id"] for hit in answer["hits"]]


def _report(tally: Tally, took_s: float, judgments: Judgments) -> dict[str, Any]:
    latencies = np.array(tally.latencies_ms)
    quality = ndcg(judgments, Run.from_lists(tally.found), 10)
    asked = np.isin(np.array(judgments.texts), np.array(list(tally.found)))
    return {
        "requests_per_s": round(len(latencies) / took_s, 1),
        **{f"p{p}_ms": round(float(np.percentile(latencies, p)), 2) for p in (50, 90, 95, 99)},
        "max_ms": round(float(latencies.max()), 2),
        "statuses": dict(tally.statuses),
        "degraded": dict(tally.degraded),
        "stage_p50_ms": {
            name: round(float(np.median(ms)), 2) for name, ms in tally.stages_ms.items()
        },
        "ndcg@10": round(float(np.nanmean(quality[asked])), 4)
        if np.isfinite(quality[asked]).any()
        else None,
    }


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="base URL of the service")
    load = parser.add_mutually_exclusive_group(required=True)
    load.add_argument("--rate", type=float, help="open loop: requests a second")
    load.add_argument("--clients", type=int, help="closed loop: clients at once")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--warm-up", type=int, default=50, help="requests before measuring")
    parser.add_argument("--k", type=int, default=24)
    parser.add_argument("--rewrite", choices=("auto", "off"), default="off")


if __name__ == "__main__":
    command.main("bench", __doc__, run, add_arguments)
