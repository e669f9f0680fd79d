"""Snapshots change under load on a real cluster: nobody gets an error, or an answer of two snapshots.

`jobs.swap` brings the shop, the load and the counting; its references come from the local pipeline, not from Serve.
"""

from __future__ import annotations

import asyncio
import shutil
import urllib.request
from pathlib import Path

import pytest

from aisle.nightly.publish import publish
from jobs.cluster import LocalCluster
from jobs.open_loop import OpenLoop
from jobs.serving import deploy
from jobs.swap import CONFIG, TOPOLOGIES, failures, flip, late, mixed
from jobs.swap_shop import Shop, open_shop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

RATE_PER_S = 20.0
FLIPS = 2


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    return open_shop(CONFIG, tmp_path_factory.mktemp("swap"))


def serve(cluster: LocalCluster, shop: Shop, topology: str) -> str:
    return deploy(cluster, CONFIG, [*shop.overrides, *TOPOLOGIES[topology]])


def test_every_request_of_the_load_tells_the_snapshots_apart(shop):
    assert all(
        len(set(each)) == len(shop.snapshots) for each in zip(*shop.expected.values(), strict=True)
    )


@pytest.mark.parametrize("topology", TOPOLOGIES)
def test_no_request_fails_and_no_answer_is_mixed_while_snapshots_change(cluster, shop, topology):
    url = serve(cluster, shop, topology)
    flipping = flip(shop, cluster, url, flips=FLIPS, rate_per_s=RATE_PER_S, before_s=3.0)
    samples, switches = asyncio.run(flipping)
    assert failures(samples) == {}
    assert [each.body["degraded"] for each in samples if each.body["degraded"]] == []
    assert mixed(shop, samples) == []
    assert late(samples, switches) == []
    assert {each.body["snapshot"] for each in samples} == set(shop.snapshots)
    assert len(switches) == 2 * FLIPS
    # From CURRENT on: how long the rollback's command takes to start is up to what else the machine does.
    assert [each for each in switches if each.switched_s - each.published_s > 10] == []


def test_a_previous_snapshot_deleted_by_hand_is_not_missed(cluster, shop):
    url = serve(cluster, shop, "split")
    oldest = shop.snapshots[0]
    publish(shop.library, oldest, expected=shop.library.current())
    previous = shop.snapshots[-1]
    shutil.rmtree(Path(shop.settings.store) / "snapshots" / previous)

    async def under_load() -> OpenLoop:
        async with OpenLoop(url, shop.bodies, RATE_PER_S) as load:
            await asyncio.sleep(3)
        return load

    samples = asyncio.run(under_load()).samples
    assert failures(samples) == {}
    assert mixed(shop, samples) == []
    assert {each.body["snapshot"] for each in samples} <= set(shop.snapshots)
    assert samples[-1].body["snapshot"] == oldest
    assert previous not in shop.library.ids()


def test_a_request_id_that_is_none_is_replaced(cluster, shop):
    url = f"{serve(cluster, shop, 'split')}/v1/search?q=dress&timeout_ms=5000"
    given = {}
    for sent in ("order-17.a_B", "no spaces allowed", "x" * 65, ""):
        request = urllib.request.Request(url, headers={"X-Request-Id": sent})
        with urllib.request.urlopen(request, timeout=30) as response:
            assert response.status == 200
            given[sent] = response.headers["X-Request-Id"]
    assert given.pop("order-17.a_B") == "order-17.a_B"
    assert all(len(identity) == 32 for identity in given.values())
