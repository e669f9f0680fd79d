"""A store that does not answer for a while: moto's S3 server, taken away and brought back on the same port."""

from __future__ import annotations

import threading
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server

from aisle.config import Settings
from aisle.errors import StoreError
from aisle.nightly.lease import read_claim
from aisle.nightly.run import Item, Worker
from aisle.snapshot import Library
from aisle.store import Retry, Store, store
from tests.shop import live, run_night, sample, settings_for, write_source

OUTAGE_S = 30.0


class Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


class Server:
    """Moto's S3, whose objects live in this process: they survive when nobody listens."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self._one_at_a_time = (
            threading.Lock()
        )  # moto checks a put's condition and stores in two steps
        self._http: BaseWSGIServer | None = None
        self.port = 0
        self.start()

    def __call__(self, environ: dict[str, Any], start: Callable[..., Any]) -> Any:
        with self._one_at_a_time:
            return list(self._app(environ, start))

    def start(self) -> None:
        self._http = make_server("127.0.0.1", self.port, self, threaded=True, request_handler=Quiet)
        self.port = self._http.server_port
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def stop(self) -> None:
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.stop()


class FailsAfter:
    """A mapper that takes the server away when a few parts of embedding are done."""

    def __init__(self, server: Server, parts: int, outage_s: float | None) -> None:
        self.done: Counter[str] = Counter()
        self._server, self._parts, self._outage_s = server, parts, outage_s

    def __call__(
        self,
        make_worker: Callable[[], Worker],
        items: Sequence[Item],
        *,
        step: str,
        actors: bool = False,
    ) -> Iterator[Item]:
        worker = make_worker()
        for item in items:
            if step == "embed" and self.done["embed"] == self._parts:
                self._server.stop()
                if self._outage_s is not None:
                    threading.Timer(self._outage_s, self._server.start).start()
            yield worker(item)
            self.done[step] += 1


def shop(folder: Path, server: Server, **nightly: float) -> Settings:
    """A shop on S3 with a live snapshot and a source that has changed since."""
    source = write_source(folder / "p.parquet", sample().products.slice(0, 40))
    bucket = f"shop-{uuid.uuid4().hex[:8]}"
    options = {"endpoint_url": f"http://127.0.0.1:{server.port}", "key": "test", "secret": "test"}
    settings = settings_for(
        folder, source, store=f"s3://{bucket}/aisle", store_options=options, nightly=nightly
    )
    Store.open(settings.store, options).locate()[0].mkdir(bucket)
    run_night(settings)
    write_source(source, sample().products.slice(0, 80))
    return settings


def undisturbed(folder: Path, server: Server) -> tuple[dict[str, Any], Counter[str]]:
    """The same two nights on a local store: the manifest and the parts of the second one, by step."""
    source = write_source(folder / "p.parquet", sample().products.slice(0, 40))
    settings = settings_for(folder, source)
    run_night(settings)
    write_source(source, sample().products.slice(0, 80))
    mapper = FailsAfter(server, -1, None)
    run_night(settings, mapper=mapper)
    return live(settings).comparable(), mapper.done


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_night_outlives_half_a_minute_without_its_store(tmp_path: Path, server: Server) -> None:
    """With the lease's default lifetime of 60 s, which is renewed every 20 s, so once or twice in between."""
    settings = shop(tmp_path, server)
    mapper, started = FailsAfter(server, 2, OUTAGE_S), time.monotonic()
    assert run_night(settings, mapper=mapper)["published"]
    assert time.monotonic() - started > OUTAGE_S
    manifest, done = undisturbed(tmp_path / "other", server)
    assert live(settings).comparable() == manifest
    assert mapper.done == done
    claim = read_claim(Store.open(settings.store, settings.store_options))
    assert claim is not None
    assert (claim.token, claim.released) == (2, True)  # it was held throughout


def test_an_outage_longer_than_the_retries_fails_clearly_and_the_next_attempt_goes_on(
    tmp_path: Path, server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = shop(tmp_path, server, lease_ttl_s=2, clock_skew_s=0)
    before = live(settings).snapshot_id
    mapper = FailsAfter(server, 2, None)
    with monkeypatch.context() as patch:
        patch.setattr(store, "Retry", partial(Retry, budget_s=0.5))
        with pytest.raises(StoreError, match=r"s3://shop-.*check network and endpoint, then run"):
            run_night(settings, mapper=mapper)
    assert mapper.done["embed"] == 2
    server.start()
    library = Library(Store.open(settings.store, settings.store_options))
    assert library.current() == before
    assert library.manifest(before).snapshot_id == before
    time.sleep(2.1)  # this process lives on, so its lease has to expire
    again = FailsAfter(server, -1, None)
    run_night(settings, mapper=again)
    assert not {"read", "rows"} & set(again.done)
    manifest, done = undisturbed(tmp_path / "other", server)
    assert live(settings).comparable() == manifest
    assert mapper.done["embed"] + again.done["embed"] == done["embed"]  # no part is made twice
