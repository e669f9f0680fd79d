"""A running Serve graph as the fault tests see it: its replicas, what it says of itself, and a load upon it."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import httpx

from jobs.cluster import LocalCluster
from jobs.open_loop import OpenLoop, Sample
from jobs.serving import status
from jobs.swap_shop import Shop

T = TypeVar("T")

RATE_PER_S = 20.0
REFUSED = (429, 503)


def replicas(cluster: LocalCluster, deployment: str) -> dict[str, int]:
    """Running replicas of a deployment, id to pid."""
    found: list[dict[str, Any]] = status(cluster.env)["deployments"][deployment]["replicas"]
    return {each["replica_id"]: each["pid"] for each in found if each["state"] == "RUNNING"}


def rollout(url: str) -> dict[str, str | None]:
    """What `/v1/snapshot` says of the coordinator, empty where that does not answer."""
    said: dict[str, str | None] | None = httpx.get(f"{url}/v1/snapshot", timeout=30).json()[
        "rollout"
    ]
    return said or {}


def wait_until(what: str, check: Callable[[], T], limit_s: float = 120.0) -> tuple[T, float]:
    """Waits for a check to give something true; gives that and the seconds."""
    started = time.monotonic()
    while not (found := check()):
        assert time.monotonic() - started < limit_s, f"not within {limit_s:.0f} s: {what}"
        time.sleep(0.2)
    return found, time.monotonic() - started


def kill(cluster: LocalCluster, deployment: str) -> float:
    """SIGKILL to one replica; the seconds until as many as before run again."""
    before = replicas(cluster, deployment)
    victim = min(before)
    os.kill(before[victim], signal.SIGKILL)

    def replaced() -> bool:
        return len(replicas(cluster, deployment).keys() - {victim}) >= len(before)

    return wait_until(f"a new {deployment}", replaced)[1]


def under_load(url: str, shop: Shop, act: Callable[[], T]) -> tuple[list[Sample], T]:
    """The answers to an open loop of a shop's requests while `act` runs."""
    return loaded(url, shop.bodies, RATE_PER_S, act)


def loaded(
    url: str, bodies: Sequence[dict[str, Any]], rate_per_s: float, act: Callable[[], T]
) -> tuple[list[Sample], T]:
    """The answers to an open loop of requests from two seconds before `act` to two seconds after it."""

    async def run() -> tuple[list[Sample], T]:
        async with OpenLoop(url, bodies, rate_per_s) as load:
            await asyncio.sleep(2)
            result = await asyncio.to_thread(act)
            await asyncio.sleep(2)
        return load.samples, result

    return asyncio.run(run())


def unclear(samples: list[Sample]) -> list[Sample]:
    """Requests that got neither an answer nor a refusal that says why and when to come back."""
    return [
        each
        for each in samples
        if each.status != 200
        and not (each.status in REFUSED and each.body.get("title") and each.retry_after)
    ]


def tally(samples: list[Sample]) -> str:
    """For people: how many were answered, degraded and refused."""
    degraded = sum(bool(each.body.get("degraded")) for each in samples)
    refused = sum(each.status != 200 for each in samples)
    return f"{len(samples)} requests, {degraded} degraded, {refused} refused"
