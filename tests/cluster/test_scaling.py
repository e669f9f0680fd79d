"""Gateways come with the load and go when it is over, on a real cluster."""

from __future__ import annotations

import asyncio
import time

import pytest

from jobs.open_loop import OpenLoop
from jobs.serving import deploy
from jobs.swap import CONFIG, failures, mixed
from jobs.swap_shop import open_shop
from tests.graph import replicas, wait_until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]


def test_a_gateway_is_added_under_load_and_removed_after_it_without_a_failed_request(
    cluster, tmp_path, capsys
):
    shop = open_shop(CONFIG, tmp_path)
    scaling = [
        "serving.topology=fused",
        "serving.gateway_replicas=1",
        "serving.scaling.max_gateway_replicas=2",
        "serving.scaling.ongoing_per_replica=0.01",  # that 50 requests/s of a few milliseconds are too much for one
        "serving.scaling.startup_s=1",
        "serving.scaling.hold_s=10",
        "serving.scaling.look_back_s=5",
    ]
    url = deploy(cluster, CONFIG, [*shop.overrides, *scaling])
    assert len(replicas(cluster, "Gateway")) == 1

    async def loaded() -> tuple[OpenLoop, float]:
        async with OpenLoop(url, shop.bodies, 50.0) as load:
            _, took_s = await asyncio.to_thread(
                wait_until, "a second gateway", lambda: len(replicas(cluster, "Gateway")) == 2, 90
            )
            await asyncio.sleep(2)
        return load, took_s

    load, took_s = asyncio.run(loaded())
    assert failures(load.samples) == {}
    assert mixed(shop, load.samples) == []
    started = time.monotonic()
    wait_until("one gateway again", lambda: len(replicas(cluster, "Gateway")) == 1, 90)
    with capsys.disabled():
        print(
            f"\n  second gateway after {took_s:.1f} s, gone {time.monotonic() - started:.1f} s after",
            end="",
        )
