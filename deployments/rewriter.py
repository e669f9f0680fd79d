"""The rewriter: vLLM's engine in a replica of its own, so that a slow or dead model never holds a search."""

from __future__ import annotations

from collections.abc import Sequence

from aisle.config import Settings
from aisle.errors import ModelError
from aisle.local import open_rewriter
from aisle.snapshot import Parts
from aisle.stages import Deadline, Rewrite
from deployments.residents import Residents


class RewriterStage:
    """Rewrites with the live snapshot's model."""

    def __init__(self, settings: Settings) -> None:
        """Starts the engine; tens of seconds on CPU, during which searches answer without it."""
        residents = Residents(settings, Parts.QUERY)
        folder = residents.rewriter_folder(residents.current_id())
        if folder is None:
            raise ModelError("the live snapshot has no rewriter; set rewriter.mode: off, or publish one with it on")
        self._rewriter = open_rewriter(folder, settings.rewriter)

    async def rewrite(self, queries: Sequence[str], deadline: Deadline) -> list[Rewrite]:
        """See `aisle.stages.Rewriter`."""
        return await self._rewriter.rewrite(queries, deadline)

    def check_health(self) -> None:
        """Fails when the engine's process has died, so that Serve replaces the replica."""
        self._rewriter.check_health()

    def __del__(self) -> None:
        rewriter = getattr(self, "_rewriter", None)
        if rewriter is not None:
            rewriter.close()
