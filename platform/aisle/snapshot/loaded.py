"""A snapshot in memory, whole or in the parts that one process serves."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Flag, auto
from pathlib import Path
from typing import TypeVar

import faiss
import numpy as np
from numpy.typing import NDArray

from aisle.cache import Cache
from aisle.config import Settings
from aisle.embed import RememberedQueries, open_encoder
from aisle.embed.spec import TOKENIZER_FILE
from aisle.errors import ModelError, SnapshotError
from aisle.index.filters import Filters
from aisle.index.segment import Segment
from aisle.index.statistics import Statistics
from aisle.rank.features import FEATURES
from aisle.rank.onnx import FusedRanker, OnnxRanker
from aisle.relevance.filter import OnnxRelevanceFilter, RawCosineFilter
from aisle.retrieve.local import describe_in_shards, search_shards
from aisle.retrieve.query import analyse
from aisle.retrieve.shard import Shard
from aisle.rewrite.model import CARD_FILE, expand_below_titles
from aisle.rewrite.segmenter import OnnxSegmenter
from aisle.rewrite.spelling import SpellingRepair
from aisle.rewrite.understood import understood_words
from aisle.rewrite.vocabulary import MAX_TITLES, Vocabulary
from aisle.snapshot.documents import Documents
from aisle.snapshot.library import Library
from aisle.snapshot.manifest import STATISTICS_PATH, Manifest, segment_path, tombstones_path
from aisle.snapshot.opened import Opened
from aisle.stages import Encoder, Ranker, RelevanceFilter, Rewrite
from aisle.text import Analyzer

T = TypeVar("T")


class Parts(Flag):
    """What a process needs of a snapshot."""

    QUERY = auto()
    """Encoder, analyzer and statistics: turns texts into retrieval queries."""
    SHARDS = auto()
    RANK = auto()
    """Ranker and relevance filter."""
    DOCUMENTS = auto()
    ALL = QUERY | SHARDS | RANK | DOCUMENTS


@dataclass(frozen=True)
class LoadedSnapshot:
    """Opened parts of one snapshot; a part that was not asked for raises when it is used."""

    manifest: Manifest
    parts: Parts
    analyzer: Analyzer
    _encoder: Encoder | None = None
    _statistics: Statistics | None = None
    shards: tuple[Shard, ...] = ()
    _ranker: Ranker | None = None
    _relevance: RelevanceFilter | None = None
    _documents: Documents | None = None
    spelling: SpellingRepair | None = None
    """None where `rewriter.spelling` is off, or where this process answers no queries."""
    segmenter: OnnxSegmenter | None = None
    """None where the snapshot has none, or where this process answers no queries."""
    expand_below: int | None = None
    """Of the snapshot's rewriter, see `aisle.rewrite.choose`; none where it has no bound, or there is no rewriter."""

    @property
    def snapshot_id(self) -> str:
        """Of the manifest."""
        return self.manifest.snapshot_id

    @property
    def encoder(self) -> Encoder:
        """Turns queries into vectors; needs `Parts.QUERY`."""
        return _held(self._encoder, "encoder", self)

    @property
    def statistics(self) -> Statistics:
        """Of the whole catalogue; needs `Parts.QUERY`."""
        return _held(self._statistics, "statistics", self)

    @property
    def ranker(self) -> Ranker:
        """Needs `Parts.RANK`."""
        return _held(self._ranker, "ranker", self)

    @property
    def relevance(self) -> RelevanceFilter:
        """The relevance filter; needs `Parts.RANK`."""
        return _held(self._relevance, "relevance filter", self)

    @property
    def documents(self) -> Documents:
        """What hits show; needs `Parts.DOCUMENTS`."""
        return _held(self._documents, "documents", self)

    @classmethod
    def load(
        cls,
        library: Library,
        manifest: Manifest,
        settings: Settings,
        parts: Parts = Parts.ALL,
        shards: Iterable[int] | None = None,
        opened: Opened | None = None,
    ) -> LoadedSnapshot:
        """Fetches, verifies and opens parts of a snapshot.

        Args:
            library: where it lies.
            manifest: of the snapshot; a candidate that is not published yet will do.
            settings: depths, weights, thread counts and the cache's folder.
            parts: what to open.
            shards: shard numbers, all where none; only with `Parts.SHARDS`.
            opened: what other snapshots of this process hold open; shared instead of opened again.

        Raises:
            SnapshotError: the snapshot or a file is missing or damaged.
            ModelError: a model does not fit the features that this version computes.
        """
        snapshot_id = manifest.snapshot_id
        opened = Opened() if opened is None else opened
        numbers = (
            sorted(shards) if shards is not None else [each.number for each in manifest.shards]
        )
        unknown = set(numbers) - {each.number for each in manifest.shards}
        if unknown:
            raise SnapshotError(
                f"{snapshot_id}: has {len(manifest.shards)} shards, asked for {sorted(unknown)}"
            )
        root = library.fetch(
            manifest, _prefixes(parts, numbers, manifest), Path(settings.serving.cache_dir)
        )
        threads = settings.serving.threads
        faiss.omp_set_num_threads(threads)
        analyzer = Analyzer(manifest.index.lexical.stemmer)
        statistics = (
            opened.part("statistics", root / manifest.locate(STATISTICS_PATH), Statistics.open)
            if Parts.QUERY in parts
            else None
        )
        documents = Documents.open(manifest, root, opened) if Parts.DOCUMENTS in parts else None
        models = {
            role: root / entry.owner / "models" / role for role, entry in manifest.models.items()
        }
        return cls(
            manifest=manifest,
            parts=parts,
            analyzer=analyzer,
            _encoder=opened.part(
                "encoder", models["encoder"], lambda folder: open_encoder(folder, threads=threads)
            )
            if Parts.QUERY in parts
            else None,
            _statistics=statistics,
            shards=_open_shards(manifest, root, numbers, settings, opened)
            if Parts.SHARDS in parts
            else (),
            _ranker=opened.part(
                "ranker", models["ranker"], lambda _: _open_ranker(manifest, models, threads)
            )
            if Parts.RANK in parts
            else None,
            _relevance=opened.part(
                "relevance",
                models["relevance"],
                lambda _: _open_relevance(manifest, models, settings, threads),
            )
            if Parts.RANK in parts
            else None,
            _documents=documents,
            segmenter=opened.part(
                "segmenter",
                models["segmenter"],
                lambda folder: OnnxSegmenter.load(folder, threads=threads),
            )
            if Parts.QUERY in parts and "segmenter" in models
            else None,
            spelling=_open_spelling(settings, statistics, documents, analyzer, models["encoder"]),
            expand_below=expand_below_titles(models["rewriter"])
            if Parts.QUERY in parts and "rewriter" in models
            else None,
        )

    def remembering(self, queries: int) -> LoadedSnapshot:
        """The same snapshot, keeping the vectors of the last so many queries; 0 or no encoder changes nothing."""
        if queries == 0 or self._encoder is None:
            return self
        return replace(self, _encoder=RememberedQueries(self._encoder, queries))

    @property
    def remembered(self) -> Cache[str, NDArray[np.float32]] | None:
        """The vectors that `remembering` keeps; none where it keeps none."""
        return self._encoder.cache if isinstance(self._encoder, RememberedQueries) else None

    def warm_up(self) -> None:
        """Runs every loaded part once, so that no request pays for compilation and first touches."""
        vectors = np.zeros((1, self.manifest.dimension), dtype=np.float32)
        statistics = self._statistics or Statistics.none()
        if self._encoder is not None:
            vectors = self._encoder.encode(["warm up"], "query")
        query = analyse(
            Rewrite.unchanged("warm up"),
            vectors[0],
            statistics,
            self.analyzer,
            dict(self.manifest.index.lexical.boosts.items()),
            filters=Filters(),
            expansion_weight=0.0,
            dense_depth=8,
            lexical_depth=8,
        )
        (found,) = describe_in_shards(self.shards, [query], search_shards(self.shards, [query]))
        if self._ranker is not None and self._relevance is not None:
            features = found.features if len(found) else np.zeros((1, len(FEATURES)), np.float32)
            score = self._ranker.score(features)
            none = np.zeros(len(score), dtype=np.float32)
            self._relevance.relevance(vectors, none.astype(np.int64), none, score)
        if self._documents is not None:
            self._documents.take(found.locators[:1])


