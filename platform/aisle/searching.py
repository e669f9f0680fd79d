"""Makers of batch callables: small, picklable, and everything else is opened where they run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aisle.batch import PairsBatch, RewriteBatch, SearchBatch
from aisle.config import Settings
from aisle.local import local_pipeline, open_rewriter
from aisle.pipeline import Pipeline
from aisle.rank.features import FEATURES
from aisle.rank.onnx import FusedRanker
from aisle.relevance.filter import RawCosineFilter
from aisle.snapshot import Library, LoadedSnapshot, Manifest
from aisle.store import Store


@dataclass(frozen=True)
class Opener:
    """Opens one snapshot in whatever process calls it."""

    settings: Settings
    manifest: Manifest
    rank: bool = True
    """Without, the fused score orders and nothing is dropped: retrieval as it is."""

    def pipeline(self) -> Pipeline:
        """The reference pipeline over the whole snapshot, without a rewriter: rewrites come with the queries."""
        snapshot = LoadedSnapshot.load(self._library(), self.manifest, self.settings)
        if not self.rank:
            return local_pipeline(
                snapshot,
                self.settings,
                ranker=FusedRanker(FEATURES, "fused"),
                relevance=RawCosineFilter(0.0),
            )
        return local_pipeline(snapshot, self.settings)

    def rewriter_folder(self) -> Path:
        """The snapshot's rewriter in the cache, verified."""
        root = self._library().fetch(
            self.manifest, ["models/rewriter/"], Path(self.settings.serving.cache_dir)
        )
        return root / self.manifest.models["rewriter"].owner / "models" / "rewriter"

    def _library(self) -> Library:
        return Library(Store.open(self.settings.store, self.settings.store_options))


@dataclass(frozen=True)
class MakeSearch:
    """Makes the callable of `--queries`."""

    opener: Opener
    k: int

    def __call__(self) -> SearchBatch:
        """Opens the snapshot."""
        return SearchBatch(self.opener.pipeline(), self.k)


@dataclass(frozen=True)
class MakePairs:
    """Makes the callable of `--pairs`."""

    opener: Opener

    def __call__(self) -> PairsBatch:
        """Opens the snapshot."""
        return PairsBatch(self.opener.pipeline())


@dataclass(frozen=True)
class MakeRewrite:
    """Makes the callable that adds rewrites; one engine serves a whole batch job."""

    opener: Opener

    def __call__(self) -> RewriteBatch:
        """Starts the engine."""
        return RewriteBatch(
            open_rewriter(self.opener.rewriter_folder(), self.opener.settings.rewriter)
        )
