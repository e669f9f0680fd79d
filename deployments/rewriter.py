"""The rewriter: vLLM's engine in a replica of its own, so that a slow or dead model never holds a search.

Engines are held by the model's fingerprint, not by snapshot: most nights publish the same model, and then nothing
starts. A night with another one starts a second engine in the background; until it is ready, answers of the new
snapshot say `degraded: [rewrite]`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from pathlib import Path

from aisle.config import Settings
from aisle.errors import AisleError, ModelError, StageError
from aisle.local import open_rewriter
from aisle.rewrite import VllmRewriter
from aisle.snapshot import Parts
from aisle.stages import Deadline, Rewrite
from deployments.residents import Residents

logger = logging.getLogger(__name__)


class RewriterStage:
    """Rewrites with the model that the caller names by its fingerprint."""

    def __init__(self, settings: Settings) -> None:
        """Starts the live snapshot's engine; tens of seconds on CPU, during which searches answer without it."""
        self._settings = settings
        self._residents = Residents(settings, Parts.QUERY)
        self._engines: dict[str, VllmRewriter] = {}
        self._starting: asyncio.Task[None] | None = None
        model = self._residents.folder_of(self._residents.current_id(), "rewriter")
        if model is None:
            raise ModelError(
                "the live snapshot has no rewriter; set rewriter.mode: off, or publish one with it on"
            )
        self._start(*model)

    async def rewrite(
        self, fingerprint: str, queries: Sequence[str], deadline: Deadline
    ) -> list[Rewrite]:
        """See `aisle.stages.Rewriter`. Raises StageError while the engine of that model is not ready."""
        engine = self._engines.get(fingerprint)
        if engine is None:
            raise StageError(
                f"rewriter: the engine of model {fingerprint[:8]} is not ready; "
                f"ready: {[each[:8] for each in self._engines]}"
            )
        return await engine.rewrite(queries, deadline)

    async def prepare(self, snapshot_id: str) -> str:
        """Starts a snapshot's engine in the background where it is another model's; does not wait for it."""
        model = await asyncio.to_thread(self._residents.folder_of, snapshot_id, "rewriter")
        if model is not None and model[0] not in self._engines:
            self._starting = asyncio.create_task(self._start_in_background(*model))
        return snapshot_id

    def check_health(self) -> None:
        """Fails when an engine's process has died, so that Serve replaces the replica."""
        for engine in self._engines.values():
            engine.check_health()

    async def _start_in_background(self, fingerprint: str, folder: Path) -> None:
        try:
            await asyncio.to_thread(self._start, fingerprint, folder)
        except AisleError as error:
            logger.error("the new rewriter does not start, answers go on without it: %s", error)

    def _start(self, fingerprint: str, folder: Path) -> None:
        while len(self._engines) >= self._settings.serving.resident_snapshots:
            oldest = next(iter(self._engines))
            self._engines.pop(oldest).close()
        self._engines[fingerprint] = open_rewriter(folder, self._settings.rewriter)

    def __del__(self) -> None:
        for engine in getattr(self, "_engines", {}).values():
            engine.close()
