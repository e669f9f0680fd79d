"""The rewriter: vLLM's engine in a replica of its own, so that a slow or dead model never holds a search.

Engines are held by the model's fingerprint, not by snapshot: most nights publish the same model, and then nothing
starts. A night with another one starts a second engine in the background; until it is ready, answers of the new
snapshot say `degraded: [rewrite]`. So they do while an engine does not start: it is tried again, ever less often, as
long as queries ask for it, and `problem` says why. One engine starts at a time, each at most once.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from aisle.config import Settings
from aisle.errors import AisleError, ModelError, StageError
from aisle.local import open_rewriter
from aisle.rewrite import VllmRewriter
from aisle.snapshot import Parts
from aisle.stages import Deadline, Rewrite
from deployments.logs import set_up
from deployments.residents import Residents
from deployments.telemetry import Telemetry

logger = logging.getLogger(__name__)

_FIRST_PAUSE_S = 10.0
_LONGEST_PAUSE_S = 600.0
_MOST_TRIES = 3
"""Failed starts after which another process may have better luck."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """An engine that did not start."""

    message: str
    tries: int
    again_s: float
    """Not to be tried before, on `time.monotonic`."""


class RewriterStage:
    """Rewrites with the model that the caller names by its fingerprint."""

    def __init__(self, settings: Settings) -> None:
        """Starts the live snapshot's engine, tens of seconds on CPU, during which searches answer without it.

        Waits for a night that publishes one where there is none and `rewriter.missing` allows it; else ModelError.
        """
        set_up()
        self._telemetry = Telemetry(children=True)
        self._settings = settings
        self._residents = Residents(settings, Parts.QUERY)
        self._engines: dict[str, VllmRewriter] = {}
        self._asked_s: dict[str, float] = {}
        self._starts: dict[str, asyncio.Task[None]] = {}
        self._failures: dict[str, _Failure] = {}
        self._one_start = asyncio.Lock()
        self._closing: asyncio.Task[None] | None = None
        model = self._residents.folder_of(self._residents.current_id(), "rewriter")
        if model is not None:
            self._engines[model[0]] = self._open(model[1])
        elif settings.rewriter.missing == "error":
            raise ModelError(
                "the live snapshot has no rewriter; set rewriter.mode: off, or publish one with it on"
            )

    async def rewrite(
        self, fingerprint: str, queries: Sequence[str], deadline: Deadline
    ) -> list[Rewrite]:
        """See `aisle.stages.Rewriter`. Raises StageError while the engine of that model is not ready."""
        self._asked_s[fingerprint] = time.monotonic()
        engine = self._engines.get(fingerprint)
        if engine is None:
            # Not every start was asked for by `prepare`: a replica that began meanwhile has missed it.
            self._start_soon(fingerprint, None)
            raise StageError(
                f"rewriter: the engine of model {fingerprint[:8]} is not ready; "
                f"ready: {[each[:8] for each in self._engines]}"
            )
        started, cache = time.perf_counter(), engine.cache
        try:
            return await engine.rewrite(queries, deadline)
        except StageError:
            self._replace_if_dead(fingerprint)
            raise
        finally:
            spent_ms = (time.perf_counter() - started) * 1000
            self._telemetry.stage_batch(len(queries), {"rewrite": spent_ms})
            self._telemetry.looked_up("rewrite", cache.hits, cache.misses, fingerprint)

    async def prepare(self, snapshot_id: str) -> str:
        """Starts a snapshot's engine in the background where it is another model's; does not wait for it."""
        model = await asyncio.to_thread(self._residents.folder_of, snapshot_id, "rewriter")
        if model is not None:
            self._start_soon(*model)
        return snapshot_id

    async def problem(self) -> str | None:
        """Why answers go without rewriting: engines that start, and engines that do not; none where all is well."""
        starting = [f"the engine of model {each[:8]} is starting" for each in self._starts]
        failed = [
            f"the engine of model {fingerprint[:8]} did not start, tries: {each.tries}: {each.message}"
            for fingerprint, each in self._failures.items()
        ]
        return "; ".join(starting + failed) or None

    async def check_health(self) -> None:
        """Replaces engines whose process has died; fails where none is left and none starts, so that Serve tries."""
        for fingerprint in list(self._engines):
            self._replace_if_dead(fingerprint)
        if not self._engines:
            for fingerprint in list(self._failures):
                self._start_soon(fingerprint, None)
        tries = max((each.tries for each in self._failures.values()), default=0)
        if not self._engines and tries >= _MOST_TRIES:
            raise StageError(f"no rewrite engine starts in this replica: {await self.problem()}")

    def _replace_if_dead(self, fingerprint: str) -> None:
        engine = self._engines.get(fingerprint)
        if engine is None:
            return
        try:
            engine.check_health()
        except StageError as error:
            logger.error("the engine of model %s has died: %s", fingerprint[:8], error)
            del self._engines[fingerprint]
            # Whoever asks for it starts it; one that was kept for a rollback is not missed.
            self._closing = asyncio.create_task(asyncio.to_thread(engine.close))
            if not self._engines:
                self._start_soon(fingerprint, None)

    def _start_soon(self, fingerprint: str, folder: Path | None) -> None:
        failure = self._failures.get(fingerprint)
        if fingerprint in self._engines or fingerprint in self._starts:
            return
        if failure is not None and time.monotonic() < failure.again_s:
            return
        self._starts[fingerprint] = asyncio.create_task(self._start(fingerprint, folder))

    async def _start(self, fingerprint: str, folder: Path | None) -> None:
        """Opens one engine, having made room for it; what fails is noted."""
        started = time.monotonic()
        try:
            async with self._one_start:
                if folder is None:
                    folder = await asyncio.to_thread(self._folder_of_current, fingerprint)
                await self._make_room()
                self._engines[fingerprint] = await asyncio.to_thread(self._open, folder)
            self._failures.pop(fingerprint, None)
            logger.info(
                "engine of %s is ready after %.1f s", fingerprint[:8], time.monotonic() - started
            )
        except (
            Exception
        ) as error:  # vLLM's own errors share no base class, and none may end this unnoticed
            tries = self._failures[fingerprint].tries + 1 if fingerprint in self._failures else 1
            pause_s = min(_FIRST_PAUSE_S * 2 ** (tries - 1), _LONGEST_PAUSE_S)
            message = str(error) if isinstance(error, AisleError) else repr(error)
            self._failures[fingerprint] = _Failure(message, tries, time.monotonic() + pause_s)
            logger.error("the rewriter does not start, answers go on without it: %s", message)
        finally:
            del self._starts[fingerprint]

    def _folder_of_current(self, fingerprint: str) -> Path:
        model = self._residents.folder_of(self._residents.current_id(), "rewriter")
        if model is None or model[0] != fingerprint:
            raise StageError(
                f"the snapshot that CURRENT names has not the rewriter {fingerprint[:8]} that is asked for; "
                "it is on its way out, or the gateways have yet to switch"
            )
        return model[1]

    async def _make_room(self) -> None:
        while len(self._engines) >= self._settings.serving.resident_snapshots:
            oldest = min(self._engines, key=lambda each: self._asked_s.get(each, 0.0))
            await asyncio.to_thread(self._engines.pop(oldest).close)

    def _open(self, folder: Path) -> VllmRewriter:
        return open_rewriter(folder, self._settings.rewriter)

    def __del__(self) -> None:
        for engine in getattr(self, "_engines", {}).values():
            engine.close()
