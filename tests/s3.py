"""An S3 server over real HTTP in this process, moto's, that can be slow, or go away and come back with what it held."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import BaseWSGIServer, WSGIRequestHandler, make_server


class _Quiet(WSGIRequestHandler):
    def log(self, *_: Any) -> None:
        pass


class S3Server:
    """One endpoint; several of them in a process show the same buckets."""

    def __init__(self) -> None:
        self._app = DomainDispatcherApplication(create_backend_app)
        self.port = 0
        self._delay_s = 0.0
        self._http: BaseWSGIServer | None = None
        self.start()

    @property
    def options(self) -> dict[str, str]:
        """For `store_options`."""
        return {"endpoint_url": f"http://127.0.0.1:{self.port}", "key": "test", "secret": "test"}

    def start(self) -> None:
        """Listens, after the first time on the same port again."""
        self._http = make_server(
            "127.0.0.1", self.port, self._answer, threaded=True, request_handler=_Quiet
        )
        self.port = self._http.server_port
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Refuses connections from now on."""
        if self._http is not None:
            self._http.shutdown()
            self._thread.join()
            self._http.server_close()
            self._http = None

    @contextmanager
    def slow(self, seconds: float) -> Iterator[None]:
        """Every answer begins so much later for the length of the block."""
        self._delay_s = seconds
        try:
            yield
        finally:
            self._delay_s = 0.0

    def _answer(self, environ: Any, start_response: Any) -> Any:
        time.sleep(self._delay_s)
        return self._app(environ, start_response)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Stopped for the length of the block."""
        self.stop()
        try:
            yield
        finally:
            self.start()
