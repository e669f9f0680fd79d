"""What `jobs.soak` calls growth; the service under it is tested in tests/cluster."""

from __future__ import annotations

import pytest

from jobs.soak import Memory, text_table, verdict

MB = 1_000_000


def samples(own_mb: list[float], largest_mb: float = 700) -> list[Memory]:
    return [
        {"Gateway": {"own": round(each * MB), "resident": 0, "largest": round(largest_mb * MB)}}
        for each in own_mb
    ]


@pytest.mark.parametrize(
    ("own_mb", "grows"),
    [
        ([300, 900, 1000, 1000, 1001, 1000, 1000, 1001], False),  # filled while warming up
        ([500, 500, 500, 505, 505, 505, 507, 507], False),  # less than 8 MB
        ([500, 500, 500, 500, 506, 506, 511, 511], True),
        ([2000, 2000, 2000, 2000, 2000, 2000, 2039, 2039], False),  # less than 2 %
        ([2000, 2000, 2000, 2000, 2000, 2000, 2041, 2041], True),
    ],
)
def test_growth_is_the_last_quarter_against_the_second(own_mb: list[float], grows: bool) -> None:
    found = verdict(samples(own_mb), shard_bytes=100 * MB)
    assert found["memory"]["Gateway"]["grows"] is grows
    assert found["ok"] is not grows


def test_a_gateway_is_held_to_its_shards() -> None:
    steady = [500.0] * 8
    assert verdict(samples(steady, largest_mb=850), 100 * MB)["ok"]
    found = verdict(samples(steady, largest_mb=851), 100 * MB)
    assert not found["ok"]
    shown = text_table(found | {"statuses": {"200": 1}, "p50_ms": 1.0, "p99_ms": 2.0})
    assert "851.0 MB, at most 850.0" in shown
