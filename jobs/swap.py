"""Publishes and rolls back under load on a real cluster, and counts what a shopper would have noticed.

    python -m jobs.swap [--flips 5] [--rate 20] [--topology fused|split|both]
    python -m jobs.swap --config configs/benchmarks/homedepot.yaml --folder DIR [--changed-every 10]

A shop with three snapshots in four shards, a private Ray cluster, the Serve application with two replicas of
everything, and an open loop of requests for the whole time. The shop is the sample catalogue with hashing vectors, or
with `--config` that config's own catalogue and encoder, built below `--folder` once (minutes of embedding).

A flip is one publication and one rollback to the oldest; publications take the other two in turn, so that, with room
for two, each has to be loaded. The first rollback goes through `python -m jobs.rollback`, as an operator's would, and
its seconds count from the command's start. An answer is mixed if it is not, hit by hit, what the local pipeline answers
from the snapshot that it names. Switched means that the coordinator has every gateway's confirmation.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from aisle.errors import AisleError, JobFailed
from aisle.nightly.publish import publish
from jobs.cluster import LocalCluster, local_cluster
from jobs.open_loop import OpenLoop, Sample
from jobs.serving import deploy
from jobs.swap_shop import Shop, open_real_shop, open_shop

logger = logging.getLogger("jobs.swap")

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "configs" / "local.yaml"
TOPOLOGIES = {
    "fused": ("serving.topology=fused", "serving.gateway_replicas=2"),
    "split": (
        "serving.topology=split",
        "serving.gateway_replicas=2",
        "serving.shard_groups=2",
        "serving.shard_replicas=2",
        "serving.ranker_replicas=2",
    ),
}
SWITCH_LIMIT_S = 30.0
SETTLE_S = 2.0
"""Between a switch and the next publication; counted as part of the swap."""


@dataclass(frozen=True, slots=True)
class Switch:
    """One change of CURRENT."""

    snapshot: str
    rollback: bool
    asked_s: float
    """When the publication or the rollback's command began, on `time.monotonic`."""
    published_s: float
    """When CURRENT named the snapshot."""
    switched_s: float
    """When every gateway answered from it."""

    @property
    def took_s(self) -> float:
        """From the request to the last gateway."""
        return self.switched_s - self.asked_s


async def flip(
    shop: Shop, cluster: LocalCluster, url: str, flips: int, rate_per_s: float, before_s: float
) -> tuple[list[Sample], list[Switch]]:
    """Loads the service, then publishes and rolls back; begins and ends with the oldest snapshot live."""
    oldest, *newer = shop.snapshots
    publish(shop.library, oldest, expected=shop.library.current())
    await _switched(url, oldest, time.monotonic())
    switches = []
    async with OpenLoop(url, shop.bodies, rate_per_s) as load:
        await asyncio.sleep(before_s)
        for number in range(flips):
            night = newer[number % len(newer)]
            for target, live in ((night, oldest), (oldest, night)):
                asked_s = time.monotonic()
                change: Callable[[], object] = partial(publish, shop.library, target, expected=live)
                if number == 0 and target == oldest:
                    change = partial(_roll_back, shop, cluster)
                changing = asyncio.create_task(asyncio.to_thread(change))
                published_s = await _published(shop, target, changing)
                switched_s = await _switched(url, target, published_s)
                await changing
                switches.append(Switch(target, target == oldest, asked_s, published_s, switched_s))
                logger.info("%s is live in all gateways after %.2f s", target, switches[-1].took_s)
                await asyncio.sleep(SETTLE_S)
    return load.samples, switches


