"""Step 2, rows: what changed since the parent, shard by shard, and which texts need a vector.

A product that is new or changed goes to the shard's new segment; its old row, and that of a product that is gone, gets
a tombstone. A shard with too many dead rows or delta segments is compacted: all its live rows go to one new segment.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.catalog.deduplicate import deduplicate
from aisle.catalog.product import PRODUCT_SCHEMA, content_hashes, row_hashes
from aisle.catalog.text import product_text
from aisle.nightly.parent import Parent
from aisle.nightly.run import Item, Mapper, Progress, Ready, Run
from aisle.store import StoredFile

STEP = "rows"


@dataclass(frozen=True)
class ShardRows:
    """Worker: decides one shard's new segment and tombstones, and cuts its missing texts into parts."""

    run: Run
    parent_id: str | None
    vectors: str
    part_rows: int

    def __call__(self, item: Item) -> Item:
        """Compares `item`'s shard."""
        shard = item["shard"]
        settings = self.run.settings
        parent = Parent.open(self.run.store, self.parent_id, settings, self.vectors)
        products, duplicates = PRODUCT_SCHEMA.empty_table(), 0
        if item["files"]:
            found = pa.concat_tables([self.run.read_table(path) for path in item["files"]])
            found, duplicates = deduplicate(found)
            products = found.select(PRODUCT_SCHEMA.names)
        products = products.append_column("row_hash", row_hashes(products))
        change = _compare(products, parent.live_rows(shard))
        compact = parent.must_compact(shard, change.dead, int(change.is_new.sum()), settings.index)
        rows = products.append_column("is_new", pa.array(change.is_new))
        if not compact:
            rows = rows.filter(pa.array(change.is_new))
        texts = product_text(rows, settings.catalog.text_fields, settings.catalog.text_max_chars)
        rows = rows.append_column("content_hash", content_hashes(texts))
        segment_id = _segment_id(shard, rows, self.vectors, settings.index_hash())
        file = self.run.write_table(f"{STEP}/{shard:04d}.parquet", rows)
        pending, wrote = self._pending(shard, rows, texts, parent)
        result = {
            "part": f"{shard:04d}",
            "shard": shard,
            "rows_file": file.name,
            "segment_id": segment_id if rows.num_rows else None,
            "compacted": compact,
            "dead": change.dead,
            "pending": pending,
            "products": products.num_rows,
            "duplicates": duplicates,
            "fresh": rows.num_rows,
            "reused": rows.num_rows - sum(each["rows"] for each in pending),
            "added": change.added,
            "changed": change.changed,
            "removed": change.removed,
        }
        return self.run.finish(STEP, f"{shard:04d}", result, [file, *wrote])

    def _pending(
        self, shard: int, rows: pa.Table, texts: list[str], parent: Parent
    ) -> tuple[list[Item], list[StoredFile]]:
        """Distinct texts without a vector, in files of at most `part_rows`."""
        known = parent.known_hashes(shard) if rows.num_rows else set()
        missing: dict[bytes, str] = {}
        for content, text in zip(rows["content_hash"].to_pylist(), texts, strict=True):
            if content not in known:
                missing[content] = text
        hashes = list(missing)
        parts: list[Item] = []
        wrote: list[StoredFile] = []
        for number, first in enumerate(range(0, len(hashes), self.part_rows)):
            some = hashes[first : first + self.part_rows]
            table = pa.table(
                {
                    "content_hash": pa.array(some, pa.binary(16)),
                    "text": pa.array([missing[each] for each in some], pa.string()),
                }
            )
            name = f"{shard:04d}-{number:05d}"
            wrote.append(self.run.write_table(f"{STEP}/pending-{name}.parquet", table))
            parts.append({"part": name, "shard": shard, "file": wrote[-1].name, "rows": len(some)})
        return parts, wrote


@dataclass(frozen=True)
class _Change:
    is_new: NDArray[np.bool_]
    """(n,) products that are added or changed."""
    dead: dict[str, list[int]]
    """Rows that die tonight, by segment, ascending."""
    added: int
    changed: int
    removed: int


def _compare(products: pa.Table, before: dict[str, tuple[bytes, str, int]]) -> _Change:
    """New against old: `before` maps product_id to (row hash, segment, row)."""
    ids = products["product_id"].to_pylist()
    hashes = products["row_hash"].to_pylist()
    is_new = np.zeros(len(ids), dtype=bool)
    dead: dict[str, list[int]] = {}
    added = changed = 0
    for i, (product_id, row_hash) in enumerate(zip(ids, hashes, strict=True)):
        old = before.get(product_id)
        if old is not None and old[0] == row_hash:
            continue
        is_new[i] = True
        if old is None:
            added += 1
        else:
            changed += 1
            dead.setdefault(old[1], []).append(old[2])
    gone = before.keys() - set(ids)
    for product_id in gone:
        _, segment, row = before[product_id]
        dead.setdefault(segment, []).append(row)
    dead = {segment: sorted(dead[segment]) for segment in sorted(dead)}
    return _Change(is_new, dead, added, changed, len(gone))


def _segment_id(shard: int, rows: pa.Table, vectors: str, build: str) -> str:
    """Names a segment by what goes into it, so that a repeated night finds the segment it already built."""
    digest = hashlib.sha256(f"{shard}\n{vectors}\n{build}\n".encode())
    for product_id, row_hash in zip(
        rows["product_id"].to_pylist(), rows["row_hash"].to_pylist(), strict=True
    ):
        digest.update(product_id.encode() + b"\0" + row_hash)
    return digest.hexdigest()[:16]


def rows(
    run: Run,
    mapper: Mapper,
    read_results: list[Item],
    parent_id: str | None,
    vectors: str,
    progress: Progress | None = None,
) -> list[Item]:
    """Compares every shard with the parent; `vectors` is the fingerprint of tonight's encoder."""
    total = sum(each["products"] for each in read_results)
    at_risk_rows = int(total * run.settings.ray.part_fraction)
    part_rows = max(1, at_risk_rows // run.settings.ray.embed_workers)
    items = [
        {
            "part": f"{shard:04d}",
            "shard": shard,
            "files": [path for each in read_results for path in each["files"].get(str(shard), ())],
        }
        for shard in range(run.settings.index.shards)
    ]
    worker = ShardRows(run, parent_id, vectors, part_rows)
    return run.each(mapper, Ready(worker), items, step=STEP, progress=progress)
