"""From a snapshot and the settings to stages in this process: batch jobs, tests and the fused gateway."""

from __future__ import annotations

from pathlib import Path

from aisle.config import RewriterConfig, Settings
from aisle.pipeline import Pipeline
from aisle.retrieve.local import LocalRetriever
from aisle.rewrite import VllmRewriter
from aisle.score import LocalScorer
from aisle.snapshot.loaded import LoadedSnapshot
from aisle.stages import Ranker, RelevanceFilter, Rewriter, RunBlocking, inline


def local_pipeline(
    snapshot: LoadedSnapshot,
    settings: Settings,
    rewriter: Rewriter | None = None,
    run: RunBlocking = inline,
    *,
    ranker: Ranker | None = None,
    relevance: RelevanceFilter | None = None,
) -> Pipeline:
    """Composes a wholly loaded snapshot's stages in this process; a given ranker or filter replaces the snapshot's."""
    held = snapshot.snapshot_id
    return Pipeline(
        snapshot,
        LocalRetriever({held: snapshot.shards}, run),
        LocalScorer({held: (ranker or snapshot.ranker, relevance or snapshot.relevance)}, run),
        rewriter,
        settings.retrieval,
        settings.rewriter.budget_ms,
        run,
    )


def open_rewriter(folder: Path, config: RewriterConfig) -> VllmRewriter:
    """Starts the engine over a snapshot's rewriter; tens of seconds. ModelError where it cannot."""
    return VllmRewriter(
        folder,
        max_tokens=config.max_tokens,
        cache_entries=config.cache_entries,
        max_num_seqs=config.max_concurrent,
        kv_cache_gib=config.kv_cache_gib,
        gpu_memory_fraction=config.gpu_memory_fraction,
    )
