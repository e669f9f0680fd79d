"""Parts of the split graph over an S3 store die under load: answers go on, and nothing wrong is answered.

One deployment over an S3 server serves all tests of this file; each leaves it whole. They print how long it took until
the graph was whole again.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import httpx
import pytest

from aisle.nightly.publish import publish
from aisle.snapshot import Library
from aisle.store import Store
from jobs.cluster import LocalCluster
from jobs.open_loop import Sample
from jobs.serving import deploy
from jobs.swap import CONFIG, TOPOLOGIES, failures, flip, late, mixed
from jobs.swap_shop import Shop, open_shop
from tests.graph import (
    RATE_PER_S,
    REFUSED,
    kill,
    replicas,
    rollout,
    tally,
    unclear,
    under_load,
    wait_until,
)
from tests.s3 import S3Server

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


@dataclass(frozen=True)
class Graph:
    """A deployed shop whose store can be taken away from it."""

    cluster: LocalCluster
    shop: Shop
    url: str
    server: S3Server
    publisher: Library
    """Reaches the store while the graph's endpoint is down."""

    def make_live(self, snapshot: str) -> None:
        publish(self.publisher, snapshot, expected=self.publisher.current())

    def wait_for(self, snapshot: str) -> float:
        return wait_until(
            f"{snapshot} is live", lambda: rollout(self.url).get("active") == snapshot, 60
        )[1]

    def right(self, samples: list[Sample], degraded: tuple[str, ...] = ()) -> None:
        """Every request was answered right, in part only where `degraded` allows it, or refused clearly."""
        assert failures(unclear(samples)) == {}
        assert mixed(self.shop, samples) == []
        left_out = {part for each in samples for part in each.body.get("degraded", ())}
        assert left_out <= set(degraded)
        last = max(each.due_s for each in samples) - 1
        assert [each for each in samples if each.due_s > last and each.status != 200] == []


@dataclass(frozen=True)
class Stored:
    """A shop on an S3 server."""

    shop: Shop
    server: S3Server
    publisher: Library


@pytest.fixture(scope="session")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stored]:
    server, other = S3Server(), S3Server()
    bucket = f"shop-{uuid.uuid4().hex[:8]}"
    url = f"s3://{bucket}/aisle"
    publisher = Store.open(url, other.options)
    publisher.locate()[0].mkdir(bucket)
    options = ", ".join(f"{name}: '{value}'" for name, value in server.options.items())
    shop = open_shop(
        CONFIG,
        tmp_path_factory.mktemp("faults"),
        overrides=[f"store={url}", f"store_options={{{options}}}"],
    )
    yield Stored(shop, server, Library(publisher))
    server.stop()
    other.stop()


@pytest.fixture(scope="module")
def graph(stored: Stored, cluster: LocalCluster) -> Graph:
    url = deploy(cluster, CONFIG, [*stored.shop.overrides, *TOPOLOGIES["split"]])
    return Graph(cluster, stored.shop, url, stored.server, stored.publisher)


def test_publication_and_rollback_on_s3_reach_the_graph(graph, say):
    flipping = flip(
        graph.shop, graph.cluster, graph.url, flips=1, rate_per_s=RATE_PER_S, before_s=2
    )
    samples, switches = asyncio.run(flipping)
    graph.right(samples)
    assert failures(samples) == {}
    assert late(samples, switches) == []
    publication, rollback = switches
    assert rollback.switched_s - rollback.published_s < 10
    say(f"publication {publication.took_s:.1f} s, rollback by command {rollback.took_s:.1f} s")


@pytest.mark.parametrize(
    ("deployment", "degraded", "cut_off"),
    [
        # The other gateway has to answer everything, and may be too slow for that on a busy machine.
        ("Gateway", ("rank", "shards"), 2),
        ("Ranker", ("rank",), 0),
        ("Shards0", ("shards",), 0),
    ],
)
def test_a_killed_replica_is_replaced_and_costs_completeness_at_most(
    graph, say, deployment, degraded, cut_off
):
    """HAProxy may close a connection unanswered when its gateway dies: one request of 725 where this was written."""
    samples, took_s = under_load(graph.url, graph.shop, lambda: kill(graph.cluster, deployment))
    lost = [each for each in samples if each.status == 0]
    say(f"{deployment}: replaced after {took_s:.1f} s; {tally(samples)}, {len(lost)} cut off")
    assert len(lost) <= cut_off
    graph.right([each for each in samples if each.status], degraded)


def test_a_killed_coordinator_is_replaced_and_goes_on_following(graph, say):
    """Answers do not pass through it, so none may be touched."""
    samples, took_s = under_load(graph.url, graph.shop, lambda: kill(graph.cluster, "Coordinator"))
    say(f"Coordinator: replaced after {took_s:.1f} s; {tally(samples)}")
    assert failures(samples) == {}
    graph.right(samples)
    newest, oldest = graph.shop.snapshots[-1], graph.shop.snapshots[0]
    for snapshot in (oldest, newest):
        graph.make_live(snapshot)
        graph.wait_for(snapshot)


