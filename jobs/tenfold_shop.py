"""The catalogues of `jobs.tenfold`: copies of a shop's products under other titles, indexed without embedding."""

from __future__ import annotations

import html
import json
import logging
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from aisle.config import Settings
from aisle.errors import JobFailed
from aisle.nightly.embed import STEP, EmbedPart, MakeEmbedPart
from aisle.nightly.reindex import Night
from aisle.nightly.run import Item, Mapper, Worker
from aisle.snapshot import Library, LoadedSnapshot
from aisle.snapshot.loaded import Parts
from aisle.store import Store

logger = logging.getLogger("jobs.tenfold_shop")

SEED = 7
NOISE = 0.33
"""Length of the noise on a unit vector: a copy's cosine with its original is about 1 / sqrt(1 + .33^2) = .95."""
INDEXING = ("read", "rows", "index")
"""Steps of a night that rows pass through, embedding aside."""


@dataclass(frozen=True)
class KnownVectors:
    """Stands in for the encoder: the vector of a title is that of the product it was made from, with noise."""

    product_of: Mapping[str, int]
    """Every title -> row of `vectors`."""
    originals: frozenset[str]
    """Titles that get their vector as it is."""
    vectors: NDArray[np.float16]
    """(n, d) unit rows."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        """See `aisle.embed.stage.EmbedBatch`."""
        rows = np.stack([self._vector(text) for text in batch["text"].to_pylist()])
        flat = pa.array(rows.astype(np.float16).ravel())
        return pa.table(
            {
                "content_hash": batch["content_hash"].cast(pa.binary(16)),
                "vector": pa.FixedSizeListArray.from_arrays(flat, rows.shape[1]),
            }
        )

    def _vector(self, title: str) -> NDArray[np.float32]:
        vector = self.vectors[self.product_of[title]].astype(np.float32)
        if title in self.originals:
            return vector
        rng = np.random.default_rng([SEED, zlib.crc32(title.encode())])
        vector = vector + NOISE / len(vector) ** 0.5 * rng.standard_normal(len(vector))
        return np.asarray(vector / np.linalg.norm(vector), np.float32)


@dataclass(frozen=True)
class Grown:
    """A catalogue of `factor` times the products, and where its night goes."""

    factor: int
    settings: Settings
    folder: Path
    encode: KnownVectors


def grow(settings: Settings, factor: int, folder: Path) -> Grown:
    """Writes the catalogue: every product of the live snapshot, and `factor` - 1 copies of each.

    Raises SnapshotError where nothing is published.
    """
    titles, brands, vectors = _live_products(settings)
    rng = np.random.default_rng(SEED)
    words = sorted({word for title in titles for word in title.split()})
    product_of = dict(zip(reversed(titles), range(len(titles) - 1, -1, -1), strict=True))
    originals = frozenset(product_of)
    rows = [(f"p{i}", title, brands[i]) for i, title in enumerate(titles)]
    for copy in range(1, factor):
        for i, title in enumerate(titles):
            other = f"{title} {words[rng.integers(len(words))]}"
            while other in product_of:
                other = f"{other} {words[rng.integers(len(words))]}"
            product_of[other] = i
            rows.append((f"p{i}-{copy}", other, brands[i]))
    home = folder / f"x{factor}"
    home.mkdir(parents=True, exist_ok=True)
    columns = zip(("product_id", "title", "brand"), zip(*rows, strict=True), strict=True)
    table = pa.table({name: pa.array(list(values), pa.string()) for name, values in columns})
    pq.write_table(table, home / "products.parquet")
    return Grown(
        factor, _settings(settings, home), home, KnownVectors(product_of, originals, vectors)
    )


def index(shop: Grown, mapper: Mapper) -> dict[str, Any]:
    """The catalogue's night, done once: rows, seconds and rows a second of indexing, bytes of the index."""
    record = shop.folder / "night.json"
    if not record.is_file():
        without = _WithoutEmbedding(mapper, shop.encode)
        record.write_text(json.dumps(Night(shop.settings, without, lambda _: None).run()))
    night = json.loads(record.read_text())
    library = Library(Store.open(shop.settings.store))
    manifest = library.manifest(night["snapshot"])
    seconds = {row["step"]: row["seconds"] for row in night["steps"]}
    indexing_s = sum(seconds[step] for step in INDEXING)
    return {
        "rows": night["counts"]["rows"],
        "indexing_s": round(indexing_s, 1),
        "rows_s": round(night["counts"]["rows"] / indexing_s),
        "step_s": seconds,
        "index_bytes": sum(
            entry.size for path, entry in manifest.files.items() if path.startswith("shards/")
        ),
    }


@dataclass(frozen=True)
class _WithoutEmbedding:
    """A `Mapper` that runs the embedding step in this process, with vectors that are known."""

    others: Mapper
    encode: KnownVectors

    def __call__(
        self,
        make_worker: Callable[[], Worker],
        items: Sequence[Item],
        *,
        step: str,
        actors: bool = False,
    ) -> Iterator[Item]:
        """See `Mapper`."""
        if step != STEP:
            yield from self.others(make_worker, items, step=step, actors=actors)
            return
        if not isinstance(make_worker, MakeEmbedPart):
            raise JobFailed(f"step {step} is not made of MakeEmbedPart but of {make_worker!r}")
        worker = EmbedPart(make_worker.run, self.encode)
        yield from map(worker, items)


def _live_products(settings: Settings) -> tuple[list[str], list[str | None], NDArray[np.float16]]:
    """Title, brand and vector of every live product."""
    library = Library(Store.open(settings.store, settings.store_options))
    manifest = library.manifest(library.current())
    snapshot = LoadedSnapshot.load(library, manifest, settings, Parts.SHARDS | Parts.DOCUMENTS)
    parts = [part for shard in snapshot.shards for part in shard.live_rows()]
    products = [
        row
        for _, _, locators in parts
        for row in snapshot.documents.take(locators, ("title", "brand"))
    ]
    vectors = np.concatenate([vectors for _, vectors, _ in parts])
    # As a second reading leaves it, entities that were escaped twice included: what the embedding step will be given.
    titles = [" ".join(html.unescape(each["title"]).split()) for each in products]
    return titles, [each["brand"] for each in products], vectors


def _settings(settings: Settings, home: Path) -> Settings:
    catalog = settings.catalog
    columns = catalog.columns.model_validate(
        {"product_id": "product_id", "title": "title", "brand": "brand"}
    )
    source = catalog.source.model_validate({"url": str(home / "products.parquet")})
    return settings.model_copy(
        update={
            "name": f"{settings.name}-x{home.name[1:]}",
            "store": str(home / "store"),
            "store_options": {},
            "catalog": catalog.model_copy(
                update={"columns": columns, "source": source, "text_fields": ("title",)}
            ),
            "evaluation": settings.evaluation.model_copy(update={"judgments": None}),
            "serving": settings.serving.model_copy(update={"cache_dir": str(home / "cache")}),
        }
    )
