"""Token buckets under a fake clock, keys, and whose address counts."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisle.admission import Keys, Limits, Rate, Refusal, client_address, take
from aisle.config import AdmissionConfig


def limits(gateways: int = 1, **fields: object) -> Limits:
    return Limits(AdmissionConfig.model_validate(fields), gateways)


def admitted(door: Limits, client: str, at_s: list[float]) -> list[bool]:
    return [door.refuse(client, now_s) is None for now_s in at_s]


def test_a_burst_is_let_in_and_then_what_the_rate_brings():
    door = limits(client_rate_per_s=2, client_burst=3)
    # Three at once; the fourth waits half a second; a second later two more; after a long pause three again.
    assert admitted(door, "a", [0.0] * 4) == [True, True, True, False]
    assert admitted(door, "a", [0.5, 0.5]) == [True, False]
    assert admitted(door, "a", [1.5] * 3) == [True, True, False]
    assert admitted(door, "a", [60.0] * 4) == [True, True, True, False]


def test_a_refusal_says_when_the_next_token_is_there():
    door = limits(client_rate_per_s=4, client_burst=1)
    assert door.refuse("a", 10.0) is None
    assert door.refuse("a", 10.0) == Refusal("client", 0.25)
    later = door.refuse("a", 10.2)
    assert later is not None
    assert later.retry_after_s == pytest.approx(0.05)
    assert door.refuse("a", 10.25) is None


def test_one_caller_does_not_spend_anothers_tokens():
    door = limits(client_rate_per_s=1, client_burst=1)
    assert admitted(door, "a", [0.0, 0.0]) == [True, False]
    assert admitted(door, "b", [0.0]) == [True]


def test_everybodys_limit_holds_over_all_callers_and_costs_no_one_his_own():
    door = limits(rate_per_s=1, burst=2, client_rate_per_s=1, client_burst=1)
    assert [door.refuse(client, 0.0) for client in "abc"] == [None, None, Refusal("all", 1.0)]
    # c was refused by the common limit, so its own token is still there once the common one is back.
    assert door.refuse("c", 1.0) is None


def test_a_caller_over_his_limit_takes_nothing_from_the_others():
    door = limits(rate_per_s=1, burst=2, client_rate_per_s=1, client_burst=1)
    assert door.refuse("a", 0.0) is None
    for _ in range(5):
        refusal = door.refuse("a", 0.0)
        assert refusal is not None
        assert refusal.limit == "client"
    assert door.refuse("b", 0.0) is None


def test_gateways_share_the_limits():
    one_of_four = limits(4, client_rate_per_s=8, client_burst=8)
    assert admitted(one_of_four, "a", [0.0] * 3) == [True, True, False]
    assert admitted(one_of_four, "a", [1.0] * 3) == [True, True, False]


def test_callers_not_seen_for_long_are_forgotten():
    door = limits(client_rate_per_s=1, client_burst=1, clients_remembered=2)
    for client in "abc":
        assert door.refuse(client, 0.0) is None
    assert len(door) == 2
    assert door.refuse("a", 0.0) is None  # forgotten, so it starts afresh
    assert door.refuse("c", 0.0) is not None


def test_without_limits_everybody_is_let_in_and_nobody_remembered():
    door = limits()
    assert admitted(door, "a", [0.0] * 1000) == [True] * 1000
    assert len(door) == 0


@given(
    per_s=st.floats(0.1, 1000),
    burst=st.integers(1, 50),
    steps_s=st.lists(st.floats(-5, 5), max_size=200),
)
def test_never_more_than_the_burst_and_what_flowed_in(per_s, burst, steps_s):
    """Whatever the arrivals, and with a clock that goes back: the defining bound of a token bucket."""
    bucket, now_s, latest_s, let_in = None, 0.0, 0.0, 0
    for step_s in steps_s:
        now_s = max(now_s + step_s, 0.0)
        latest_s = max(latest_s, now_s)
        bucket, wait_s = take(bucket, Rate(per_s, burst), now_s)
        assert 0.0 <= bucket.tokens <= burst
        assert wait_s >= 0.0
        let_in += wait_s == 0.0
    assert let_in <= burst + per_s * latest_s + 1e-6


def test_a_key_is_known_by_its_name_and_by_nothing_that_looks_like_it():
    keys = Keys({"shop": "0123456789abcdef", "app": "fedcba9876543210"})
    assert keys.name_of("0123456789abcdef") == "shop"
    assert keys.name_of("fedcba9876543210") == "app"
    for wrong in ("", "0123456789abcde", "0123456789abcdef ", "0123456789ABCDEF", "ü", "\udc80"):
        assert keys.name_of(wrong) is None
    assert not Keys({})


def test_no_dump_of_the_keys_shows_one():
    keys = Keys({"shop": "0123456789abcdef"})
    assert "0123456789abcdef" not in repr(vars(keys))
    assert b"0123456789abcdef" not in pickle.dumps(keys)


@pytest.mark.parametrize(
    ("forwarded_for", "hops", "expected"),
    [
        ("", 1, "10.0.0.1"),  # nobody forwarded
        ("203.0.113.9", 0, "10.0.0.1"),  # nobody is trusted
        ("203.0.113.9", 1, "203.0.113.9"),
        ("6.6.6.6, 203.0.113.9", 1, "203.0.113.9"),  # the caller invented one
        ("6.6.6.6, 203.0.113.9, 10.0.0.2", 2, "203.0.113.9"),
        (" , 203.0.113.9 ,", 1, "203.0.113.9"),
        ("203.0.113.9", 3, "203.0.113.9"),  # fewer proxies than were said
    ],
)
def test_the_address_that_counts_is_what_the_outermost_trusted_proxy_saw(
    forwarded_for, hops, expected
):
    assert client_address("10.0.0.1", forwarded_for, hops) == expected
