"""Keeps unit tests what they are: no Ray, no network, no settings of the shell they run in."""

from __future__ import annotations

import os
import socket
from typing import Any, NoReturn

import pytest
import ray


def _no_ray(*_: Any, **__: Any) -> NoReturn:
    raise RuntimeError(
        "a unit test called ray.init; a test that needs Ray belongs in tests/cluster"
    )


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("AISLE_")]:
        monkeypatch.delenv(name)
    monkeypatch.setattr(ray, "init", _no_ray)

    real = {name: getattr(socket.socket, name) for name in ("connect", "connect_ex")}

    def guarded(name: str) -> Any:
        def connect(self: socket.socket, address: Any) -> Any:
            if self.family != socket.AF_UNIX:  # event loops and pools talk to themselves over those
                raise RuntimeError(
                    f"a unit test connected to {address!r}; a test over HTTP belongs outside tests/unit"
                )
            return real[name](self, address)

        return connect

    for name in real:
        monkeypatch.setattr(socket.socket, name, guarded(name))
