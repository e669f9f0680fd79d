"""The guards of this folder's conftest do guard."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest
import ray


def test_ray_init_raises():
    with pytest.raises(RuntimeError, match="tests/cluster"):
        ray.init()


@pytest.mark.parametrize("call", ["connect", "connect_ex"])
def test_connecting_to_an_internet_address_raises(call):
    with socket.socket() as sock, pytest.raises(RuntimeError, match=r"127\.0\.0\.1"):
        getattr(sock, call)(("127.0.0.1", 9))


def test_the_shells_settings_are_not_seen():
    assert not [name for name in os.environ if name.startswith("AISLE_")]


async def test_event_loops_still_work():
    assert await asyncio.to_thread(lambda: 1) == 1
