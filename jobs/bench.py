"""How fast a service answers, and how well: load on a running one, or a comparison of several.

    python -m jobs.bench --config C --url http://127.0.0.1:8000 --clients 16            ceiling
    python -m jobs.bench --config C --url http://127.0.0.1:8000 --rate 50               latency at a rate
    python -m jobs.bench --config C --url http://127.0.0.1:8000 --rate 50 --rising      rates that double
    python -m jobs.bench --config C --compare [--systems ours_fused,lancedb]            see jobs.contest

With `--rate` latency counts from the moment a request was due (coordinated omission avoided). With `--clients` each
client sends its next request when the last one is answered: that measures the ceiling, not the latency. Queries are
those of the environment's judgments, and the ndcg@10 of what came back stands beside the speed. Nothing is measured
inside the service; its own `timings_ms` are summed up by stage.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np

from aisle.config import Settings
from aisle.errors import JobFailed
from aisle.evaluation import Judgments, Run, ndcg
from jobs import command
from jobs.contest import SYSTEMS, Contest, compete, text_table
from jobs.evaluate import read_judgments
from jobs.http_load import Client, Tally

PERCENTILES = (50, 90, 95, 99)
BROKEN_FRACTION = 0.01
"""A rate at which more than this share is not answered is past what the service can do."""


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Loads a service, or compares systems, and sums up."""
    judgments = read_judgments(settings, settings.evaluation.split)
    about = {"machine": f"{os.cpu_count()} cores, {platform.machine()}", "commit": _commit()}
    if arguments.compare:
        contest = Contest(
            Path(arguments.config),
            tuple(arguments.overrides),
            settings,
            judgments,
            arguments.k,
            arguments.clients or 16,
            arguments.seconds,
        )
        names = arguments.systems.split(",") if arguments.systems else list(SYSTEMS)
        result = compete(contest, names, arguments.rounds)
        print(text_table(result), file=sys.stderr)
        return about | result
    if (arguments.rate is None) == (arguments.clients is None):
        raise JobFailed("give --rate or --clients, or --compare; see --help")
    report = about | asyncio.run(_load(judgments, arguments))
    for name, value in report.items():
        print(f"{name:24}{value}", file=sys.stderr)
    return report


async def _load(judgments: Judgments, arguments: argparse.Namespace) -> dict[str, Any]:
    bodies = [
        {"query": text, "k": arguments.k, "rewrite": arguments.rewrite} for text in judgments.texts
    ]
    async with Client(arguments.url, bodies) as client:
        await client.warm_up(arguments.warm_up)
        if arguments.clients:
            tally = await client.closed_loop(arguments.clients, arguments.seconds)
            return {"mode": f"{arguments.clients} clients"} | _report(tally, judgments)
        tally = await client.open_loop(arguments.rate, arguments.seconds)
        report = {"mode": f"open loop, {arguments.rate} requests/s"} | _report(tally, judgments)
        steps = [_step(arguments.rate, tally)]
        while arguments.rising and steps[-1]["errors"] <= BROKEN_FRACTION * steps[-1]["requests"]:
            rate = 2 * steps[-1]["rate_per_s"]
            steps.append(_step(rate, await client.open_loop(rate, arguments.seconds)))
        return report | ({"rising": steps} if arguments.rising else {})


def _step(rate_per_s: float, tally: Tally) -> dict[str, Any]:
    return {
        "rate_per_s": rate_per_s,
        "requests": tally.statuses.total(),
        "errors": tally.errors,
        **_latencies(tally),
    }


def _latencies(tally: Tally) -> dict[str, float]:
    return {f"p{p}_ms": round(tally.percentile_ms(p), 2) for p in PERCENTILES}


def _report(tally: Tally, judgments: Judgments) -> dict[str, Any]:
    if not tally.latencies_ms:
        raise JobFailed(f"no request was answered: {dict(tally.statuses)}")
    quality = ndcg(judgments, Run.from_lists(tally.found), 10)
    asked = np.isin(np.array(judgments.texts), np.array(list(tally.found)))
    return {
        "requests_per_s": round(tally.requests_per_s, 1),
        **_latencies(tally),
        "max_ms": round(max(tally.latencies_ms), 2),
        "statuses": dict(tally.statuses),
        "degraded": dict(tally.degraded),
        "stage_p50_ms": {
            name: round(float(np.median(ms)), 2) for name, ms in tally.stages_ms.items()
        },
        "ndcg@10": round(float(np.nanmean(quality[asked])), 4)
        if np.isfinite(quality[asked]).any()
        else None,
    }


def _commit() -> str | None:
    """The checkout's commit; none outside one."""
    done = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, check=False
    )
    return done.stdout.strip() or None


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--url", default="http://127.0.0.1:8000", help="base URL of the service")
    parser.add_argument("--rate", type=float, help="open loop: requests a second")
    parser.add_argument("--rising", action="store_true", help="double the rate until it refuses")
    parser.add_argument("--clients", type=int, help="closed loop: clients at once")
    parser.add_argument("--compare", action="store_true", help="compare systems; none need run")
    parser.add_argument("--systems", help=f"of the comparison: {','.join(SYSTEMS)}; all by default")
    parser.add_argument("--rounds", type=int, default=2, help="of the comparison")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--warm-up", type=int, default=50, help="requests before measuring")
    parser.add_argument("--k", type=int, default=24)
    parser.add_argument("--rewrite", choices=("auto", "off"), default="off")


if __name__ == "__main__":
    command.main("bench", __doc__, run, add_arguments)
