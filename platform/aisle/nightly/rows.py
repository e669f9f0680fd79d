"""Step 2, rows: what changed since the parent, shard by shard, and which texts need a vector.

A product that is new or changed goes to the shard's new segment; its old row, and that of a product that is gone, gets
a tombstone. A shard with too many dead rows or delta segments is compacted: all its live rows go to one new segment.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from aisle.catalog.deduplicate import deduplicate
from aisle.catalog.product import PRODUCT_SCHEMA, content_hashes, row_hashes
from aisle.catalog.text import product_text
from aisle.nightly.parent import Parent
from aisle.nightly.run import Item, Mapper, Run

STEP = "rows"


@dataclass(frozen=True)
class ShardRows:
    """Worker: decides one shard's new segment and tombstones, and cuts its missing texts into parts."""

    run: Run
    parent_id: str | None
    encoder_fingerprint: str
    part_rows: int

    def __call__(self, item: Item) -> Item:
        shard = item["shard"]
        settings = self.run.settings
        table = pa.concat_tables([self.run.read_table(path) for path in item["files"]]) if item["files"] else None
        parent = Parent.open(self.run.store, self.parent_id, settings, self.encoder_fingerprint)
        if table is None:
            products, duplicates = PRODUCT_SCHEMA.empty_table(), 0
        else:
            products, duplicates = deduplicate(table)
            products = products.select(PRODUCT_SCHEMA.names)
        texts = product_text(products, settings.catalog.text_fields, settings.catalog.text_max_chars)
        products = products.append_column("row_hash", row_hashes(products))
        products = products.append_column("content_hash", content_hashes(texts))
        before = parent.live_rows(shard)
        change = _compare(products, before)
        dead = {key: sorted(rows) for key, rows in change.dead.items()}
        compact = parent.must_compact(shard, dead, int(change.is_new.sum()), settings.index)
        fresh = np.ones(products.num_rows, dtype=bool) if compact else change.is_new
        rows = products.filter(pa.array(fresh))
        segment_id = _segment_id(shard, rows, self.encoder_fingerprint, settings.index.model_dump_json())
        path = self.run.write_table(f"{STEP}/{shard:04d}.parquet", rows)
        known = parent.known_hashes(shard)
        pending = self._pending(shard, rows, [t for t, keep in zip(texts, fresh, strict=True) if keep], known)
        result = {
            "part": f"{shard:04d}",
            "shard": shard,
            "rows_file": path,
            "segment_id": segment_id if rows.num_rows else None,
            "compacted": bool(compact),
            "dead": {} if compact else dead,
            "pending": pending,
            "products": products.num_rows,
            "duplicates": duplicates,
            "fresh": rows.num_rows,
            "reused": rows.num_rows - sum(each["rows"] for each in pending),
            "added": change.added,
            "changed": change.changed,
            "removed": change.removed,
        }
        return self.run.finish(STEP, f"{shard:04d}", result)

    def _pending(self, shard: int, rows: pa.Table, texts: list[str], known: set[bytes]) -> list[Item]:
        """Distinct texts without a vector, in files of at most `part_rows`."""
        missing: dict[bytes, str] = {}
        for content, text in zip(rows["content_hash"].to_pylist(), texts, strict=True):
            if content not in known:
                missing[content] = text
        hashes = list(missing)
        parts = []
        for number, first in enumerate(range(0, len(hashes), self.part_rows)):
            some = hashes[first : first + self.part_rows]
            table = pa.table(
                {
                    "content_hash": pa.array(some, pa.binary(16)),
                    "text": pa.array([missing[each] for each in some], pa.string()),
                }
            )
            name = f"{shard:04d}-{number:05d}"
            path = self.run.write_table(f"{STEP}/pending-{name}.parquet", table)
            parts.append({"part": name, "shard": shard, "file": path, "rows": len(some)})
        return parts


@dataclass(frozen=True)
class _Change:
    is_new: np.ndarray
    dead: dict[str, list[int]]
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
    return _Change(is_new, dead, added, changed, len(gone))


def _segment_id(shard: int, rows: pa.Table, fingerprint: str, index: str) -> str:
    """Names a segment by what goes into it, so that a repeated night finds the segment it already built."""
    digest = hashlib.sha256(f"{shard}\n{fingerprint}\n{index}\n".encode())
    for product_id, row_hash in zip(rows["product_id"].to_pylist(), rows["row_hash"].to_pylist(), strict=True):
        digest.update(product_id.encode() + b"\0" + row_hash)
    return digest.hexdigest()[:16]


def rows(
    run: Run, mapper: Mapper, read_results: list[Item], parent_id: str | None, fingerprint: str, **progress: object
) -> list[Item]:
    """Compares every shard with the parent."""
    total = sum(each["products"] for each in read_results)
    part_rows = max(1, int(total * run.settings.ray.part_fraction))
    items = [
        {
            "part": f"{shard:04d}",
            "shard": shard,
            "files": [path for each in read_results for path in each["files"].get(str(shard), ())],
        }
        for shard in range(run.settings.index.shards)
    ]
    make = _Make(ShardRows(run, parent_id, fingerprint, part_rows))
    return run.each(mapper, make, items, step=STEP, **progress)  # type: ignore[arg-type]


@dataclass(frozen=True)
class _Make:
    worker: ShardRows

    def __call__(self) -> ShardRows:
        return self.worker


