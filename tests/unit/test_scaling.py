"""The decision with a clock of the test's own, and what Serve is told to decide with."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest

from aisle.config import ScalingConfig
from aisle.scaling import LATENCY, Goal, OnDemand, Past, Recent, Seen, decide
from deployments.graph import replicas
from jobs.scaling import Fixed, Service, simulate, traffic

GOAL = Goal(ongoing_per_replica=4.0, latency_ms=200.0, startup_s=10.0, hold_s=60.0)


def over(moments: Sequence[tuple[float, float]]) -> list[int]:
    """What is wanted at each (time, ongoing)."""
    past, wanted = Past(), []
    for now_s, ongoing in moments:
        count, past = decide(Seen(now_s, 2, ongoing), GOAL, past)
        wanted.append(count)
    return wanted


def test_demand_is_what_is_inside_over_what_one_should_hold():
    assert over([(0, 0)]) == [1]
    assert over([(0, 4)]) == [1]
    assert over([(0, 4.3)]) == [1]
    assert over([(0, 9)]) == [3]


def test_a_burst_gets_its_replicas_at_the_first_look():
    assert over([(0, 8), (1, 80)]) == [2, 20]


def test_a_rising_demand_is_carried_on_to_when_a_replica_would_answer():
    steady, rising = [(t, 8) for t in range(9)], [(t, 8 + 2 * t) for t in range(9)]
    assert over(steady)[-1] == 2
    # 6 now and half a replica a second for ten seconds
    assert over(rising)[-1] == 11


def test_replicas_go_only_when_nothing_of_the_last_minutes_needed_them():
    wanted = over([(0, 40), (1, 4), (30, 4), (59, 4), (60, 4), (61, 4)])
    assert wanted == [10, 10, 10, 10, 1, 1]


def test_a_smaller_peak_in_between_is_remembered_in_its_turn():
    assert over([(0, 40), (30, 20), (59, 4), (61, 4), (89, 4), (91, 4)]) == [10, 10, 10, 5, 5, 1]


def test_slow_answers_ask_for_more_only_while_replicas_are_busy_and_double_at_most():
    def wanted(ongoing: float, latency_ms: float) -> int:
        return decide(Seen(0.0, 4, ongoing, latency_ms), GOAL, Past())[0]

    assert wanted(8, 200) == 2
    assert wanted(8, 300) == 6
    assert wanted(8, 5000) == 8
    assert wanted(1, 5000) == 1


def test_what_is_kept_stays_bounded():
    past = Past()
    for second in range(10_000):
        _, past = decide(Seen(second, 2, 8 + second % 7), GOAL, past)
    assert len(past.demands) <= 11
    assert len(past.wants) <= 8


def test_as_serves_policy_the_state_comes_back_and_the_slowest_replica_counts():
    policy = OnDemand(4.0, 200.0, 10.0, 60.0)

    def context(now_s: float, ongoing: float, state: dict, **latency: float) -> SimpleNamespace:
        return SimpleNamespace(
            current_time=now_s,
            current_num_replicas=2,
            total_num_requests=ongoing,
            aggregated_metrics={LATENCY: latency} if latency else None,
            policy_state=state,
        )

    wanted, state = policy(context(0.0, 40, {}))
    assert wanted == 10
    assert policy(context(1.0, 4, state))[0] == 10
    assert policy(context(0.0, 8, {}, a=10.0, b=400.0))[0] == 4


def test_the_recent_percentile_forgets():
    recent = Recent(window_s=10.0, most=100)
    assert recent.p95_ms(0.0) == 0.0
    for number in range(100):
        recent.add(0.0, number / 1000)
    assert recent.p95_ms(5.0) == 95.0
    assert recent.p95_ms(11.0) == 0.0
    for _ in range(1000):
        recent.add(20.0, 0.001)
    assert recent.p95_ms(20.0) == pytest.approx(1.0)


def test_without_a_most_the_replicas_are_fixed():
    assert replicas(ScalingConfig(), 3, None) == {"num_replicas": 3}


def test_serve_takes_the_options_and_makes_the_policy():
    from ray.serve.config import AutoscalingConfig

    options = replicas(ScalingConfig(hold_s=7.0), 2, 5)["autoscaling_config"]
    taken = AutoscalingConfig(**options)
    assert (taken.min_replicas, taken.max_replicas) == (2, 5)
    policy = taken.policy.get_policy()(**taken.policy.policy_kwargs)
    context = SimpleNamespace(
        current_time=0.0,
        current_num_replicas=2,
        total_num_requests=10.0,
        aggregated_metrics=None,
        policy_state={},
    )
    assert policy(context)[0] == 10


def test_of_a_simulated_hour_every_search_is_served_late_or_refused():
    """Too many for what there is: the queue is full, and half of what comes is refused."""
    arrivals = np.full(36_000, 20)
    two = Service(least=2, most=2)
    found = simulate(arrivals, two, Fixed(2))
    assert found["refused_share"] == pytest.approx(0.5, abs=0.01)
    assert found["late_share"] == pytest.approx(0.5, abs=0.01)
    assert found["replica_hours"] == pytest.approx(2.0)
    four = simulate(arrivals, Service(least=2, most=5), Fixed(5))
    assert four["refused_share"] < 0.02
    assert four["late_share"] < 0.02


def test_a_replica_that_is_started_serves_after_its_start_and_costs_from_it_on():
    arrivals = np.zeros(36_000, dtype=np.int64)
    found = simulate(arrivals + 1, Service(least=1, startup_s=600.0), Fixed(2))
    assert found["replica_hours"] == pytest.approx(2.0, abs=0.01)
    assert found["late_share"] == 0.0


def test_a_day_has_its_bursts_and_is_the_same_for_the_same_seed():
    day = traffic(200.0, 3)
    assert len(day) == 864_000
    assert (traffic(200.0, 3) == day).all()
    before, during = (
        day[int(hour * 36_000) : int(hour * 36_000) + 600].sum() for hour in (12.2, 12.3)
    )
    assert during > 2 * before