def _prefixes(parts: Parts, shards: Iterable[int], manifest: Manifest) -> list[str]:
    wanted = []
    if Parts.QUERY in parts:
        wanted += ["models/encoder/", STATISTICS_PATH]
        if "segmenter" in manifest.models:
            wanted.append("models/segmenter/")
        if "rewriter" in manifest.models:
            wanted.append(f"models/rewriter/{CARD_FILE}")
    if Parts.SHARDS in parts:
        wanted += [f"shards/{number:04d}/" for number in shards]
    if Parts.RANK in parts:
        wanted += ["models/ranker/", "models/relevance/"]
    if Parts.DOCUMENTS in parts:
        wanted += ["products/"]
    return wanted


def _open_shards(
    manifest: Manifest, root: Path, numbers: list[int], settings: Settings, opened: Opened
) -> tuple[Shard, ...]:
    shards = []
    for entry in manifest.shards:
        if entry.number not in numbers:
            continue
        segments = []
        for each in entry.segments:
            dead = np.empty(0, dtype=np.int64)
            if each.dead_rows:
                path = tombstones_path(entry.number, each.segment_id)
                dead = np.load(root / manifest.locate(path))
            folder = root / each.owner / segment_path(entry.number, each.segment_id)
            # How it is searched is the snapshot's, not the segment's: other efforts want another opening.
            kind = f"segment {manifest.index.dense.model_dump_json()}"
            segment = opened.part(kind, folder, lambda at: Segment.open(at, manifest.index))
            segments.append((segment, dead))
        shards.append(Shard(entry.number, segments, settings.retrieval.dense_weight))
    return tuple(shards)


