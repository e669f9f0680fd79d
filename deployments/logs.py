"""Structured logs: one JSON object a line on standard error, with the request and the snapshot that it is about.

Ray keeps a worker's standard error as session_latest/logs/worker-*.err. In throughput mode Serve puts its own logger in
place of `sys.stderr`, with a buffer of a thousand lines; these lines go past it, because the interesting ones are the
last before a fault. A query's text is never logged: it
may be personal. Lines about single requests are limited, because an overload would otherwise become a flood of them.
"""

from __future__ import annotations

import json
import logging
import sys
import time
from datetime import UTC, datetime
from typing import Any

from ray import serve
from ray.serve.exceptions import RayServeException

LINES_PER_S = 20.0
"""Lines about single requests that one replica writes at most; the next line says how many were left out."""

_STANDARD = set(logging.LogRecord("", 0, "", 0, "", None, None).__dict__) | {"message", "asctime"}
_OURS = ("aisle", "deployments")


class JsonLines(logging.Formatter):
    """time, level, logger, message, where it runs, and whatever the call gave as `extra`."""

    def __init__(self, where: dict[str, str] | None = None) -> None:
        super().__init__()
        self._where = where or {}

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever is in the record."""
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            **self._where,
        }
        line |= {k: v for k, v in record.__dict__.items() if k not in _STANDARD and k not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)


def set_up() -> None:
    """Sends this replica's own logs, and no other package's, to standard error as JSON; outside a replica nothing."""
    try:
        context = serve.get_replica_context()
    except (
        RayServeException
    ):  # a test that calls the class, or local testing mode: the caller's logging stands
        return
    where = {"deployment": context.deployment, "replica": context.replica_tag}
    handler = logging.StreamHandler(sys.__stderr__)
    handler.setFormatter(JsonLines(where))
    for name in _OURS:
        logger = logging.getLogger(name)
        logger.handlers = [handler]
        logger.setLevel(logging.INFO)
        logger.propagate = False


class RequestLog:
    """Writes lines about single requests, `LINES_PER_S` at most; not for concurrent threads."""

    def __init__(
        self, logger: logging.Logger, clock: Any = time.monotonic, lines_per_s: float = LINES_PER_S
    ) -> None:
        self._logger = logger
        self._clock = clock
        self._rate = lines_per_s
        self._second = -1
        self._written = self._left_out = 0

    def __call__(self, level: int, message: str, **fields: Any) -> None:
        """Logs a message with its fields, or counts it as left out."""
        second = int(self._clock())
        if second != self._second:
            self._second, self._written = second, 0
        if self._written >= self._rate:
            self._left_out += 1
            return
        self._written += 1
        if self._left_out:
            fields["left_out"], self._left_out = self._left_out, 0
        self._logger.log(level, message, extra=fields)
