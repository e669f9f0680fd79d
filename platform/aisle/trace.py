"""What happened on the way to one batch of answers: where time went, what was left out, what was judged."""

from __future__ import annotations

import time
from dataclasses import dataclass, field


@dataclass(slots=True)
class Trace:
    """What happened on the way to one batch of answers."""

    timings_ms: dict[str, float] = field(default_factory=dict)
    degraded: list[str] = field(default_factory=list)
    judged: int = 0
    """Candidates that the relevance filter judged, over the batch."""
    kept: int = 0
    """Those that it kept."""

    def timed(self, stage: str, started: float) -> None:
        """Books the time since `started` (perf_counter) on a stage."""
        self.timings_ms[stage] = (
            self.timings_ms.get(stage, 0.0) + (time.perf_counter() - started) * 1000
        )
