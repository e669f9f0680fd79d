"""The nightly run, read top to bottom: read, rows, embed, index, assemble, judge, publish.

Every step leaves its parts below the run's folder; a run that was killed is found by its inputs and continued. Nothing
that serves is touched before the last line.
"""

from __future__ import annotations

import hashlib
import json
import logging
import re
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from aisle.config import Settings
from aisle.embed import open_encoder
from aisle.nightly.assemble import assemble, complete, is_unchanged, name_snapshot, with_file
from aisle.nightly.cost import Steps
from aisle.nightly.embed import embed
from aisle.nightly.index import index
from aisle.nightly.lease import Lease, held
from aisle.nightly.models import Model, check_fit, choose_models
from aisle.nightly.parent import Parent
from aisle.nightly.publish import live_or_none, publish, require_publishable
from aisle.nightly.read import plan, read
from aisle.nightly.report import REPORT, Judge, brief, judged, refusal
from aisle.nightly.rows import rows
from aisle.nightly.run import Item, Mapper, Progress, Run
from aisle.snapshot import Library
from aisle.store import Store

logger = logging.getLogger(__name__)

STEPS = ("read", "rows", "embed", "index", "evaluate", "publish")


@dataclass(frozen=True)
class Night:
    """One run of the nightly job."""

    settings: Settings
    mapper: Mapper
    judge: Judge
    progress: Progress | None = None
    steps: Steps = field(default_factory=Steps)

    def run(
        self, *, until: str = "publish", fresh: bool = False, force: bool = False
    ) -> dict[str, Any]:
        """Does every step up to `until` that is not done yet, and says what happened.

        A night after which nothing is different ends early: the summary says `unchanged`, and no snapshot is made.

        Args:
            until: the last step.
            fresh: forget an unfinished run.
            force: publish although rules of the gate are broken.

        Raises:
            LeaseHeld: another run is at work in this store.
            GateBreached: the candidate is complete but not published.
        """
        store = Store.open(self.settings.store, self.settings.store_options)
        require_publishable(store)  # what cannot swap can neither publish nor hold a lease
        with held(store, self.settings.nightly) as lease:
            return self._run(store, lease, until=until, fresh=fresh, force=force)

    def _run(
        self, store: Store, lease: Lease, *, until: str, fresh: bool, force: bool
    ) -> dict[str, Any]:
        settings, steps = self.settings, self.steps
        library = Library(store)
        parent_id = live_or_none(library)
        with steps.timed("models"):
            models = choose_models(settings)
            assert models["encoder"].folder is not None
            encoder = open_encoder(models["encoder"].folder)
            check_fit(models, encoder.dimension)
        parent = Parent.open(store, parent_id, settings, encoder.fingerprint)
        parts = plan(settings.catalog)
        run, started_at = open_run(store, settings, parent_id, models, parts, fresh=fresh)
        lease.name_run(run.run_id)
        steps.join(run, uuid.uuid4().hex[:12])
        progress = self._guarded(lease)
        summary: dict[str, Any] = {"run": run.run_id, "parent": parent_id}
        with steps.timed("read"):
            read_results = read(run, self.mapper, parts, progress)
        steps.results["read"] = read_results
        if until == "read":
            return self._summary(summary, rows=sum(each["rows"] for each in read_results))
        with steps.timed("rows"):
            row_results = rows(
                run, self.mapper, read_results, parent_id, encoder.fingerprint, progress
            )
        steps.results["rows"] = row_results
        if until == "rows":
            return self._summary(summary, products=sum(each["products"] for each in row_results))
        if is_unchanged(run, parent, models, read_results, row_results):
            logger.info("nothing has changed since %s", parent_id)
            steps.leave()
            forget_runs(store, settings.name)
            return self._summary(summary, snapshot=parent_id, unchanged=True, published=False)
        with steps.timed("embed"):
            embedded = embed(run, self.mapper, row_results, encoder.fingerprint, progress)
        steps.results["embed"] = embedded
        if until == "embed":
            return self._summary(summary, embedded=sum(each["rows"] for each in embedded))
        snapshot_id = name_snapshot(started_at, row_results, models, settings.index_hash())
        with steps.timed("index"):
            index_results = index(
                run,
                self.mapper,
                row_results,
                embedded,
                snapshot_id=snapshot_id,
                parent_id=parent_id,
                vectors=encoder.fingerprint,
                dimension=encoder.dimension,
                progress=progress,
            )
            candidate = assemble(
                run,
                snapshot_id=snapshot_id,
                parent=parent,
                models=models,
                vectors=encoder.fingerprint,
                dimension=encoder.dimension,
                read_results=read_results,
                row_results=row_results,
                index_results=index_results,
            )
        steps.results["index"] = index_results
        summary |= {"snapshot": snapshot_id, "counts": candidate.counts}
        if until == "index":
            return self._summary(summary)
        with steps.timed("evaluate"):
            report, broken = judged(store, candidate, parent.manifest, self.judge, settings.gate)
            candidate = with_file(run, candidate, REPORT, _json(report))
        steps.results["evaluate"] = [{"queries": report.get("queries", 0)}]
        if force:
            candidate = candidate.model_copy(
                update={"forced": tuple(breach.rule for breach in broken)}
            )
        lease.require()
        complete(run, candidate)
        summary |= {"report": brief(report), "forced": list(candidate.forced)}
        if until == "evaluate":
            return self._summary(summary)
        if broken and not force:
            raise refusal(candidate, parent_id, broken)
        with steps.timed("publish"):
            publish(library, snapshot_id, expected=parent_id, fence=lease.renew)
            steps.leave()
            forget_runs(store, settings.name)
        return self._summary(summary, published=True)

    def _guarded(self, lease: Lease) -> Progress:
        """The progress of this night, which also ends it when the lease is lost: no work for nothing."""

        def progress(step: str, done: int, total: int, result: Item) -> None:
            lease.require()
            self.steps.keep()
            # Until the step is done and all its parts' results are there: should it fail, the table shows these.
            if result:
                self.steps.results.setdefault(step, []).append(result)
            if self.progress:
                self.progress(step, done, total, result)

        return progress

    def _summary(self, summary: dict[str, Any], **more: object) -> dict[str, Any]:
        return {
            **summary,
            **more,
            "attempts": self.steps.attempts,
            "steps": self.steps.table(),
        }


