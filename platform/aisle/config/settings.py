"""One environment: all sections, what must hold between them, and what of them decides a snapshot's content."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from pydantic import Field, model_validator

from aisle.config.admission import AdmissionConfig
from aisle.config.evaluation import EvaluationConfig
from aisle.config.nightly import GateConfig, NightlyConfig
from aisle.config.sections import (
    CatalogConfig,
    EncoderConfig,
    IndexConfig,
    RankerConfig,
    RayConfig,
    RelevanceConfig,
    RetrievalConfig,
    RewriterConfig,
    Section,
    ServingConfig,
)

_BUILD = 1
"""Raised when a release analyses or indexes equal rows differently, so that no older segment is carried over."""

_READ_BY = {"columns", "text_fields", "text_max_chars"}
_CUT_BY = {"shards"}
_BUILT_BY = {"kind", "hnsw_m", "hnsw_ef_construction", "ivf_lists"}


class Settings(Section):
    """One environment."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,40}$")
    """Names the environment in logs, metrics and job submission ids."""
    store: str
    """Where snapshots live: a local path or s3:// publish; any other fsspec URL is read only."""
    store_options: dict[str, Any] = Field(default_factory=dict)
    """Passed to fsspec for the store."""
    work_dir: str = ".aisle/work"
    """Scratch space on each node: exported encoders, segments while they are built."""
    catalog: CatalogConfig
    encoder: EncoderConfig = EncoderConfig()
    index: IndexConfig = IndexConfig()
    retrieval: RetrievalConfig = RetrievalConfig()
    rewriter: RewriterConfig = RewriterConfig()
    ranker: RankerConfig = RankerConfig()
    relevance: RelevanceConfig = RelevanceConfig()
    evaluation: EvaluationConfig = EvaluationConfig()
    gate: GateConfig = GateConfig()
    nightly: NightlyConfig = NightlyConfig()
    serving: ServingConfig = ServingConfig()
    admission: AdmissionConfig = AdmissionConfig()
    ray: RayConfig = RayConfig()

    @model_validator(mode="after")
    def _one_side_is_on(self) -> Settings:
        if self.retrieval.dense_depth == 0 and self.retrieval.lexical_depth == 0:
            raise ValueError(
                "retrieval: dense_depth and lexical_depth are both 0; leave one side on"
            )
        return self

    def index_hash(self) -> str:
        """Short hash of what decides how equal source rows become segments: equal hash, segments may be carried over.

        What only searches, serves, schedules or counts is left out: changing it re-indexes nothing. The encoder is not
        in it either; the fingerprint of its vectors says more than its settings.
        """
        decided_by = {
            "build": _BUILD,
            "catalog": self.catalog.model_dump(mode="json", include=_READ_BY),
            "index": self.index.model_dump(mode="json", include=_CUT_BY),
            "dense": self.index.dense.model_dump(mode="json", include=_BUILT_BY),
            "lexical": self.index.lexical.model_dump(mode="json"),
        }
        return hashlib.sha256(json.dumps(decided_by, sort_keys=True).encode()).hexdigest()[:16]
