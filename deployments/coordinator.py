"""The coordinator: notices a new CURRENT and moves the whole graph to it in two phases.

First every replica of every stage loads the new snapshot beside the old one and confirms; only then do the gateways
switch, each between two requests. Requests under way finish on the snapshot that they began with, because a request
carries its snapshot's id. A replica that cannot load keeps the graph where it is, and the next poll tries again; so
does a store that does not answer. The rewriter alone is not waited for: answers can go without it.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from typing import Any

from ray import serve
from ray.exceptions import RayTaskError
from ray.serve.handle import DeploymentHandle

from aisle.config import Settings
from aisle.errors import AisleError
from aisle.snapshot import Library
from aisle.store import Retry, Store
from deployments.logs import set_up
from deployments.telemetry import Telemetry

logger = logging.getLogger(__name__)

GATEWAY = "Gateway"
_PREPARE_LIMIT_S = 1800.0
_CALL_LIMIT_S = 30.0
_STORE_RETRY = Retry(budget_s=1.0)
"""The next poll is the real retry, and what is wrong should be known by then."""


class Coordinator:
    """One replica; polls the store."""

    def __init__(
        self,
        settings: Settings,
        shards: Sequence[DeploymentHandle],
        ranker: DeploymentHandle | None,
        rewriter: DeploymentHandle | None,
    ) -> None:
        """Takes the stages that hold snapshots; the gateway is looked up, because it was given this one's handle."""
        set_up()
        self._settings = settings
        store = Store.open(settings.store, settings.store_options, retry=_STORE_RETRY)
        self._library = Library(store)
        self._stages = [*shards, *([ranker] if ranker else [])]
        self._rewriter = rewriter
        self._application = serve.get_replica_context().app_name
        self._active: str | None = None
        self._problem: str | None = None
        self._rewriting: str | None = None
        self._telemetry = Telemetry()
        self._telemetry.watch("aisle_rollout_behind", lambda: float(self._problem is not None))
        self._task = asyncio.get_event_loop().create_task(self._follow())

    async def status(self) -> dict[str, str | None]:
        """The snapshot that gateways were last switched to, what is wrong with CURRENT, and with the rewriter."""
        return {"active": self._active, "problem": self._problem, "rewriter": self._rewriting}

    def check_health(self) -> None:
        """Fails when the polling task has ended, so that Serve replaces the replica."""
        if self._task.done():
            raise RuntimeError(f"the coordinator's task has ended: {self._task}")

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._settings.serving.poll_interval_s)
            try:
                current = await asyncio.to_thread(self._current)
                # Asked each time instead of remembered: a gateway that started during a switch may have missed it.
                if set(await _everywhere(self._gateway(), "active")) != {current}:
                    await self._switch(current)
                self._active, self._problem = current, None
            except AisleError as error:
                self._report(str(error))
            except Exception as error:  # whatever Serve raises here must not end the polling
                self._report(f"{type(error).__name__}: {error}")
            self._rewriting = await self._rewriters_problem()

    def _current(self) -> str:
        """What CURRENT names; SnapshotError where that is gone, though the graph may still answer from its copy."""
        current = self._library.current()
        self._library.require(current)
        return current

    async def _switch(self, snapshot_id: str) -> None:
        started = time.monotonic()
        stages = [*self._stages, self._gateway()]
        if self._rewriter is not None:
            try:
                await _everywhere(self._rewriter, "prepare", snapshot_id)
            except Exception as error:  # an engine that is asked for starts on its own, later
                logger.warning("the rewriter is not prepared for %s: %s", snapshot_id, error)
        confirmed = await asyncio.gather(
            *(
                _everywhere(each, "prepare", snapshot_id, limit_s=_PREPARE_LIMIT_S)
                for each in stages
            )
        )
        replicas = await _everywhere(self._gateway(), "activate", snapshot_id)
        logger.info(
            "switched to %s in %.1f s: %d replicas confirmed, %d gateways",
            snapshot_id,
            time.monotonic() - started,
            sum(len(each) for each in confirmed),
            len(replicas),
        )

    async def _rewriters_problem(self) -> str | None:
        if self._rewriter is None:
            return None
        try:
            said = await _everywhere(self._rewriter, "problem")
        except (
            Exception
        ) as error:  # it is being replaced; whatever Serve raises must not end the polling
            return f"the rewriter does not answer: {type(error).__name__}: {error}"
        return "; ".join(filter(None, said)) or (None if said else "no rewriter is running")

    def _gateway(self) -> DeploymentHandle:
        return serve.get_deployment_handle(GATEWAY, self._application)

    def _report(self, problem: str) -> None:
        if problem != self._problem:
            logger.error("staying with %s: %s", self._active, problem)
        self._problem = problem


async def _everywhere(
    handle: DeploymentHandle, method: str, *arguments: str, limit_s: float = _CALL_LIMIT_S
) -> list[Any]:
    """Calls every running replica of a deployment; the first failure is raised, the library's as itself."""
    try:
        results: list[Any] = await handle.broadcast(method, *arguments).results_async(
            timeout_s=limit_s
        )
    except RayTaskError as error:
        if isinstance(error.cause, AisleError):
            raise error.cause from error
        raise
    return results
