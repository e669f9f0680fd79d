"""A service under load for as long as it takes to see memory grow: memory of every replica, minute by minute.

    python -m jobs.soak --config configs/benchmarks/homedepot.yaml [--minutes 20] [--rate 20] [--topology fused|split]

The config's live snapshot is served on a private Ray cluster, the judged queries are sent in open loop for the whole
time, and each quarter of a minute the memory of every replica is read: what it has for itself (unique set size), since
pages of mapped files belong to the page cache and are shared. Growth is the mean of the last quarter of the run against
that of the second; the first quarter warms up. A service grows where one deployment gains more than 2 % and 8 MB.

The memory of a gateway, mapped pages included (resident set size), is held against the bytes of the snapshot's shards.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from aisle.config import Settings
from aisle.errors import ConfigError
from aisle.snapshot import Library
from aisle.store import Store
from jobs import command
from jobs.cluster import LocalCluster, local_cluster
from jobs.evaluate import read_judgments
from jobs.http_load import Client, Tally
from jobs.serving import deploy, status
from jobs.swap import TOPOLOGIES

logger = logging.getLogger("jobs.soak")

ROOT = Path(__file__).resolve().parent.parent
GATEWAY = "Gateway"
"""Name of the deployment that answers."""
SAMPLE_EVERY_S = 15.0
GROWTH_FRACTION, GROWTH_BYTES = 0.02, 8_000_000
SHARD_BYTES_TIMES, BESIDE_SHARDS_BYTES = 2.5, 600_000_000

Memory = dict[str, dict[str, int]]
"""By deployment: `own` and `resident` bytes, of all its replicas together, and `largest`, resident, of one."""


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Serves, loads, watches."""
    if arguments.minutes * 60 < 8 * SAMPLE_EVERY_S:
        raise ConfigError(
            f"--minutes is {arguments.minutes:g}; at least {8 * SAMPLE_EVERY_S / 60:g}, or a quarter has no two samples"
        )
    library = Library(Store.open(settings.store, settings.store_options))
    manifest = library.manifest(library.current())
    shards = [entry.size for path, entry in manifest.files.items() if path.startswith("shards/")]
    judgments = read_judgments(settings, settings.evaluation.split)
    bodies = [{"query": text, "k": 24} for text in judgments.texts]
    with local_cluster(num_cpus=8, python_path=[ROOT, ROOT / "platform"]) as cluster:
        overrides = [*arguments.overrides, *TOPOLOGIES[arguments.topology]]
        url = deploy(cluster, Path(arguments.config), overrides)
        samples, tally = asyncio.run(
            watch(cluster, url, bodies, arguments.rate, 60 * arguments.minutes)
        )
    found = {
        "topology": arguments.topology,
        "snapshot": manifest.snapshot_id,
        "minutes": arguments.minutes,
        "rate_per_s": arguments.rate,
        "statuses": dict(tally.statuses),
        "degraded": dict(tally.degraded),
        "p50_ms": round(tally.percentile_ms(50), 2),
        "p99_ms": round(tally.percentile_ms(99), 2),
        **verdict(samples, sum(shards)),
    }
    found["ok"] = found["ok"] and not tally.errors
    print(text_table(found), file=sys.stderr)
    return found


async def watch(
    cluster: LocalCluster,
    url: str,
    bodies: Sequence[dict[str, Any]],
    rate_per_s: float,
    seconds: float,
) -> tuple[list[Memory], Tally]:
    """Loads for so long; the memory of all replicas at even times, and what came back."""
    samples: list[Memory] = []
    async with Client(url, bodies) as client:
        await client.warm_up(50)
        loading = asyncio.create_task(client.open_loop(rate_per_s, seconds))
        started = time.monotonic()
        while not loading.done():
            due = started + SAMPLE_EVERY_S * (len(samples) + 1)
            await asyncio.wait([loading], timeout=max(due - time.monotonic(), 0.0))
            if not loading.done():
                samples.append(await asyncio.to_thread(memory_of, cluster.env))
                logger.info(
                    "%.1f min: %s",
                    (time.monotonic() - started) / 60,
                    {name: f"{each['own'] / 1e6:.1f} MB" for name, each in samples[-1].items()},
                )
        return samples, await loading


def memory_of(env: Mapping[str, str]) -> Memory:
    """Memory of every deployment's running replicas, their child processes included."""
    found: Memory = {}
    for name, deployment in status(env)["deployments"].items():
        total = {"own": 0, "resident": 0, "largest": 0}
        for replica in deployment["replicas"]:
            if replica["state"] != "RUNNING":
                continue
            with suppress(psutil.Error):
                process = psutil.Process(replica["pid"])
                for each in (process, *process.children(recursive=True)):
                    memory = each.memory_full_info()
                    total["own"] += memory.uss
                    total["resident"] += memory.rss
                    total["largest"] = max(total["largest"], memory.rss)
        found[name] = total
    return found


def verdict(samples: Sequence[Memory], shard_bytes: int) -> dict[str, Any]:
    """Growth of each deployment between the second and the last quarter, and the gateway against its bound."""
    quarter = len(samples) // 4
    growth = {}
    for name in samples[-1]:
        own = np.array([each[name]["own"] for each in samples], np.float64)
        before, after = own[quarter : 2 * quarter].mean(), own[-quarter:].mean()
        growth[name] = {
            "before_mb": round(before / 1e6, 1),
            "after_mb": round(after / 1e6, 1),
            "grows": bool(after - before > max(GROWTH_FRACTION * before, GROWTH_BYTES)),
        }
    resident = max(each[GATEWAY]["largest"] for each in samples)
    bound = SHARD_BYTES_TIMES * shard_bytes + BESIDE_SHARDS_BYTES
    return {
        "memory": growth,
        "gateway_mb": round(resident / 1e6, 1),
        "gateway_bound_mb": round(bound / 1e6, 1),
        "ok": resident <= bound and not any(each["grows"] for each in growth.values()),
    }


def text_table(found: dict[str, Any]) -> str:
    """For a terminal: a row a deployment, then what was answered."""
    lines = [f"{'':16}{'2nd quarter MB':>16}{'last quarter MB':>16}"]
    for name, each in found["memory"].items():
        grows = "  GROWS" if each["grows"] else ""
        lines.append(f"{name:16}{each['before_mb']:16,.1f}{each['after_mb']:16,.1f}{grows}")
    lines.append(
        f"largest gateway, mapped pages included: {found['gateway_mb']:,.1f} MB, at most "
        f"{found['gateway_bound_mb']:,.1f} wanted"
    )
    lines.append(f"answers {found['statuses']}, p50 {found['p50_ms']} ms, p99 {found['p99_ms']} ms")
    return "\n".join(lines)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--minutes", type=float, default=20.0)
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--topology", choices=tuple(TOPOLOGIES), default="fused")


if __name__ == "__main__":
    command.main("soak", __doc__, run, add_arguments)