def _open_spelling(
    settings: Settings,
    statistics: Statistics | None,
    documents: Documents | None,
    analyzer: Analyzer,
    encoder: Path,
) -> SpellingRepair | None:
    """Made from what is loaded: whoever answers queries holds statistics and documents."""
    if not settings.rewriter.spelling or statistics is None or documents is None:
        return None
    vocabulary = Vocabulary(documents.titles(MAX_TITLES), analyzer)
    understood = understood_words(encoder / TOKENIZER_FILE)
    return SpellingRepair(vocabulary, statistics, analyzer, understood)


def _open_ranker(manifest: Manifest, models: dict[str, Path], threads: int) -> Ranker:
    if manifest.models["ranker"].kind == "fused":
        return FusedRanker(FEATURES, "fused")
    ranker = OnnxRanker.load(models["ranker"], threads=threads)
    ranker.expect(FEATURES)
    return ranker


def _open_relevance(
    manifest: Manifest, models: dict[str, Path], settings: Settings, threads: int
) -> RelevanceFilter:
    threshold = settings.relevance.threshold
    if manifest.models["relevance"].kind == "cosine":
        return RawCosineFilter(threshold if threshold is not None else 0.0)
    relevance = OnnxRelevanceFilter.load(models["relevance"], threads=threads)
    if relevance.dimension != manifest.dimension:
        raise ModelError(
            f"{manifest.snapshot_id}: the relevance filter was trained on vectors of d={relevance.dimension}, the "
            f"snapshot's have d={manifest.dimension}; train it with python -m jobs.train_relevance"
        )
    if threshold is not None:
        relevance.threshold = threshold
    return relevance


def _held(part: T | None, name: str, snapshot: LoadedSnapshot) -> T:
    if part is None:
        raise SnapshotError(
            f"{snapshot.snapshot_id}: this process loaded {snapshot.parts}, not the {name}"
        )
    return part
