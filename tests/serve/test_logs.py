"""Log lines are JSON whatever is in them, and an overload does not become a flood of them."""

from __future__ import annotations

import json
import logging

import numpy as np

from deployments.logs import JsonLines, RequestLog, set_up


class Lines(logging.Handler):
    """Keeps what a handler would have written."""

    def __init__(self) -> None:
        super().__init__()
        self.setFormatter(JsonLines({"deployment": "Gateway"}))
        self.lines: list[dict[str, object]] = []

    def emit(self, record: logging.LogRecord) -> None:
        text = self.format(record)
        assert "\n" not in text
        self.lines.append(json.loads(text))


def logger_with(lines: Lines) -> logging.Logger:
    logger = logging.Logger("deployments.test")
    logger.addHandler(lines)
    return logger


def test_a_line_names_the_request_the_snapshot_and_where_it_was_written():
    lines = Lines()
    logger_with(lines).info(
        "degraded answer", extra={"request_id": "r1", "snapshot": "s1", "degraded": ["rewrite"]}
    )
    (line,) = lines.lines
    assert line["message"] == "degraded answer"
    assert (line["request_id"], line["snapshot"], line["degraded"]) == ("r1", "s1", ["rewrite"])
    assert (line["level"], line["logger"], line["deployment"]) == (
        "INFO",
        "deployments.test",
        "Gateway",
    )
    assert str(line["time"]).endswith("+00:00")


def test_what_json_does_not_know_and_an_exception_stay_on_one_line():
    lines = Lines()
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger_with(lines).warning("%s", "odd", extra={"value": np.float32(1)}, exc_info=True)
    (line,) = lines.lines
    assert line["value"] == "1.0"
    assert "ValueError: two\nlines" in str(line["exception"])


def test_lines_about_requests_are_limited_by_the_second_and_the_rest_counted():
    lines, now = Lines(), [10.0]
    log = RequestLog(logger_with(lines), clock=lambda: now[0], lines_per_s=2)
    for i in range(5):
        log(logging.WARNING, "no answer", request_id=str(i))
    now[0] = 11.0
    log(logging.WARNING, "no answer", request_id="5")
    log(logging.WARNING, "no answer", request_id="6")
    assert [line["request_id"] for line in lines.lines] == ["0", "1", "5", "6"]
    assert [line.get("left_out") for line in lines.lines] == [None, None, 3, None]


def test_outside_a_replica_the_callers_logging_stands():
    before = list(logging.getLogger("aisle").handlers), logging.getLogger("aisle").level
    set_up()
    assert (list(logging.getLogger("aisle").handlers), logging.getLogger("aisle").level) == before
