"""Progress and the table of a nightly run, as people read them."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from jobs.night_view import Progress, duration, steps_table


class Clock:
    """Moves when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def progress(clock: Clock, caplog: pytest.LogCaptureFixture) -> Progress:
    caplog.set_level(logging.INFO, "jobs.reindex")
    return Progress(5.0, clock)


def test_rate_and_time_left_count_from_the_beginning_of_the_step(
    progress: Progress, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    clock.now_s += 100  # what came before the step
    progress("embed", 0, 4, {})
    clock.now_s += 10
    progress("embed", 1, 4, {"rows": 500})
    assert caplog.messages == ["embed: 1 of 4 parts, 500 rows, 50 rows/s, 30 s left"]


def test_parts_of_an_earlier_attempt_took_no_time(
    progress: Progress, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress("embed", 90, 100, {})
    clock.now_s += 10
    progress("embed", 91, 100, {"rows": 500})
    assert caplog.messages == [
        "embed: 90 of 100 parts were done by an earlier attempt",
        "embed: 91 of 100 parts, 500 rows, 50 rows/s, 1 min 30 s left",
    ]


def test_a_part_without_rows_is_a_part(
    progress: Progress, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress("index", 0, 2, {})
    clock.now_s += 6
    progress("index", 1, 2, {"rows": 0, "products": 77})  # its rows count, which are none
    clock.now_s += 6
    progress("index", 2, 2, {"rows": 30})
    assert caplog.messages == [
        "index: 1 of 2 parts, 0 rows, 0 rows/s, 6 s left",
        "index: 2 of 2 parts, 30 rows, 2 rows/s, 0 s left",
    ]


def test_a_step_starts_from_zero_and_logs_every_few_seconds_and_at_its_end(
    progress: Progress, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    progress("read", 0, 1, {})
    progress("read", 1, 1, {"rows": 10})
    progress("rows", 0, 3, {})
    for done in (1, 2, 3):
        clock.now_s += 2
        progress("rows", done, 3, {"products": 10})
    assert caplog.messages == [
        "read: 1 of 1 parts, 10 rows, 10000 rows/s, 0 s left",
        "rows: 3 of 3 parts, 30 rows, 5 rows/s, 0 s left",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (59.4, "59 s"), (185, "3 min 5 s"), (7800, "2 h 10 min")],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def row(step: str, **values: Any) -> dict[str, Any]:
    names = ("rows_in", "rows_out", "reused", "quarantined", "rows_s", "gpu_s", "gpu_s_per_million")
    return {
        "step": step,
        **dict.fromkeys(names),
        "seconds": 1.25,
        "core_s": 2.5,
        "core_s_per_million": 50.0,
        **values,
    }


def test_the_table_of_steps() -> None:
    read = row("read", rows_in=50_000, rows_out=49_999, quarantined=1, rows_s=40_000.0)
    lines = steps_table([read, row("publish")], attempts=3).splitlines()
    assert lines[0].split() == [
        *("step", "rows", "in", "rows", "out", "reused", "quarantined"),
        *("seconds", "rows/s", "core-s", "core-s/M"),
    ]
    assert lines[1].split() == ["read", "50,000", "49,999", "-", "1", "1.2", "40,000", "2.5", "50"]
    assert lines[2].split() == ["publish", "-", "-", "-", "-", "1.2", "-", "2.5", "50"]
    assert lines[3].startswith("(sums over 3 attempts;")


def test_the_table_has_gpu_seconds_where_a_gpu_worked() -> None:
    lines = steps_table([row("embed", gpu_s=4.0, gpu_s_per_million=80.0)]).splitlines()
    assert lines[0].split()[-2:] == ["GPU-s", "GPU-s/M"]
    assert lines[1].split()[-2:] == ["4.0", "80"]
