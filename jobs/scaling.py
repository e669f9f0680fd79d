"""A day of searches against autoscaling policies, simulated: who misses deadlines, and what the replicas cost.

    python -m jobs.scaling [--peak 200] [--days 3] [--startup 20]

The day has a quiet night, a noon and a higher evening, and two bursts: a notification at 12:15 (2.5 times the traffic
within half a minute, for eight minutes) and a television advertisement at 20:45 (1.8 times within ten seconds, for
five). Arrivals are Poisson. A replica takes one request at a time from one queue and needs `service_s` for it; whoever
waits past the deadline counts as late, whoever finds the queue full as refused. Policies see what Serve would show
them: samples of the requests inside, reported every few seconds. Ray's own policy is Ray's code with its defaults, on
this simulation's clock. Nothing of this is a measurement of the service; `jobs.bench` measures.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any, Protocol
from unittest.mock import patch

import numpy as np
from numpy.typing import NDArray
from ray.serve import autoscaling_policy
from ray.serve.config import AutoscalingConfig

from aisle.scaling import LATENCY, Goal, OnDemand

DAY_S = 86_400
STEP_S = 0.1
STEPS_A_LOOK = 10
"""Serve's controller looks ten times a second; once is enough here and cheaper."""
_BURSTS = ((12.25, 2.5, 30.0, 480.0), (20.75, 1.8, 10.0, 300.0))
"""(hour, times the traffic, seconds to rise, seconds in all)."""


@dataclass(frozen=True)
class Service:
    """What is scaled."""

    least: int = 2
    most: int = 16
    service_s: float = 0.02
    deadline_s: float = 1.0
    startup_s: float = 20.0
    queue_per_replica: int = 64


class Policy(Protocol):
    """Decides from what a controller is shown."""

    report_s: float
    """Seconds between reports."""
    look_back_s: float

    def wanted(self, now_s: float, running: int, target: int, ongoing: float, ms: float) -> int:
        """Replicas, unbounded."""


class Fixed:
    """Always the most: nothing is late, and everything is paid for."""

    report_s, look_back_s = 10.0, 10.0

    def __init__(self, replicas: int) -> None:
        self._replicas = replicas

    def wanted(self, now_s: float, running: int, target: int, ongoing: float, ms: float) -> int:
        """See `Policy`."""
        return self._replicas


class RaysOwn:
    """Ray Serve's default policy with its delays and windows, called as its controller calls it."""

    report_s, look_back_s = 10.0, 30.0

    def __init__(self, service: Service, target_ongoing: float) -> None:
        self._config = AutoscalingConfig(
            min_replicas=service.least,
            max_replicas=service.most,
            target_ongoing_requests=target_ongoing,
        )
        self._policy = autoscaling_policy._apply_autoscaling_config(
            autoscaling_policy.replica_queue_length_autoscaling_policy
        )
        self._state: dict[str, Any] = {}

    def wanted(self, now_s: float, running: int, target: int, ongoing: float, ms: float) -> int:
        """See `Policy`."""
        context: Any = SimpleNamespace(
            current_num_replicas=running,
            target_num_replicas=target,
            total_num_requests=ongoing,
            policy_state=self._state,
            config=self._config,
        )
        clock = SimpleNamespace(time=lambda: now_s)
        with patch.object(autoscaling_policy, "time", clock):
            wanted, self._state = self._policy(context)
        return wanted


class Ours:
    """`aisle.scaling` as the graph configures it."""

    def __init__(self, goal: Goal, report_s: float, look_back_s: float) -> None:
        self.report_s, self.look_back_s = report_s, look_back_s
        self._policy = OnDemand(
            goal.ongoing_per_replica, goal.latency_ms, goal.startup_s, goal.hold_s
        )
        self._state: dict[str, Any] = {}

    def wanted(self, now_s: float, running: int, target: int, ongoing: float, ms: float) -> int:
        """See `Policy`."""
        context = SimpleNamespace(
            current_time=now_s,
            current_num_replicas=running,
            total_num_requests=ongoing,
            aggregated_metrics={LATENCY: {"all": ms}},
            policy_state=self._state,
        )
        wanted, self._state = self._policy(context)
        return wanted


def traffic(peak_per_s: float, seed: int) -> NDArray[np.int64]:
    """Arrivals in each step of a day, (864,000,); `peak_per_s` is the evening's, bursts aside."""
    hours = np.arange(int(DAY_S / STEP_S)) * STEP_S / 3600
    rate = (
        0.12
        + 0.55 * np.exp(-((hours - 12.5) ** 2) / (2 * 2.8**2))
        + 0.85 * np.exp(-((hours - 20.5) ** 2) / (2 * 1.9**2))
    )
    rate *= peak_per_s / rate.max()
    for hour, times, rise_s, lasting_s in _BURSTS:
        since = (hours - hour) * 3600
        up = np.clip(since / rise_s, 0, 1) * (since < lasting_s)
        down = np.clip(1 - (since - lasting_s) / 120, 0, 1) * (since >= lasting_s)
        rate *= 1 + (times - 1) * (up + down)
    return np.random.default_rng(seed).poisson(rate * STEP_S)


