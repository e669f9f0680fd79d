"""A small shop with three published snapshots, and what each of them answers: the material of `jobs.swap`.

Each version of the catalogue has other titles and prices for a third of its products, so that an answer put together
from two snapshots cannot pass for either's. What is right is computed beforehand by the local pipeline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aisle.catalog.sample import build_sample
from aisle.config import Settings, load
from aisle.local import local_pipeline
from aisle.nightly.reindex import Night
from aisle.nightly.run import serial
from aisle.schema import SearchRequest, SearchResponse
from aisle.snapshot import Library, LoadedSnapshot
from aisle.stages import Deadline
from aisle.store import Store

CHANGED_EVERY = 3
"""Every third product differs from the first version, with the version's own wording."""
VERSIONS = 3
QUERIES = 40
K = 24
Answer = tuple[tuple[str, float, float | None, str, float | None], ...]
"""What identifies an answer: each hit's id, score, relevance, title and price, in order."""


@dataclass(frozen=True)
class Shop:
    """Snapshots of one catalogue, oldest first; the newest is live when the shop opens."""

    config: Path
    overrides: tuple[str, ...]
    settings: Settings
    library: Library
    snapshots: tuple[str, ...]
    bodies: tuple[dict[str, Any], ...]
    """Requests to send."""
    expected: dict[str, tuple[Answer, ...]] = field(repr=False)
    """By snapshot: the right answer to each request."""

    def is_right(self, number: int, answer: dict[str, Any]) -> bool:
        """Whether an answer to the request of that number is wholly that of the snapshot that it names."""
        return _of_json(answer) == self.expected[answer["snapshot"]][number % len(self.bodies)]


def open_shop(config: Path, folder: Path, n_products: int = 600) -> Shop:
    """Builds the snapshots below `folder` in this process, without a cluster; seconds."""
    overrides = (
        f"store={folder / 'store'}",
        f"work_dir={folder / 'work'}",
        f"serving.cache_dir={folder / 'cache'}",
        f"catalog.source.url={folder / 'products.parquet'}",
        "evaluation.judgments=null",
        "encoder.runtime=hashing",
        "rewriter.mode=off",
        "ranker.model=fused",
        "relevance.model=cosine",
        "index.shards=4",
        "serving.poll_interval_s=0.5",
    )
    settings = load(config, overrides)
    library = Library(Store.open(settings.store, settings.store_options))
    sample = build_sample(n_products)
    folder.mkdir(parents=True, exist_ok=True)
    snapshots = []
    for version in range(VERSIONS):
        pq.write_table(_version(sample.products, version), folder / "products.parquet")
        snapshots.append(str(Night(settings, serial, lambda _: None).run()["snapshot"]))
    step = max(len(sample.queries) // QUERIES, 1)
    bodies = tuple(
        {"query": query.text, "k": K, "timeout_ms": settings.serving.max_timeout_ms}
        for query in sample.queries[::step]
    )
    expected = {each: _answers(library, each, settings, bodies) for each in snapshots}
    return Shop(config, overrides, settings, library, tuple(snapshots), bodies, expected)


def _version(products: pa.Table, version: int) -> pa.Table:
    if version == 0:
        return products
    rows = products.to_pylist()
    for row in rows[::CHANGED_EVERY]:
        row["title"] = f"{row['title']} {version + 1}th edition"
        row["price"] = round(row["price"] * 1.1 + version, 2)
    return pa.Table.from_pylist(rows, schema=products.schema)


def _answers(
    library: Library, snapshot_id: str, settings: Settings, bodies: Sequence[dict[str, Any]]
) -> tuple[Answer, ...]:
    snapshot = LoadedSnapshot.load(library, library.manifest(snapshot_id), settings)
    requests = [SearchRequest.model_validate(body) for body in bodies]
    found = asyncio.run(local_pipeline(snapshot, settings).search(requests, Deadline.after(60)))
    return tuple(_of_response(each) for each in found)


def _of_response(response: SearchResponse) -> Answer:
    return tuple(
        (hit.product_id, hit.score, hit.relevance, hit.product.title, hit.product.price)
        for hit in response.hits
    )


def _of_json(answer: dict[str, Any]) -> Answer:
    return tuple(
        (
            hit["product_id"],
            hit["score"],
            hit["relevance"],
            hit["product"]["title"],
            hit["product"]["price"],
        )
        for hit in answer["hits"]
    )
