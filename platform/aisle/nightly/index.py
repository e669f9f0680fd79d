"""Step 4, index: one new segment a shard, with tombstones over the segments that are carried from the parent.

Everything is written below the new snapshot's folder; nothing of the parent's is touched, only named.
"""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aisle.errors import AisleError, JobFailed, StoreError
from aisle.index.forward import ForwardIndex
from aisle.index.segment import build_segment, combine, content_digest
from aisle.nightly.parent import Parent
from aisle.nightly.run import Item, Mapper, Progress, Ready, Run, parquet_bytes
from aisle.nightly.statistics import Lengths, difference
from aisle.snapshot import SegmentEntry
from aisle.snapshot.manifest import embeddings_path, products_path, segment_path, tombstones_path
from aisle.store import StoredFile
from aisle.store.files import is_full
from aisle.text import Analyzer

STEP = "index"
_DERIVED = ["row_hash", "content_hash", "is_new"]
"""Columns of a rows file that are not of the Product contract."""


@dataclass(frozen=True)
class IndexShard:
    """Worker: builds one shard's new segment and writes it, its rows and its vectors below the snapshot."""

    run: Run
    snapshot_id: str
    parent_id: str | None
    vectors: str
    dimension: int

    def __call__(self, item: Item) -> Item:
        """Indexes `item`'s shard."""
        shard, change = item["shard"], item["rows"]
        parent = Parent.open(self.run.store, self.parent_id, self.run.settings, self.vectors)
        files: dict[str, Item] = {}
        segments: list[SegmentEntry] = []
        digests: list[str] = []
        if not change["compacted"]:
            segments = self._carried(shard, change["dead"], parent, files)
            digests = [each for each in [parent.shard_digest(shard)] if each is not None]
        rows, forward = None, None
        if change["segment_id"]:
            rows = self.run.read_table(change["rows_file"])
            vectors = self._vectors(shard, rows, item["embedded"], parent)
            entry, forward = self._build(shard, change["segment_id"], rows, vectors, files)
            segments.append(entry)
            digests.append(entry.digest)
        gone = parent.take(shard, change["dead"])
        removed = [] if change["compacted"] else self._digests_of(shard, change, gone, parent)
        counts, lengths = self._counted(rows, forward, gone)
        wrote = [
            StoredFile(f"snapshots/{self.snapshot_id}/{path}", entry["size"], entry["sha256"])
            for path, entry in files.items()
            if entry["owner"] == self.snapshot_id
        ]
        if counts is not None:
            wrote.append(self.run.write_table(f"{STEP}/counts-{shard:04d}.parquet", counts))
        result = {
            "part": f"{shard:04d}",
            "shard": shard,
            "segments": [segment.model_dump() for segment in segments],
            "digest": combine(digests, removed),
            "files": files,
            "embeddings": [embeddings_path(shard, each.segment_id) for each in segments],
            "rows": change["fresh"],
            "counts_file": wrote[-1].name if counts is not None else None,
            "lengths": list(lengths),
        }
        return self.run.finish(STEP, f"{shard:04d}", result, wrote)

    def _carried(
        self, shard: int, dying: dict[str, list[int]], parent: Parent, files: dict[str, Item]
    ) -> list[SegmentEntry]:
        """The parent's segments, by reference, with tonight's tombstones; one without a live row is dropped."""
        if parent.manifest is None:
            return []
        carried = []
        for segment in parent.segments(shard):
            dead = parent.dead_rows(shard, segment)
            tonight = np.array(dying.get(segment.segment_id, []), np.int64)
            dead = np.union1d(dead, tonight)
            if len(dead) == segment.rows:
                continue
            tombstones = tombstones_path(shard, segment.segment_id)
            if len(tonight):
                buffer = io.BytesIO()
                np.save(buffer, dead)
                self._put(tombstones, buffer.getvalue(), files)
            elif len(dead):
                files[tombstones] = parent.manifest.files[tombstones].model_dump()
            prefix = segment_path(shard, segment.segment_id) + "/"
            alone = (
                products_path(shard, segment.segment_id),
                embeddings_path(shard, segment.segment_id),
            )
            for path, entry in parent.manifest.files.items():
                if path.startswith(prefix) or path in alone:
                    files[path] = entry.model_dump()
            carried.append(segment.model_copy(update={"dead_rows": len(dead)}))
        return carried

    @staticmethod
    def _digests_of(shard: int, change: Item, gone: pa.Table | None, parent: Parent) -> list[str]:
        """Content digest of the rows that die tonight."""
        if gone is None:
            return []
        ids = np.array([each.encode() for each in gone["product_id"].to_pylist()], dtype=np.bytes_)
        vectors = np.concatenate(list(parent.take_vectors(shard, change["dead"])))
        return [content_digest(ids, gone["row_hash"].to_pylist(), vectors)]

    def _vectors(
        self, shard: int, rows: pa.Table, embedded: list[str], parent: Parent
    ) -> NDArray[np.float16]:
        """Vectors of the rows (n, d): tonight's, and the parent's for texts that did not change."""
        wanted = pc.unique(rows["content_hash"])
        found = np.empty((len(wanted), self.dimension), dtype=np.float16)
        lacking = np.ones(len(wanted), dtype=bool)

        def fill(table: pa.Table) -> None:
            at = pc.index_in(table["content_hash"], value_set=wanted)
            known = np.flatnonzero(at.is_valid().to_numpy(zero_copy_only=False))
            at = at.drop_null().to_numpy()
            flat = table["vector"].combine_chunks().flatten().to_numpy()
            found[at] = flat.reshape(-1, self.dimension)[known]
            lacking[at] = False

        for path in embedded:
            fill(self.run.read_table(path))
        if lacking.any():
            for table in parent.vectors_of(shard, wanted.filter(pa.array(lacking))):
                fill(table)
        if lacking.any():
            raise JobFailed(
                f"shard {shard}: {int(lacking.sum())} of {len(wanted)} texts have no vector; the run's folder "
                f"{self.run.folder}/embed is incomplete or damaged, start over with python -m jobs.reindex --fresh"
            )
        at = pc.index_in(rows["content_hash"], value_set=wanted).to_numpy()
        rows_vectors: NDArray[np.float16] = found[at]
        return rows_vectors

    def _build(
        self,
        shard: int,
        segment_id: str,
        rows: pa.Table,
        vectors: NDArray[np.float16],
        files: dict[str, Item],
    ) -> tuple[SegmentEntry, ForwardIndex]:
        """Builds the segment in scratch space and copies it to the snapshot, its rows and vectors beside it."""
        settings = self.run.settings
        prefix = segment_path(shard, segment_id)
        # tantivy names its files at random: what an attempt that was killed left here would stay for ever.
        self.run.store.delete(f"snapshots/{self.snapshot_id}/{prefix}", recursive=True)
        with _scratch(Path(settings.work_dir), f"building a segment of shard {shard}") as folder:
            digest = build_segment(
                rows.drop_columns(_DERIVED),
                vectors,
                rows["row_hash"],
                settings.index,
                folder,
                threads=settings.ray.embed_threads,
            )
            for lock in folder.glob("lexical/.tantivy-*.lock"):
                lock.unlink()  # left by the writer; a reader does not need them
            try:
                for put in self.run.store.put_tree(
                    folder, f"snapshots/{self.snapshot_id}/{prefix}"
                ):
                    name = put.name.split("/", 2)[2]
                    files[name] = {
                        "sha256": put.sha256,
                        "size": put.size_bytes,
                        "owner": self.snapshot_id,
                    }
            except StoreError:
                # On a full disk half a segment would take the room that the lease and the next attempt need.
                with suppress(StoreError):
                    self.run.store.delete(f"snapshots/{self.snapshot_id}/{prefix}", recursive=True)
                raise
            forward = ForwardIndex.open(
                folder / "forward"
            )  # mapped: readable after the folder went
        products = rows.drop_columns(["is_new"])
        self._put(products_path(shard, segment_id), parquet_bytes(products), files)
        self._put_embeddings(embeddings_path(shard, segment_id), rows, vectors, files)
        entry = SegmentEntry(
            segment_id=segment_id,
            owner=self.snapshot_id,
            rows=rows.num_rows,
            dead_rows=0,
            digest=digest,
        )
        return entry, forward

    def _put_embeddings(
        self, path: str, rows: pa.Table, vectors: NDArray[np.float16], files: dict[str, Item]
    ) -> None:
        """Content hash -> vector of a segment's texts, sorted by hash, for the nights to come."""
        hashes = rows["content_hash"].to_pylist()
        first = {content: i for i, content in reversed(list(enumerate(hashes)))}
        ordered = sorted(first)
        table = pa.table(
            {
                "content_hash": pa.array(ordered, pa.binary(16)),
                "vector": pa.FixedSizeListArray.from_arrays(
                    pa.array(vectors[[first[each] for each in ordered]].ravel()), self.dimension
                ),
            }
        )
        self._put(path, parquet_bytes(table), files)

    def _counted(
        self, rows: pa.Table | None, forward: ForwardIndex | None, gone: pa.Table | None
    ) -> tuple[pa.Table | None, Lengths]:
        """What the shard adds to the catalogue's term statistics and takes away; no table where no term changed."""
        analyzer = Analyzer(self.run.settings.index.lexical.stemmer)
        came = forward
        if rows is not None and not pc.all(rows["is_new"]).as_py():
            # A compacted shard's segment holds old rows too, which the parent has counted already.
            new = rows.filter(rows["is_new"])
            came = ForwardIndex.build(new, analyzer) if new.num_rows else None
        went = ForwardIndex.build(gone, analyzer) if gone is not None else None
        counts, lengths = difference(came, went)
        return (counts if counts.num_rows else None), lengths

    def _put(self, path: str, data: bytes, files: dict[str, Item]) -> None:
        self.run.store.write_bytes(f"snapshots/{self.snapshot_id}/{path}", data)
        files[path] = {
            "sha256": hashlib.sha256(data).hexdigest(),
            "size": len(data),
            "owner": self.snapshot_id,
        }


