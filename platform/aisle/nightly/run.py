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
from aisle.nightly.cpu import spent_s
from aisle.store import Store, StoredFile
from aisle.store.failures import store_error

logger = logging.getLogger(__name__)

Item = dict[str, Any]
"""A unit of work or its result: plain JSON."""
Worker = Callable[[Item], Item]
Progress = Callable[[str, int, int, Item], None]
"""Told when a step begins, with an empty result, and after every part: step, parts done, parts in all, the result."""


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
        """Results of a step's finished parts, by part name.

        A part counts only if its marker can be read and every file that the marker names is there in its length:
        what a full disk, a careless hand or a failing machine cut short is made again, not stumbled over.
        """
        prefix = f"{self.folder}/{step}/"
        sizes = self.store.sizes_bytes(prefix.rstrip("/"))
        finished = {}
        for path in sorted(each for each in sizes if each.endswith(".done.json")):
            try:
                marker = json.loads(self.store.read_bytes(path))
                result, wrote = marker["result"], dict(marker["wrote"])
            except (ValueError, TypeError, KeyError) as error:
                logger.warning("%s: a damaged marker (%s); its part is done again", path, error)
                continue
            for folder in {name.rpartition("/")[0] for name in wrote if name not in sizes}:
                sizes.update(self.store.sizes_bytes(folder))
            wrong = [name for name, size_bytes in wrote.items() if sizes.get(name) != size_bytes]
            if wrong:
                logger.warning(
                    "%s: %s bytes, its marker says %d; its part is done again",
                    wrong[0],
                    sizes.get(wrong[0], "gone, 0"),
                    wrote[wrong[0]],
                )
                continue
            finished[path.removeprefix(prefix).removesuffix(".done.json")] = result
        return finished

    def finish(self, step: str, part: str, result: Item, wrote: Iterable[StoredFile]) -> Item:
        """Marks a part as done and adds `core_s`, what it cost this process.

        `wrote` are its files, which must be in the store already.
        """
        result = {**result, "core_s": round(spent_s(), 4)}
        marker = {"result": result, "wrote": {each.name: each.size_bytes for each in wrote}}
        self.store.write_bytes(
            f"{self.folder}/{step}/{part}.done.json", json.dumps(marker, sort_keys=True).encode()
        )
        return result

    def write_table(self, name: str, table: pa.Table) -> StoredFile:
        """Writes one Parquet file below the run's folder, whole or not at all."""
        return self.store.write_bytes(f"{self.folder}/{name}", parquet_bytes(table))

    def read_table(self, path: str, columns: Sequence[str] | None = None) -> pa.Table:
        """Reads a Parquet file of the run; a damaged one is removed, so that the next attempt makes it again.

        Raises:
            JobFailed: it was damaged.
            StoreError: it is not there or cannot be read.
        """
        try:
            return read_table(self.store, path, columns)
        except SnapshotError as error:
            self.store.delete(path)
            raise JobFailed(
                f"{self.store.url}/{path}: damaged ({error.__cause__}) and removed; start python -m jobs.reindex "
                "again, which makes that part anew and keeps the others"
            ) from error

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
        if progress and missing:
            progress(step, len(finished), len(work), {})
        for result in mapper(make_worker, missing, step=step, actors=actors) if missing else ():
            finished[result["part"]] = result
            if progress:
                progress(step, len(finished), len(work), result)
        return [finished[part] for part in sorted(work)]


def read_table(store: Store, path: str, columns: Sequence[str] | None = None) -> pa.Table:
    """Reads a Parquet file of a store, its pages verified; from a local one only the columns asked for.

    Raises:
        StoreError: it is not there or cannot be read.
        SnapshotError: it is damaged.
    """
    wanted = list(columns) if columns else None
    local = store.local_path(path)
    mapped = local is not None and local.is_file()
    source = local if mapped else io.BytesIO(store.read_bytes(path))
    try:
        return pq.read_table(
            source, columns=wanted, partitioning=None, page_checksum_verification=True
        )
    except (pa.ArrowException, OSError) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise store_error(error, "read", f"{store.url}/{path}") from error
        # Arrow raises a page whose checksum is wrong as an OSError without a number.
        raise SnapshotError(
            f"{store.url}/{path}: damaged ({str(error).splitlines()[0]}); roll back to a whole snapshot with "
            "python -m jobs.rollback"
        ) from error


def parquet_bytes(table: pa.Table) -> bytes:
    """A table as one Parquet file; equal tables give equal bytes."""
    sink = io.BytesIO()
    pq.write_table(table.combine_chunks(), sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()