def simulate(arrivals: NDArray[np.int64], service: Service, policy: Policy) -> dict[str, float]:
    """One day under one policy: shares of late and refused requests, and replica-hours, starting ones included."""
    queue: deque[list[float]] = deque()  # [when they came, how many are left]
    waiting, done, late, refused = 0.0, 0.0, 0.0, 0.0
    running, starting = service.least, deque[float]()
    target, replica_steps, spare = service.least, 0, 0.0
    samples: deque[tuple[float, float]] = deque()
    waits: deque[tuple[float, float, float]] = deque()
    for step, came in enumerate(arrivals.tolist()):
        now = step * STEP_S
        while starting and starting[0] <= now:
            starting.popleft()
            running += 1
        room = running * service.queue_per_replica - waiting
        taken = min(came, max(room, 0.0))
        refused += came - taken
        if taken:
            queue.append([now, taken])
            waiting += taken
        # What a replica could have served of the step before is lost, but for the piece of a request under way.
        can = running * STEP_S / service.service_s + spare
        served = 0.0
        while queue and can >= 1:
            came_s, left = queue[0]
            batch = min(left, float(int(can)))
            wait = max(now - came_s, 0.0)
            waits.append((now, wait + service.service_s, batch))
            late += batch * (wait > service.deadline_s)
            can, served = can - batch, served + batch
            if batch == left:
                queue.popleft()
            else:
                queue[0][1] = left - batch
        spare = can if queue else 0.0
        waiting, done = waiting - served, done + served
        replica_steps += running + len(starting)
        if step % STEPS_A_LOOK:
            continue
        samples.append((now, waiting + served / STEP_S * service.service_s))
        while samples[0][0] < now - policy.look_back_s - policy.report_s:
            samples.popleft()
        while waits and waits[0][0] < now - 10:
            waits.popleft()
        reported = now - now % policy.report_s
        shown = [s for t, s in samples if reported - policy.look_back_s <= t <= reported]
        wanted = policy.wanted(
            now, running, target, sum(shown) / max(len(shown), 1), _p95_ms(waits)
        )
        target = min(max(wanted, service.least), service.most)
        while running + len(starting) < target:
            starting.append(now + service.startup_s)
        while starting and running + len(starting) > target:
            starting.pop()
        running = min(running, max(target, service.least))
    total = float(arrivals.sum())
    return {
        "searches": total,
        "late_share": late / total,
        "refused_share": refused / total,
        "replica_hours": replica_steps * STEP_S / 3600,
    }


def _p95_ms(waits: Sequence[tuple[float, float, float]]) -> float:
    if not waits:
        return 0.0
    ordered = sorted((seconds, count) for _, seconds, count in waits)
    past, wanted = 0.0, 0.95 * sum(count for _, count in ordered)
    for seconds, count in ordered:
        past += count
        if past >= wanted:
            return seconds * 1000
    return ordered[-1][0] * 1000


def compare(
    peak_per_s: float, seeds: Sequence[int], service: Service, goal: Goal
) -> dict[str, Any]:
    """Every policy over the same days: sums over them, and the worst day's share of searches without a good answer."""
    policies: dict[str, Callable[[], Policy]] = {
        "fixed at the most": lambda: Fixed(service.most),
        "Ray's default": lambda: RaysOwn(service, 2.0),
        f"Ray's, target {goal.ongoing_per_replica:g}": lambda: RaysOwn(
            service, goal.ongoing_per_replica
        ),
        "aisle, reports every 10 s": lambda: Ours(goal, 10.0, 15.0),
        "aisle, reports every 2 s": lambda: Ours(goal, 2.0, 5.0),
    }
    days = [traffic(peak_per_s, seed) for seed in seeds]
    found = {}
    for name, policy in policies.items():
        rows = [simulate(day, service, policy()) for day in days]
        means = {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        worst = max(row["late_share"] + row["refused_share"] for row in rows)
        found[name] = {**means, "worst_day": worst}
    return found


def text_table(found: dict[str, Any]) -> str:
    """One line a policy."""
    lines = [f"{'policy, a day':28}{'late':>9}{'refused':>9}{'worst day':>11}{'replica-hours':>15}"]
    for name, row in found.items():
        lines.append(
            f"{name:28}{row['late_share']:9.3%}{row['refused_share']:9.3%}{row['worst_day']:11.3%}"
            f"{row['replica_hours']:15.1f}"
        )
    return "\n".join(lines)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints the table, and one JSON line last."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.scaling",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--peak", type=float, default=200.0, help="searches a second at 20:30")
    parser.add_argument("--days", type=int, default=3, help="each with a seed of its own")
    parser.add_argument(
        "--startup", type=float, default=20.0, help="seconds until a replica answers"
    )
    arguments = parser.parse_args(argv)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    service = Service(startup_s=arguments.startup)
    goal = Goal(
        ongoing_per_replica=1.0, latency_ms=250.0, startup_s=arguments.startup, hold_s=600.0
    )
    found = compare(arguments.peak, range(arguments.days), service, goal)
    print(text_table(found), file=sys.stderr)
    print(json.dumps({"ok": True, "policies": found}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