def open_run(
    store: Store,
    settings: Settings,
    parent_id: str | None,
    models: dict[str, Model],
    parts: list[Item],
    *,
    fresh: bool,
) -> tuple[Run, datetime]:
    """Continues the run with the same inputs that did not finish, or begins one.

    The id says what goes in: environment, settings, source and the state of its files, parent and models. So a repeated
    night finds its own folder, and a change of any of them, a source file replaced between two attempts too, begins
    anew instead of mixing old rows with new ones.
    """
    inputs = {
        "settings": settings.index_hash(),
        "source": hashlib.sha256(_json(parts)).hexdigest(),
        "parent": parent_id,
        "models": {role: model.fingerprint for role, model in sorted(models.items())},
    }
    run_id = f"{settings.name}-{hashlib.sha256(_json(inputs)).hexdigest()[:12]}"
    run = Run(run_id, settings, store)
    path = f"{run.folder}/run.json"
    if fresh:
        store.delete(run.folder, recursive=True)
    begun = store.find_bytes(path)
    if begun is not None:
        try:
            started_at = datetime.fromisoformat(json.loads(begun)["started_at"])
        except (ValueError, TypeError, KeyError) as error:
            # The snapshot takes its name from the start: what was indexed for the old name is made again.
            logger.warning("%s/%s: damaged (%s); indexing again", store.url, path, error)
            store.delete(f"{run.folder}/index", recursive=True)
        else:
            logger.info("continuing run %s, begun %s", run_id, started_at.isoformat())
            return run, started_at
    started_at = datetime.now(UTC)
    store.write_bytes(path, _json({"started_at": started_at.isoformat(), **inputs}))
    return run, started_at


def forget_runs(store: Store, name: str) -> None:
    """Removes the folders of an environment's runs: they began from a parent that is no longer live, or are done."""
    for folder in store.folders("runs"):
        if re.fullmatch(rf"{re.escape(name)}-[0-9a-f]{{12}}", folder):
            store.delete(f"runs/{folder}", recursive=True)


def _json(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
