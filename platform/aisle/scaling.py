"""How many replicas a deployment needs: a pure function of what it has to do, how long that takes, and what was.

Ray's default follows the mean of the last half minute and waits half a minute more before it adds: by then a burst of
searches has filled the queue. Here (`python -m jobs.scaling` compares the two over a day):

* demand is what is inside the deployment, running and queued, over what one replica should hold (Little's law);
* a rising demand is carried on to when a replica begun now will answer, because that is what it is begun for;
* answers slower than the objective ask for more while replicas are busy, whatever the queue says;
* more comes at once, less only when nothing of the last minutes needed it: a replica too many for a while costs
  little, a cold one under load costs answers.

Only the standard library is imported: Serve sends this module by value to its controller, which has nothing else of
the application.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

LATENCY = "latency_ms"
"""Under which replicas report the 95th percentile of their last answers."""
_BUSY = 0.5
"""Share of its target from which a replica counts as busy."""
_MOST_BY_LATENCY = 2.0
"""Slow answers alone at most double the replicas at once: their cause may be elsewhere."""


@dataclass(frozen=True)
class Goal:
    """What a deployment should keep to."""

    ongoing_per_replica: float
    """Requests inside one replica, waiting ones included."""
    latency_ms: float
    """Objective for the 95th percentile; an answer slower than that asks for more replicas."""
    startup_s: float
    """From the decision to the first answer of a new replica."""
    hold_s: float
    """How long a demand is remembered before replicas that it needed may go."""


@dataclass(frozen=True)
class Seen:
    """A deployment at one moment."""

    now_s: float
    """On any clock that only goes forward."""
    replicas: int
    """Running ones."""
    ongoing: float
    """Requests inside the deployment, running and queued."""
    latency_ms: float | None = None
    """The slowest replica's 95th percentile; none where nobody reports."""


@dataclass(frozen=True)
class Past:
    """What a decision keeps for the next one."""

    demands: tuple[tuple[float, float], ...] = ()
    """(time, replicas' worth of demand) of the last `startup_s`, oldest first."""
    wants: tuple[tuple[float, int], ...] = ()
    """(time, replicas wanted), falling: the most of the last `hold_s` comes first."""


def decide(seen: Seen, goal: Goal, past: Past) -> tuple[int, Past]:
    """Replicas wanted, unbounded, and what to give to the next decision.

    >>> goal = Goal(ongoing_per_replica=4, latency_ms=200, startup_s=10, hold_s=60)
    >>> decide(Seen(0, 2, 8), goal, Past())[0]
    2
    >>> decide(Seen(0, 2, 30), goal, Past())[0]
    8
    """
    demand = seen.ongoing / goal.ongoing_per_replica
    window = (
        *(each for each in past.demands if seen.now_s - each[0] <= goal.startup_s),
        (seen.now_s, demand),
    )
    wanted = demand + max(_slope(window), 0.0) * goal.startup_s
    slow = seen.latency_ms is not None and seen.latency_ms > goal.latency_ms
    if slow and demand >= _BUSY * seen.replicas and seen.latency_ms is not None:
        wanted = max(
            wanted, seen.replicas * min(seen.latency_ms / goal.latency_ms, _MOST_BY_LATENCY)
        )
    # A tenth of a replica is not worth one: rounding up at every wave would add one for good.
    now = max(1, math.ceil(wanted - 0.1))
    kept = [each for each in past.wants if seen.now_s - each[0] < goal.hold_s and each[1] > now]
    kept.append((seen.now_s, now))
    return kept[0][1], Past(window, tuple(kept))


def _slope(window: tuple[tuple[float, float], ...]) -> float:
    """Demand per second, by least squares; 0 below three points, which noise alone would draw a line through."""
    if len(window) < 3:
        return 0.0
    mean_t = sum(t for t, _ in window) / len(window)
    mean_d = sum(d for _, d in window) / len(window)
    spread = sum((t - mean_t) ** 2 for t, _ in window)
    if spread == 0:
        return 0.0
    return sum((t - mean_t) * (d - mean_d) for t, d in window) / spread


class OnDemand:
    """`decide` as a policy of Ray Serve; Serve bounds what it gives by the deployment's least and most replicas."""

    def __init__(
        self, ongoing_per_replica: float, latency_ms: float, startup_s: float, hold_s: float
    ) -> None:
        self._goal = Goal(ongoing_per_replica, latency_ms, startup_s, hold_s)

    def __call__(self, ctx: Any) -> tuple[int, dict[str, Any]]:
        """Takes Serve's `AutoscalingContext`; gives replicas and the state that comes back in it."""
        reported = (ctx.aggregated_metrics or {}).get(LATENCY, {}).values()
        seen = Seen(
            now_s=ctx.current_time,
            replicas=ctx.current_num_replicas,
            ongoing=ctx.total_num_requests,
            latency_ms=max(reported, default=None),
        )
        wanted, past = decide(seen, self._goal, ctx.policy_state.get("past", Past()))
        return wanted, {"past": past}


class Recent:
    """The 95th percentile of the answers of the last seconds: what a replica reports."""

    def __init__(self, window_s: float = 10.0, most: int = 2000) -> None:
        self._window_s = window_s
        self._most = most
        self._seen: list[tuple[float, float]] = []

    def add(self, now_s: float, seconds: float) -> None:
        """One answer that took so long."""
        self._seen.append((now_s, seconds))
        if len(self._seen) > 2 * self._most:
            del self._seen[: -self._most]

    def p95_ms(self, now_s: float) -> float:
        """Milliseconds; 0 where nothing was answered lately, which asks for nothing."""
        recent = sorted(s for t, s in self._seen[-self._most :] if now_s - t <= self._window_s)
        if not recent:
            return 0.0
        return recent[min(int(len(recent) * 0.95), len(recent) - 1)] * 1000
