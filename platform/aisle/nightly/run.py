"""A run: where its steps leave what they made, so that a run that was killed goes on where it stopped.

Everything lies below `runs/<run_id>/` in the store, because the next attempt may start on another machine. A step's
unit of work (a part) writes its files first and its small JSON marker last; a part that has a marker is never done
again. Parts are named by number, so a repeated part overwrites itself instead of adding to what is there.
"""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.parquet as pq

from aisle.config import Settings
from aisle.errors import JobFailed, SnapshotError
from aisle.store import Store

logger = logging.getLogger(__name__)

Item = dict[str, Any]
"""A unit of work or its result: plain JSON."""
Worker = Callable[[Item], Item]
Progress = Callable[[str, int, int, Item], None]
"""Told after every part: step, parts done, parts in all, the part's result."""


class Mapper(Protocol):
    """Runs a worker over items, somewhere: in this process, or as a Ray Data pipeline."""

    def __call__(
        self,
        make_worker: Callable[[], Worker],
        items: Sequence[Item],
        *,
        step: str,
        actors: bool = False,
    ) -> Iterator[Item]:
        """Yields a result an item, in any order, as they are done; a worker's exception ends the iteration.

        Args:
            make_worker: builds the worker where it runs; picklable.
            items: work.
            step: names the pipeline in progress and metrics.
            actors: keep workers alive between items, because building one is dear (an encoder).
        """


def serial(
    make_worker: Callable[[], Worker], items: Sequence[Item], *, step: str, actors: bool = False
) -> Iterator[Item]:
    """A `Mapper` in this process, in order: the reference, and enough for tests."""
    worker = make_worker()
    for item in items:
        yield worker(item)


@dataclass(frozen=True)
class Ready:
    """Makes a worker that is cheap enough to travel as it is."""

    worker: Worker

    def __call__(self) -> Worker:
        """Gives the worker."""
        return self.worker


@dataclass(frozen=True)
class Run:
    """One attempt, or the continuation of one, to make a snapshot."""

    run_id: str
    settings: Settings
    store: Store

    @property
    def folder(self) -> str:
        """Where the run lies in the store."""
        return f"runs/{self.run_id}"

    def done(self, step: str) -> dict[str, Item]:
        """Markers of a step's finished parts, by part name."""
        prefix = f"{self.folder}/{step}/"
        names = [
            path for path in self.store.list(prefix.rstrip("/")) if path.endswith(".done.json")
        ]
        return {
            path.removeprefix(prefix).removesuffix(".done.json"): self._json(path)
            for path in sorted(names)
        }

    def finish(self, step: str, part: str, result: Item) -> Item:
        """Marks a part as done; its files must be written already."""
        self.store.write_bytes(
            f"{self.folder}/{step}/{part}.done.json", json.dumps(result, sort_keys=True).encode()
        )
        return result

    def write_table(self, name: str, table: pa.Table) -> str:
        """Writes one Parquet file below the run's folder, whole or not at all; returns its path in the store."""
        path = f"{self.folder}/{name}"
        self.store.write_bytes(path, parquet_bytes(table))
        return path

    def read_table(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Reads a Parquet file of the store, see `read_table`."""
        return read_table(self.store, path, columns)

    def each(
        self,
        mapper: Mapper,
        make_worker: Callable[[], Worker],
        items: Iterable[Item],
        *,
        step: str,
        actors: bool = False,
        progress: Progress | None = None,
    ) -> list[Item]:
        """Does the parts of a step that are not done yet and returns every part's result, in order of part name.

        Each item has a `part`, its name. Workers call `finish`, so a crash between two parts loses none.
        """
        work = {item["part"]: item for item in items}
        finished = {part: result for part, result in self.done(step).items() if part in work}
        missing = [item for part, item in work.items() if part not in finished]
        if finished:
            logger.info(
                "resuming",
                extra={"step": step, "parts_done": len(finished), "parts_left": len(missing)},
            )
        for result in mapper(make_worker, missing, step=step, actors=actors) if missing else ():
            finished[result["part"]] = result
            if progress:
                progress(step, len(finished), len(work), result)
        return [finished[part] for part in sorted(work)]

    def _json(self, path: str) -> Item:
        try:
            loaded: Item = json.loads(self.store.read_bytes(path))
        except ValueError as error:
            raise JobFailed(
                f"{self.store.url}/{path}: a damaged marker ({error}); start over with python -m jobs.reindex --fresh"
            ) from error
        return loaded


def read_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a Parquet file of a store; from a local one only the columns asked for.

    Raises:
        StoreError: it is not there or cannot be read.
        JobFailed: a damaged file of a run.
        SnapshotError: a damaged file of a snapshot.
    """
    wanted = list(columns) if columns else None
    local = store.local_path(path)
    try:
        if local is not None and local.is_file():
            return pq.read_table(local, columns=wanted, partitioning=None)
        return pq.read_table(io.BytesIO(store.read_bytes(path)), columns=wanted)
    except pa.ArrowException as error:
        reason = str(error).splitlines()[0]
        if path.startswith("runs/"):
            raise JobFailed(
                f"{store.url}/{path}: damaged ({reason}); start over with python -m jobs.reindex --fresh"
            ) from error
        raise SnapshotError(
            f"{store.url}/{path}: damaged ({reason}); roll back to a whole snapshot with python -m jobs.rollback"
        ) from error


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as one Parquet file; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd")
    return sink.getvalue()