@contextmanager
def _scratch(work: Path, doing: str) -> Iterator[Path]:
    """A folder for the length of a block; JobFailed where the disk below it was full.

    FAISS and tantivy wrap a failed write in errors of their own, so the disk is asked, not the error.
    """
    folder = None
    try:
        work.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="segment-", dir=work))
        yield folder
    except AisleError:
        raise
    except Exception as error:
        if not is_full(error, work):
            raise
        raise JobFailed(
            f"{folder or work}: no space left while {doing} ({error}); make room there or name another disk in "
            "work_dir, then start python -m jobs.reindex again: finished parts are kept"
        ) from error
    finally:
        if folder is not None:
            shutil.rmtree(folder, ignore_errors=True)


def index(
    run: Run,
    mapper: Mapper,
    row_results: list[Item],
    embed_results: list[Item],
    *,
    snapshot_id: str,
    parent_id: str | None,
    vectors: str,
    dimension: int,
    progress: Progress | None = None,
) -> list[Item]:
    """Builds every shard's new segment; `vectors` is the fingerprint of tonight's encoder."""
    items = [
        {
            "part": each["part"],
            "shard": each["shard"],
            "rows": each,
            "embedded": [some["file"] for some in embed_results if some["shard"] == each["shard"]],
        }
        for each in row_results
    ]
    worker = IndexShard(run, snapshot_id, parent_id, vectors, dimension)
    return run.each(mapper, Ready(worker), items, step=STEP, progress=progress)
