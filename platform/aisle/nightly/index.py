"""Step 4, index: one new segment a shard, with tombstones over the segments that are carried from the parent."""

from __future__ import annotations

import hashlib
import io
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aisle.errors import JobFailed
from aisle.index.segment import build_segment, combine, content_digest
from aisle.nightly.parent import Parent
from aisle.nightly.run import Item, Mapper, Run, parquet_bytes
from aisle.snapshot import SegmentEntry
from aisle.snapshot.manifest import products_path, segment_path
from aisle.store import sha256_of

STEP = "index"


@dataclass(frozen=True)
class IndexShard:
    """Worker: builds one shard's new segment and writes it, its rows and its vectors below the snapshot."""

    run: Run
    snapshot_id: str
    parent_id: str | None
    encoder_fingerprint: str
    dimension: int

    def __call__(self, item: Item) -> Item:
        shard, row_result = item["shard"], item["rows"]
        settings = self.run.settings
        parent = Parent.open(self.run.store, self.parent_id, settings, self.encoder_fingerprint)
        files: dict[str, Item] = {}
        segments: list[SegmentEntry] = []
        removed: list[str] = []
        embeddings: list[str] = []
        if not row_result["compacted"]:
            segments, removed = self._carried(shard, row_result, parent, files)
            embeddings = [path for path in self._parent_embeddings(parent, shard)]
        if row_result["segment_id"]:
            rows = self.run.read_table(row_result["rows_file"])
            vectors = self._vectors(shard, rows, item["embedded"], parent)
            segments.append(self._new(shard, row_result["segment_id"], rows, vectors, files))
            embeddings.append(self._write_embeddings(shard, row_result["segment_id"], rows, vectors, files))
        result = {
            "part": f"{shard:04d}",
            "shard": shard,
            "segments": [segment.model_dump() for segment in segments],
            "digest": combine([segment.digest for segment in segments], removed),
            "files": files,
            "embeddings": embeddings,
            "rows": row_result["fresh"],
        }
        return self.run.finish(STEP, f"{shard:04d}", result)

    def _carried(
        self, shard: int, row_result: Item, parent: Parent, files: dict[str, Item]
    ) -> tuple[list[SegmentEntry], list[str]]:
        """The parent's segments with tonight's tombstones, and the digests of everything that is dead in them."""
        assert parent.manifest is not None
        carried, removed = [], []
        for segment in parent.segments(shard):
            dead = np.union1d(
                parent.dead_rows(shard, segment), np.array(row_result["dead"].get(segment.segment_id, []), np.int64)
            )
            if len(dead) == segment.rows:
                continue
            if len(dead):
                path = parent.manifest.tombstones_path(shard, segment.segment_id)
                buffer = io.BytesIO()
                np.save(buffer, dead)
                self._put(path, buffer.getvalue(), files)
                removed.append(self._digest_of(shard, segment, dead))
            for prefix in (
                segment_path(shard, segment.segment_id) + "/",
                products_path(shard, segment.segment_id),
                f"embeddings/{shard:04d}/{segment.segment_id}.parquet",
            ):
                for path, entry in parent.manifest.files.items():
                    if path.startswith(prefix):
                        files[path] = entry.model_dump()
            carried.append(segment.model_copy(update={"dead_rows": len(dead)}))
        return carried, removed

    def _digest_of(self, shard: int, segment: SegmentEntry, dead: NDArray[np.int64]) -> str:
        """Content digest of a carried segment's dead rows, from its stored rows and vectors."""
        base = f"snapshots/{segment.owner}"
        table = pq.read_table(
            io.BytesIO(self.run.store.read_bytes(f"{base}/{products_path(shard, segment.segment_id)}")),
            columns=["product_id", "row_hash"],
        ).take(pa.array(dead))
        vectors = np.load(
            io.BytesIO(self.run.store.read_bytes(f"{base}/{segment_path(shard, segment.segment_id)}/vectors.npy"))
        )[dead]
        ids = np.array([each.encode() for each in table["product_id"].to_pylist()], dtype=np.bytes_)
        return content_digest(ids, table["row_hash"].to_pylist(), vectors)

    def _vectors(self, shard: int, rows: pa.Table, embedded: list[str], parent: Parent) -> NDArray[np.float16]:
        """Vectors of the rows (n, d): tonight's, and the parent's for texts that did not change."""
        wanted = {content: i for i, content in enumerate(dict.fromkeys(rows["content_hash"].to_pylist()))}
        found = np.full((len(wanted), self.dimension), np.nan, dtype=np.float16)
        for path in (*embedded, *parent.vector_files(shard)):
            table = self.run.read_table(path)
            values = table["vector"].combine_chunks().flatten().to_numpy().reshape(-1, self.dimension)
            for i, content in enumerate(table["content_hash"].to_pylist()):
                if content in wanted:
                    found[wanted[content]] = values[i]
        lacking = int(np.isnan(found[:, 0]).sum()) if len(found) else 0
        if lacking:
            raise JobFailed(
                f"shard {shard}: {lacking} of {len(wanted)} texts have no vector; the run's folder "
                f"{self.run.folder}/embed is incomplete or damaged, start over with python -m jobs.reindex --fresh"
            )
        at = np.array([wanted[content] for content in rows["content_hash"].to_pylist()], dtype=np.int64)
        return found[at]

    def _new(
        self, shard: int, segment_id: str, rows: pa.Table, vectors: NDArray[np.float16], files: dict[str, Item]
    ) -> SegmentEntry:
        settings = self.run.settings
        work = Path(settings.work_dir)
        work.mkdir(parents=True, exist_ok=True)
        folder = Path(tempfile.mkdtemp(prefix="segment-", dir=work))
        try:
            products = rows.drop_columns(["row_hash", "content_hash"])
            digest = build_segment(
                products, vectors, rows["row_hash"], settings.index, folder, threads=settings.ray.embed_threads
            )
            for lock in folder.glob("lexical/.tantivy-*.lock"):
                lock.unlink()  # left by the writer; a reader does not need them
            prefix = segment_path(shard, segment_id)
            for local in sorted(path for path in folder.rglob("*") if path.is_file()):
                name = f"{prefix}/{local.relative_to(folder).as_posix()}"
                self.run.store.put_file(local, f"snapshots/{self.snapshot_id}/{name}")
                files[name] = {
                    "sha256": sha256_of(local), "size": local.stat().st_size, "owner": self.snapshot_id
                }
        finally:
            shutil.rmtree(folder, ignore_errors=True)
        self._put(products_path(shard, segment_id), parquet_bytes(rows), files)
        return SegmentEntry(
            segment_id=segment_id, owner=self.snapshot_id, rows=rows.num_rows, dead_rows=0, digest=digest
        )

    def _write_embeddings(
        self, shard: int, segment_id: str, rows: pa.Table, vectors: NDArray[np.float16], files: dict[str, Item]
    ) -> str:
        """Content hash -> vector of a segment's texts, for the nights to come."""
        first = {content: i for i, content in reversed(list(enumerate(rows["content_hash"].to_pylist())))}
        hashes = sorted(first)
        table = pa.table(
            {
                "content_hash": pa.array(hashes, pa.binary(16)),
                "vector": pa.FixedSizeListArray.from_arrays(
                    pa.array(vectors[[first[each] for each in hashes]].ravel()), self.dimension
                ),
            }
        )
        path = f"embeddings/{shard:04d}/{segment_id}.parquet"
        self._put(path, parquet_bytes(table), files)
        return path

    @staticmethod
    def _parent_embeddings(parent: Parent, shard: int) -> list[str]:
        assert parent.manifest is not None
        kept = {segment.segment_id for segment in parent.segments(shard)}
        return [
            path
            for path in parent.manifest.embeddings
            if path.startswith(f"embeddings/{shard:04d}/") and Path(path).stem in kept
        ]

    def _put(self, path: str, data: bytes, files: dict[str, Item]) -> None:
        self.run.store.write_bytes(f"snapshots/{self.snapshot_id}/{path}", data)
        files[path] = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "owner": self.snapshot_id}


def index(
    run: Run,
    mapper: Mapper,
    row_results: list[Item],
    embed_results: list[Item],
    *,
    snapshot_id: str,
    parent_id: str | None,
    encoder_fingerprint: str,
    dimension: int,
    **progress: object,
) -> list[Item]:
    """Builds every shard's new segment."""
    items = [
        {
            "part": each["part"],
            "shard": each["shard"],
            "rows": each,
            "embedded": [some["file"] for some in embed_results if some["shard"] == each["shard"]],
        }
        for each in row_results
    ]
    make = _Make(IndexShard(run, snapshot_id, parent_id, encoder_fingerprint, dimension))
    return run.each(mapper, make, items, step=STEP, **progress)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Make:
    worker: IndexShard

    def __call__(self) -> IndexShard:
        return self.worker