def _roll_back(shop: Shop, cluster: LocalCluster) -> None:
    sets = [word for each in shop.overrides for word in ("--set", each)]
    done = subprocess.run(
        [sys.executable, "-m", "jobs.rollback", "--config", str(shop.config), *sets],
        cwd=ROOT,
        env=dict(cluster.env),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise JobFailed(f"jobs.rollback ended with status {done.returncode}: {done.stderr[-2000:]}")


async def _published(shop: Shop, snapshot_id: str, changing: asyncio.Task[object]) -> float:
    """Waits until CURRENT names a snapshot, while its change is under way; the time at which it did."""
    while shop.library.current() != snapshot_id and not changing.done():
        await asyncio.sleep(0.05)
    published_s = time.monotonic()
    if changing.done():
        changing.result()  # raises what the change raised
    return published_s


async def _switched(url: str, snapshot_id: str, asked_s: float) -> float:
    """Waits until the coordinator says that every gateway answers from a snapshot; the time at which it did."""
    async with httpx.AsyncClient(base_url=url, timeout=10.0) as client:
        while True:
            rollout = (await client.get("/v1/snapshot")).json()["rollout"]
            now = time.monotonic()
            if rollout and rollout["active"] == snapshot_id:
                return now
            if now - asked_s > SWITCH_LIMIT_S:
                raise JobFailed(
                    f"{snapshot_id} is not live in every gateway after {SWITCH_LIMIT_S:.0f} s: {rollout}"
                )
            await asyncio.sleep(0.1)


def failures(samples: Sequence[Sample]) -> Counter[str]:
    """What did not answer 200, by status and message."""
    return Counter(
        f"{each.status}: {each.body.get('detail') or each.body.get('error') or each.body}"
        for each in samples
        if each.status != 200
    )


def mixed(shop: Shop, samples: Sequence[Sample]) -> list[Sample]:
    """Whole answers that are not those of the snapshot that they name."""
    whole = [each for each in samples if each.status == 200 and not each.body["degraded"]]
    return [each for each in whole if not shop.is_right(each.number, each.body)]


def late(samples: Sequence[Sample], switches: Sequence[Switch]) -> list[Sample]:
    """Answers to requests sent while one snapshot alone was live in all gateways that name another one."""
    found = []
    ends = [*(each.asked_s for each in switches[1:]), float("inf")]
    for switch, end_s in zip(switches, ends, strict=True):
        found += [
            each
            for each in samples
            if each.status == 200
            and each.sent_s > switch.switched_s
            and each.done_s < end_s
            and each.body["snapshot"] != switch.snapshot
        ]
    return found


def summary(shop: Shop, samples: Sequence[Sample], switches: Sequence[Switch]) -> dict[str, Any]:
    """The table's row: counts, latencies before and during, seconds to switch."""
    first_s = switches[0].published_s
    answered = [each for each in samples if each.status == 200]
    before = [each.latency_ms for each in answered if each.due_s < first_s]
    during = [
        each.latency_ms
        for each in answered
        if any(s.published_s <= each.done_s and each.due_s <= s.switched_s for s in switches)
    ]
    return {
        "publications": sum(not each.rollback for each in switches),
        "rollbacks": sum(each.rollback for each in switches),
        "requests": len(samples),
        "failed": len(samples) - len(answered),
        "degraded": sum(bool(each.body["degraded"]) for each in answered),
        "mixed": len(mixed(shop, samples)),
        "late": len(late(samples, switches)),
        "p50_before_ms": _percentile(before, 50),
        "p99_before_ms": _percentile(before, 99),
        "requests_during": len(during),
        "p99_during_ms": _percentile(during, 99),
        "rollback_command_s": round(max(each.published_s - each.asked_s for each in switches), 2),
        "publish_median_s": _median([each.took_s for each in switches if not each.rollback]),
        "publish_max_s": round(max(each.took_s for each in switches if not each.rollback), 2),
        "rollback_median_s": _median([each.took_s for each in switches if each.rollback]),
        "rollback_max_s": round(max(each.took_s for each in switches if each.rollback), 2),
    }


def _percentile(latencies_ms: Sequence[float], percent: int) -> float | None:
    return round(float(np.percentile(latencies_ms, percent)), 1) if latencies_ms else None


def _median(seconds: Sequence[float]) -> float:
    return round(float(np.median(seconds)), 2)


def main() -> None:
    """Runs the flips in the topologies asked for and exits: 0 when nothing failed and nothing was mixed."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.swap",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--flips", type=int, default=5, help="publications, each with a rollback")
    parser.add_argument("--rate", type=float, default=20.0, help="requests a second")
    parser.add_argument("--before", type=float, default=20.0, help="seconds of load before flips")
    parser.add_argument("--topology", choices=(*TOPOLOGIES, "both"), default="both")
    parser.add_argument("--config", type=Path, help="a real catalogue instead of the sample")
    parser.add_argument("--folder", type=Path, help="with --config: keeps its snapshots")
    parser.add_argument(
        "--changed-every",
        type=int,
        default=10,
        help="with --config: every n-th product changes; 4 and fewer compact the shards, so all is loaded anew",
    )
    parser.add_argument("--set", action="append", default=[], metavar="SECTION.KEY=VALUE")
    arguments = parser.parse_args()
    if (arguments.config is None) != (arguments.folder is None):
        parser.error("--config and --folder go together")
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s"
    )
    for chatty in ("faiss", "httpx", "aisle"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    chosen = [each for each in TOPOLOGIES if arguments.topology in (each, "both")]
    rows: dict[str, dict[str, Any]] = {}
    failure = ""
    try:
        _measure(chosen, arguments, rows)
    except AisleError as error:
        failure = f"{type(error).__name__}: {error}"
    # What was measured before something failed was measured all the same.
    for name in next(iter(rows.values()), ()):
        values = "".join(f"{row[name]!s:>12}" for row in rows.values())
        print(f"{name:20}{values}", file=sys.stderr)
    if failure:
        sys.exit(failure)
    ok = not any(
        row[name] for row in rows.values() for name in ("failed", "degraded", "mixed", "late")
    )
    print(json.dumps({"job": "swap", "ok": ok, "rate_per_s": arguments.rate, **rows}), flush=True)
    sys.exit(0 if ok else 1)


def _measure(
    chosen: Sequence[str], arguments: argparse.Namespace, rows: dict[str, dict[str, Any]]
) -> None:
    """Puts a row a topology into `rows` as they come."""
    with tempfile.TemporaryDirectory(prefix="aisle-swap-") as folder, ExitStack() as stack:
        shop = _shop(arguments, Path(folder))
        cluster = stack.enter_context(
            local_cluster(num_cpus=8, python_path=[ROOT, ROOT / "platform"])
        )
        for topology in chosen:
            started = time.monotonic()
            url = deploy(cluster, shop.config, [*shop.overrides, *TOPOLOGIES[topology]])
            deployed_s = time.monotonic() - started
            logger.info("%s: deployed in %.0f s", topology, deployed_s)
            flipping = flip(shop, cluster, url, arguments.flips, arguments.rate, arguments.before)
            samples, switches = asyncio.run(flipping)
            for why, count in failures(samples).most_common(5):
                logger.warning("%d times %s", count, why)
            row = summary(shop, samples, switches)
            rows[topology] = row | {"deployed_s": round(deployed_s, 1)}


def _shop(arguments: argparse.Namespace, folder: Path) -> Shop:
    if arguments.config is None:
        return open_shop(CONFIG, folder, overrides=arguments.set)
    return open_real_shop(
        arguments.config, arguments.folder.resolve(), arguments.changed_every, arguments.set
    )


if __name__ == "__main__":
    main()
