"""A shop with three published snapshots, and what each of them answers: the material of `jobs.swap`.

Without a config of its own it is the sample catalogue with hashing vectors, built in seconds; with one it is that
config's catalogue with its real encoder, built once and kept. Each later version has other prices for every n-th
product and another title for some of those, so the catalogue's statistics, and with them every score, change too: an
answer put together from two snapshots cannot pass for either's. What is right is computed beforehand by the local
pipeline.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aisle.catalog.sample import build_sample
from aisle.config import Settings, load
from aisle.errors import JobFailed
from aisle.evaluation.source import open_judgments
from aisle.local import local_pipeline
from aisle.nightly.reindex import Night
from aisle.nightly.run import Item, serial
from aisle.schema import SearchRequest, SearchResponse
from aisle.snapshot import Library, LoadedSnapshot
from aisle.stages import Deadline
from aisle.store import Store

logger = logging.getLogger("jobs.swap_shop")

CHANGED_EVERY = 3
"""In the sample every third product differs from the first version, with the version's own wording."""
RETITLED_EVERY = 8
"""Of a real catalogue's changed products, every eighth gets another title too, and so another vector."""
VERSIONS = 3
QUERIES = 40
REAL_QUERIES = 200
SHARDS = 4
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


def open_shop(
    config: Path, folder: Path, n_products: int = 600, overrides: Sequence[str] = ()
) -> Shop:
    """Builds snapshots of the sample catalogue below `folder` in this process, without a cluster; seconds.

    Args:
        config: the environment's file.
        folder: takes store, cache and catalogue.
        n_products: of the sample.
        overrides: set after the shop's own, such as another store.
    """
    own = (
        *_places(folder),
        f"catalog.source.url={folder / 'products.parquet'}",
        "evaluation.judgments=null",
        "encoder.runtime=hashing",
        "ray.part_fraction=0.1",  # hundreds of parts of a few rows each would take minutes over S3
        "rewriter.mode=off",
        "serving.remembered_answers=0",  # each answer has to be computed
        "ranker.model=fused",
        "relevance.model=cosine",
    )
    sample = build_sample(n_products)
    step = max(len(sample.queries) // QUERIES, 1)

    def version(number: int) -> pa.Table:
        return _changed(sample.products, number, CHANGED_EVERY, 1)

    texts = [query.text for query in sample.queries[::step]]
    return _open(config, (*own, *overrides), folder, version, texts)


def open_real_shop(
    config: Path, folder: Path, changed_every: int, overrides: Sequence[str] = ()
) -> Shop:
    """The same of a config's own catalogue, one Parquet file with a column `title`, with its real encoder.

    A folder that holds the versions already is used as it is; else the first one embeds the whole catalogue (minutes),
    unless the folder's store has a snapshot with the same encoder, whose vectors are then reused.

    Raises:
        JobFailed: the catalogue is of another form, or no judgments name queries.
    """
    settings = load(config)
    source, evaluation = settings.catalog.source.url, settings.evaluation
    judgments = evaluation.judgments
    if judgments is None or not isinstance(source, str) or not source.endswith(".parquet"):
        raise JobFailed(
            f"{config}: catalog.source.url is {source}, evaluation.judgments is {judgments}; jobs.swap changes one "
            "Parquet file of products and asks the queries of a judgments file"
        )
    products = pq.read_table(source)
    own = (
        *_places(folder),
        f"catalog.source.url={folder / 'products.parquet'}",
        "catalog.columns.price=price",
        "evaluation.judgments=null",
        "rewriter.mode=off",
        "serving.remembered_answers=0",  # each answer has to be computed
    )
    judged = open_judgments(evaluation)
    texts = sorted(judged.texts)
    step = max(len(texts) // REAL_QUERIES, 1)
    prices = pa.array([float(10 + row % 90) for row in range(products.num_rows)], pa.float64())

    def version(number: int) -> pa.Table:
        priced = products.append_column("price", prices)
        return _changed(priced, number, changed_every, RETITLED_EVERY)

    return _open(config, (*own, *overrides), folder, version, texts[::step][:REAL_QUERIES])


def _places(folder: Path) -> tuple[str, ...]:
    return (
        f"store={folder / 'store'}",
        f"work_dir={folder / 'work'}",
        f"serving.cache_dir={folder / 'cache'}",
        f"index.shards={SHARDS}",
        "serving.poll_interval_s=0.5",
    )


def _open(
    config: Path,
    overrides: tuple[str, ...],
    folder: Path,
    version: Callable[[int], pa.Table],
    queries: Sequence[str],
) -> Shop:
    settings = load(config, overrides)
    library = Library(Store.open(settings.store, settings.store_options))
    folder.mkdir(parents=True, exist_ok=True)
    built = folder / "versions.json"
    if built.exists():
        snapshots = json.loads(built.read_text())
    else:
        snapshots = []
        for number in range(VERSIONS):
            pq.write_table(version(number), folder / "products.parquet")
            summary = Night(settings, serial, lambda _: None, _logged).run()
            snapshots.append(str(summary["snapshot"]))
            logger.info("version %d is %s: %s", number, snapshots[-1], _seconds(summary))
        built.write_text(json.dumps(snapshots))
    asked = [
        {"query": query, "k": K, "timeout_ms": settings.serving.max_timeout_ms} for query in queries
    ]
    found = [_answers(library, each, settings, asked) for each in snapshots]
    telling = [i for i, each in enumerate(zip(*found, strict=True)) if len(set(each)) == VERSIONS]
    if 2 * len(telling) < len(asked):
        raise JobFailed(
            f"{len(telling)} of {len(asked)} queries are answered differently by {VERSIONS} versions; change more "
            "products, or mixed answers would not be noticed"
        )
    return Shop(
        config,
        overrides,
        settings,
        library,
        tuple(snapshots),
        tuple(asked[i] for i in telling),
        {
            each: tuple(answers[i] for i in telling)
            for each, answers in zip(snapshots, found, strict=True)
        },
    )


def _seconds(summary: dict[str, Any]) -> dict[str, float]:
    return {row["step"]: row["seconds"] for row in summary["steps"]}


def _logged(step: str, done: int, total: int, result: Item) -> None:
    if done % 10 == 0 or done == total:
        logger.info("%s: %d of %d parts", step, done, total)


def _changed(products: pa.Table, version: int, every: int, retitled_every: int) -> pa.Table:
    """The catalogue's `version`: from 1 on, every n-th product has another price, and some another title."""
    if version == 0:
        return products
    titles, prices = products["title"].to_pylist(), products["price"].to_pylist()
    for i, row in enumerate(range(0, len(titles), every)):
        prices[row] = round(prices[row] * 1.1 + version, 2)
        if i % retitled_every == 0:
            titles[row] = f"{titles[row]} {version + 1}th edition"
    for name, values in (("title", titles), ("price", prices)):
        at = products.schema.get_field_index(name)
        column = pa.array(values, products.schema.field(name).type)
        products = products.set_column(at, products.schema.field(name), column)
    return products


def _answers(
    library: Library, snapshot_id: str, settings: Settings, bodies: Sequence[dict[str, Any]]
) -> tuple[Answer, ...]:
    snapshot = LoadedSnapshot.load(library, library.manifest(snapshot_id), settings)
    requests = [SearchRequest.model_validate(body) for body in bodies]
    found = asyncio.run(local_pipeline(snapshot, settings).search(requests, Deadline.after(120)))
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
