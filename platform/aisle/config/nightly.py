"""Sections of the nightly run: its lease and retention, and the gate that a candidate must pass."""

from __future__ import annotations

from pydantic import Field

from aisle.config.sections import Section


class NightlyConfig(Section):
    """One run at a time, and which snapshots stay."""

    lease_ttl_s: float = Field(60.0, gt=0)
    """A run that does not renew its lease for this long has lost it; it renews every third of it."""
    clock_skew_s: float = Field(5.0, ge=0)
    """How far the clocks of two machines may differ; a lease is taken over only this long after it expired."""
    keep_snapshots: int = Field(7, ge=1)
    """`jobs.prune` keeps this many of the newest snapshots, whatever their age."""
    keep_days: float = Field(14.0, ge=0)
    """`jobs.prune` keeps every snapshot younger than this; 0 goes by the count alone."""


class GateConfig(Section):
    """What a candidate may lose against the live snapshot and still be published; a rule that is null is off.

    Drops and rises are absolute differences of means over the queries that both were judged on, and count only where
    the paired bootstrap interval excludes zero: with few judgments, chance alone breaks no rule.
    """

    max_ndcg_drop: float | None = Field(0.01, ge=0, le=1)
    """Of ndcg@10."""
    max_recall_drop: float | None = Field(0.01, ge=0, le=1)
    """Of recall@100."""
    max_page_precision_drop: float | None = Field(0.02, ge=0, le=1)
    """Of the precision of the kept page."""
    max_zero_result_rise: float | None = Field(0.02, ge=0, le=1)
    """Of the share of queries with an empty page."""
    max_product_drop_fraction: float | None = Field(0.2, ge=0, le=1)
    """Share of the live snapshot's products that may be gone: half a catalogue is mostly half an export."""
    max_quarantine_rise: float | None = Field(0.02, ge=0, le=1)
    """Of the share of source rows that are rejected."""
    min_ann_recall: float | None = Field(0.95, ge=0, le=1)
    """recall@100 of the dense index against exact search; holds for the first snapshot too."""
    max_relevance_drift: float | None = Field(0.25, ge=0)
    """Population stability index of the relevance of the judged queries' first hits, under equal models."""
    max_latency_ratio: float | None = Field(3.0, gt=0)
    """p95 of the query sample against the live snapshot's; generous, because two nights may run on two machines."""
    latency_floor_ms: float = Field(50.0, ge=0)
    """A p95 below this is fast enough, whatever the ratio."""
    sample_queries: int = Field(64, ge=1)
    """Queries whose latency and index recall are measured, and whose first hits the report keeps for
    `jobs.snapshots --diff`; spread evenly over the judged ones."""
