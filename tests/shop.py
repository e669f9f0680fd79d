"""A small shop on a local disk: the sample catalogue, a night over it, and the reference pipeline over the result."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from aisle.catalog.sample import Sample, build_sample
from aisle.config import Settings
from aisle.local import local_pipeline
from aisle.nightly.reindex import Night
from aisle.nightly.run import Mapper, serial
from aisle.pipeline import Pipeline
from aisle.snapshot import Library, LoadedSnapshot, Manifest
from aisle.stages import Rewriter
from aisle.store import Retry, Store

COLUMNS = {
    name: name
    for name in (
        *("product_id", "title", "description", "brand", "category", "price", "currency"),
        *("attributes", "image_url", "available", "updated_at"),
    )
}


@lru_cache(maxsize=4)
def sample(n_products: int = 300) -> Sample:
    return build_sample(n_products)


def queries(n: int) -> list[str]:
    """Texts of judged queries of the sample, of every kind."""
    judged = sample().queries
    return [judged[i * len(judged) // n].text for i in range(n)]


def settings_for(folder: Path, url: str | Path, **changes: Mapping[str, Any] | str) -> Settings:
    """An environment below `folder`: hashing encoder, exact index, no trained model. `changes` go by section."""
    sections: dict[str, Any] = {
        "name": "test",
        "store": str(folder / "store"),
        "work_dir": str(folder / "work"),
        "catalog": {"source": {"url": str(url)}, "columns": COLUMNS},
        "encoder": {"runtime": "hashing", "dimension": 64},
        "index": {"shards": 2, "dense": {"kind": "flat"}},
        "rewriter": {"mode": "off"},
        "ranker": {"model": "fused"},
        "relevance": {"model": "cosine"},
        "serving": {"cache_dir": str(folder / "cache")},
        "ray": {"part_fraction": 0.1},
    }
    for name, change in changes.items():
        known = sections.get(name)
        if isinstance(known, dict) and isinstance(change, Mapping):
            change = {**known, **change}
        sections[name] = change
    return Settings.model_validate(sections)


def write_source(path: Path, products: pa.Table) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(products, path)
    return path


def run_night(
    settings: Settings,
    *,
    mapper: Mapper = serial,
    judge: Callable[[Manifest], dict[str, Any] | None] = lambda _: None,
    **options: Any,
) -> dict[str, Any]:
    return Night(settings, mapper, judge).run(**options)


def published(folder: Path, n_products: int = 300, **changes: Mapping[str, Any] | str) -> Settings:
    """The settings of a shop whose sample catalogue is published."""
    products = sample().products.slice(0, n_products)
    settings = settings_for(folder, write_source(folder / "products.parquet", products), **changes)
    run_night(settings)
    return settings


def library_of(settings: Settings) -> Library:
    return Library(Store.open(settings.store, settings.store_options, retry=Retry(budget_s=0.0)))


def live(settings: Settings) -> Manifest:
    library = library_of(settings)
    return library.manifest(library.current())


def load(settings: Settings, manifest: Manifest | None = None) -> LoadedSnapshot:
    return LoadedSnapshot.load(library_of(settings), manifest or live(settings), settings)


def open_pipeline(settings: Settings, rewriter: Rewriter | None = None) -> Pipeline:
    return local_pipeline(load(settings), settings, rewriter)
