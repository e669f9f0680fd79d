"""What a probe says of an index, held against a plain search over all vectors."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aisle.config import Settings
from aisle.evaluation.probe import K, dense_recall, evenly, probe
from aisle.index.dense import DenseIndex
from aisle.snapshot import LoadedSnapshot
from tests.shop import live, load, published, queries, run_night, sample, settings_for, write_source


class Ticks:
    """A clock that moves ten milliseconds with every look."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def __call__(self) -> float:
        self.now_s += 0.01
        return self.now_s


@pytest.fixture(scope="module")
def exact(tmp_path_factory: pytest.TempPathFactory) -> tuple[LoadedSnapshot, Settings]:
    settings = published(tmp_path_factory.mktemp("exact"))
    return load(settings), settings


def test_exact_cosines_are_those_of_a_plain_matrix_product(
    exact: tuple[LoadedSnapshot, Settings],
) -> None:
    snapshot, _ = exact
    vector = snapshot.encoder.encode(queries(1), "query")[0]
    for shard in snapshot.shards:
        rows = np.concatenate([each.segment.vectors.astype(np.float32) for each in shard._segments])
        expected = sorted((rows @ vector).tolist(), reverse=True)[:50]
        assert shard.exact_cosines(vector, 50) == pytest.approx(expected, abs=1e-6)


def test_dead_rows_are_nobodys_neighbours(tmp_path: Path) -> None:
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 60))
    settings = settings_for(tmp_path, source, index={"shards": 1, "max_tombstone_fraction": 1.0})
    run_night(settings)
    write_source(source, sample().products.slice(0, 50))
    run_night(settings, force=True)
    assert live(settings).shards[0].segments[0].dead_rows == 10
    snapshot = load(settings)
    vector = snapshot.encoder.encode(queries(1), "query")[0]
    assert len(snapshot.shards[0].exact_cosines(vector, 100)) == 50
    assert dense_recall(snapshot, queries(5), K) == 1.0


def test_an_exact_index_misses_nothing(exact: tuple[LoadedSnapshot, Settings]) -> None:
    assert dense_recall(exact[0], queries(10), 200) == 1.0


def test_an_index_that_finds_a_quarter_has_a_recall_of_a_quarter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    snapshot = load(published(tmp_path, index={"dense": {"kind": "flat"}, "shards": 1}))
    search = DenseIndex.search

    def first_25(self: DenseIndex, vector: Any, _: int, allowed: Any) -> Any:
        return search(self, vector, 25, allowed)

    monkeypatch.setattr(DenseIndex, "search", first_25)
    # Rows with equal vectors count for one another, so that a little more may be found.
    assert dense_recall(snapshot, queries(10), 200) == pytest.approx(0.25, abs=0.02)


def test_a_probe_has_recall_and_latency(exact: tuple[LoadedSnapshot, Settings]) -> None:
    snapshot, settings = exact
    assert probe(snapshot, settings, queries(5), Ticks()) == {
        "dense": {"recall@100": 1.0, "queries": 5},
        "latency_ms": {"p50": 10.0, "p95": 10.0, "queries": 5},
    }


def test_a_probe_of_nothing_says_nothing(exact: tuple[LoadedSnapshot, Settings]) -> None:
    assert probe(*exact, []) == {}


def test_a_sample_is_spread_over_all_queries_and_the_same_every_night() -> None:
    texts = [str(i) for i in range(10)]
    assert evenly(texts, 5) == ["0", "2", "4", "6", "8"]
    assert evenly(texts, 20) == texts
