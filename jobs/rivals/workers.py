"""A rival behind FastAPI and uvicorn, one worker process a core, without Ray.

    python -m jobs.rivals.workers --config C --rival pipeline|lancedb --port 8123 [--workers 2]

`pipeline` is `aisle.pipeline` as it is; `lancedb` a hybrid search as its users would put it together. Runs until it is
ended; the kernel shares connections among the workers, which accept from one socket.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import signal
import socket
import sys
from collections.abc import Callable
from importlib import import_module

import uvicorn
from fastapi import FastAPI

from aisle.config import Settings, load

RIVALS = {"pipeline": "jobs.rivals.in_fastapi", "lancedb": "jobs.rivals.lance"}


def main() -> None:
    """Binds, starts the workers and waits for them."""
    parser = argparse.ArgumentParser(prog="python -m jobs.rivals.workers", description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--set", dest="overrides", action="append", default=[])
    parser.add_argument("--rival", choices=RIVALS, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    arguments = parser.parse_args()
    settings = load(arguments.config, arguments.overrides)
    prepared = import_module(RIVALS[arguments.rival]).prepare(settings)
    listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listening.bind(("127.0.0.1", arguments.port))
    listening.listen(512)
    context = multiprocessing.get_context("spawn")
    workers = [
        context.Process(target=serve, args=(arguments.rival, settings, prepared, listening))
        for _ in range(arguments.workers)
    ]
    for worker in workers:
        worker.start()

    def stop(*_: object) -> None:
        for worker in workers:
            worker.terminate()

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    for worker in workers:
        worker.join()
    if prepared:
        shutil.rmtree(prepared, ignore_errors=True)
    sys.exit(0)


def serve(rival: str, settings: Settings, prepared: str, listening: socket.socket) -> None:
    """One worker: builds the rival's application and answers from the shared socket."""
    make_app: Callable[[Settings, str], FastAPI] = import_module(RIVALS[rival]).make_app
    config = uvicorn.Config(make_app(settings, prepared), log_level="warning", access_log=False)
    uvicorn.Server(config).run(sockets=[listening])


if __name__ == "__main__":
    main()
