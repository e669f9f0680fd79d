"""Small segments, shards and queries for tests: built by the library's own code, encoded by the hashing encoder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.catalog.product import PRODUCT_SCHEMA, row_hashes
from aisle.config import DenseConfig, IndexConfig, LexicalConfig
from aisle.embed.hashing import HashingEncoder
from aisle.index.filters import Filters
from aisle.index.segment import Segment, build_segment
from aisle.index.statistics import Statistics
from aisle.retrieve.query import RetrievalQuery, analyse
from aisle.retrieve.shard import Shard
from aisle.stages import Rewrite
from aisle.stages import Segment as Span
from aisle.text import Analyzer

DIMENSION = 64
ENCODER = HashingEncoder(DIMENSION)
ANALYZER = Analyzer("english")
NONE_DEAD: NDArray[np.int64] = np.empty(0, dtype=np.int64)


def table_of(rows: Sequence[Mapping[str, Any]]) -> pa.Table:
    """Products sorted by id; fields that a row leaves out are null."""
    return pa.Table.from_pylist([dict(row) for row in rows], PRODUCT_SCHEMA).sort_by("product_id")


def titled(*titles: str) -> pa.Table:
    """Products p00000, p00001, ... of nothing but titles."""
    return table_of([{"product_id": f"p{i:05d}", "title": t} for i, t in enumerate(titles)])


def vectors_of(products: pa.Table) -> NDArray[np.float16]:
    return ENCODER.encode(products["title"].to_pylist()).astype(np.float16)


def segment_of(
    products: pa.Table, folder: Path, kind: str = "flat", boosts: Mapping[str, int] | None = None
) -> Segment:
    """Builds and opens a segment; fields count as in the default configuration unless `boosts` are given."""
    settings: dict[str, Any] = {"dense": {"kind": kind}}
    if boosts is not None:
        settings["lexical"] = {"boosts": dict(boosts)}
    config = IndexConfig.model_validate(settings)
    build_segment(products, vectors_of(products), row_hashes(products), config, folder)
    return Segment.open(folder, config)


def open_as(folder: Path, **dense: Any) -> Segment:
    """Opens a built segment under other settings of the dense side."""
    return Segment.open(folder, IndexConfig(dense=DenseConfig(**dense)))


def statistics_of(*segments: Segment) -> Statistics:
    return Statistics.collect((each.forward, NONE_DEAD) for each in segments)


def shard_of(*segments: Segment, number: int = 0, dense_weight: float = 0.5) -> Shard:
    return Shard(number, [(each, NONE_DEAD) for each in segments], dense_weight)


def query_of(
    text: str,
    statistics: Statistics,
    *,
    expansions: Sequence[str] = (),
    types: Sequence[tuple[str, str]] = (),
    filters: Mapping[str, Any] | None = None,
    boosts: Mapping[str, float] | None = None,
    depth: int = 20,
    dense: bool = True,
) -> RetrievalQuery:
    """The analysed query; `types` are (words, segment type) as a rewriter would say."""
    rewrite = Rewrite(
        original=text,
        query=text,
        expansions=tuple(expansions),
        segments=tuple(Span(words, kind) for words, kind in types),
    )
    vector = ENCODER.encode([text], "query")[0] if dense else np.empty(0, np.float32)
    return analyse(
        rewrite,
        vector,
        statistics,
        ANALYZER,
        boosts if boosts is not None else {str(f): w for f, w in LexicalConfig().boosts.items()},
        filters=Filters.parse(filters),
        expansion_weight=0.3,
        dense_depth=depth,
        lexical_depth=depth,
    )