def test_half_a_minute_without_the_store_goes_unnoticed_but_in_what_the_graph_says_of_itself(
    graph, say
):
    live, other = graph.shop.snapshots[-1], graph.shop.snapshots[0]

    def outage() -> str:
        with graph.server.away():
            started = time.monotonic()
            said = wait_until("the outage is reported", lambda: rollout(graph.url)["problem"], 25)
            graph.make_live(other)  # reaches the buckets through the other endpoint
            time.sleep(max(30 - (time.monotonic() - started), 0))
            assert rollout(graph.url)["active"] == live
        return str(said[0])

    samples, problem = under_load(graph.url, graph.shop, outage)
    seconds = graph.wait_for(other)
    say(
        f"store away for 30 s: {tally(samples)}; followed {seconds:.1f} s after; said: {problem[:80]}"
    )
    assert failures(samples) == {}
    graph.right(samples)
    wait_until("the report is taken back", lambda: rollout(graph.url)["problem"] is None, 30)
    graph.make_live(live)
    graph.wait_for(live)


def test_a_slow_store_makes_a_switch_slow_and_no_request(graph, say):
    """A second and a half for every answer of the store: a switch needs a few, one after another."""
    live, other = graph.shop.snapshots[-1], graph.shop.snapshots[0]

    def switch() -> float:
        with graph.server.slow(1.5):
            graph.make_live(other)
            return graph.wait_for(other)

    samples, took_s = under_load(graph.url, graph.shop, switch)
    say(f"slow store: switched after {took_s:.1f} s; {tally(samples)}")
    assert took_s > 1.5
    assert failures(samples) == {}
    graph.right(samples)
    graph.make_live(live)
    graph.wait_for(live)


def test_of_a_shard_that_hangs_the_other_replica_is_asked(graph, say):
    """One of two replicas stops without dying (SIGSTOP), as on a node that swaps or loses its disk."""
    victim = min(replicas(graph.cluster, "Shards0").values())

    def hang() -> None:
        os.kill(victim, signal.SIGSTOP)
        try:
            time.sleep(6)
        finally:
            os.kill(victim, signal.SIGCONT)
        time.sleep(4)

    samples, _ = under_load(graph.url, graph.shop, hang)
    answered = [each for each in samples if each.status == 200]
    slowest_ms = max(each.latency_ms for each in answered)
    say(f"Shards0 hangs for 6 s: {tally(samples)}, slowest answer {slowest_ms:.0f} ms")
    graph.right(samples, ("shards", "rank"))
    allowed_ms = graph.shop.bodies[0].get(
        "timeout_ms", graph.shop.settings.serving.default_timeout_ms
    )
    assert slowest_ms < allowed_ms / 2  # a quarter of it until the other replica is asked


def test_ten_times_too_much_is_refused_clearly_and_is_over_when_it_ends(graph, say):
    """512 clients for queues of 384: no request hangs or fails unclearly, and what is answered is right."""
    before, _ = under_load(graph.url, graph.shop, lambda: time.sleep(1))
    flood = asyncio.run(_closed_loop(graph.url, graph.shop, clients=512, seconds=10.0))
    after, _ = under_load(graph.url, graph.shop, lambda: time.sleep(3))
    refused = [each for each in flood if each.status in REFUSED]
    say(f"overload: {tally(flood)}, {len(refused) / len(flood):.0%} refused; after: {tally(after)}")
    graph.right(before)
    assert failures(unclear(flood)) == {}
    assert mixed(graph.shop, flood) == []
    assert refused
    assert [each for each in flood if each.status == 200]
    settled = [each for each in after if each.due_s > after[0].due_s + 2]
    assert failures(settled) == {}


def test_a_live_snapshot_deleted_by_hand_is_answered_from_the_copy_and_reported(graph, say):
    """Last of this file: the shop's store has lost a snapshot after it."""
    live = str(rollout(graph.url)["active"])
    filesystem, root = graph.publisher.store.locate()

    def delete() -> str:
        filesystem.rm(f"{root}/snapshots/{live}", recursive=True)
        return str(wait_until("it is reported", lambda: rollout(graph.url)["problem"], 30)[0])

    samples, problem = under_load(graph.url, graph.shop, delete)
    say(f"live snapshot deleted: {tally(samples)}; said: {problem[:100]}")
    assert failures(samples) == {}
    graph.right(samples)
    assert live in problem
    other = graph.shop.snapshots[0]
    graph.make_live(other)
    graph.wait_for(other)
    wait_until("the report is taken back", lambda: rollout(graph.url)["problem"] is None, 30)


async def _closed_loop(url: str, shop: Shop, clients: int, seconds: float) -> list[Sample]:
    """As many clients as are named, each asking again at once."""
    samples: list[Sample] = []
    limits = httpx.Limits(max_connections=clients, max_keepalive_connections=clients)
    ends = time.monotonic() + seconds
    async with httpx.AsyncClient(base_url=url, timeout=30.0, limits=limits) as client:

        async def ask(first: int) -> None:
            number = first
            while time.monotonic() < ends:
                due = time.monotonic()
                status, retry_after = 0, None
                try:
                    response = await client.post(
                        "/v1/search", json=shop.bodies[number % len(shop.bodies)]
                    )
                    status, retry_after = response.status_code, response.headers.get("retry-after")
                    body = response.json()
                except (httpx.HTTPError, ValueError) as error:
                    body = {"error": f"{type(error).__name__}: {error}"}
                samples.append(
                    Sample(number, due, due, time.monotonic(), status, body, retry_after)
                )
                number += clients

        await asyncio.gather(*(ask(first) for first in range(clients)))
    return samples
