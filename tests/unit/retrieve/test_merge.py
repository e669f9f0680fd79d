"""Merging and fusing, on hand-made candidates."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.config import RetrievalConfig
from aisle.rank.features import FEATURES
from aisle.retrieve.candidates import Candidates, descending, locate, shards_and_rows
from aisle.retrieve.merge import fuse, merge, reciprocal_ranks

Row = tuple[str, float, float, bool, bool]
"""id, cosine, bm25, found by dense, found by lexical."""


def candidates(*rows: Row) -> Candidates:
    ids, cosine, bm25, dense, lexical = zip(*rows, strict=True) if rows else ((),) * 5
    floats = [np.array(column, dtype=np.float32) for column in (cosine, bm25)]
    return Candidates(
        product_ids=np.array([each.encode() for each in ids], dtype=np.bytes_),
        locators=np.arange(len(ids), dtype=np.int64),
        cosine=floats[0],
        bm25=floats[1],
        fused=floats[0] + floats[1],
        from_dense=np.array(dense, dtype=bool),
        from_lexical=np.array(lexical, dtype=bool),
        features=np.zeros((len(ids), len(FEATURES)), dtype=np.float32),
    )


def ids_of(found: Candidates) -> list[str]:
    return [each.decode() for each in found.product_ids]


def test_each_side_is_cut_to_its_depth_over_all_shards() -> None:
    one = candidates(("a", 0.9, 0, True, False), ("b", 0.5, 3, True, True))
    two = candidates(("c", 0.8, 9, True, False), ("d", 0.1, 2, False, True))
    merged = merge([one, two], dense_depth=2, lexical_depth=1)
    assert sorted(ids_of(merged)) == ["a", "b", "c"]
    sides = {
        i: (bool(d), bool(x))
        for i, d, x in zip(ids_of(merged), merged.from_dense, merged.from_lexical, strict=True)
    }
    # c holds the best BM25 but its lexical side did not find it: flags say who found, not who could have
    assert sides == {"a": (True, False), "b": (False, True), "c": (True, False)}


def test_ties_at_the_cut_go_to_the_smaller_id_whatever_the_shards() -> None:
    rows: list[Row] = [(i, 0.5, 0, True, False) for i in "dbca"]
    for parts in ([rows], [rows[:1], rows[1:]], [[r] for r in reversed(rows)]):
        merged = merge([candidates(*part) for part in parts], 2, 2)
        assert sorted(ids_of(merged)) == ["a", "b"]


@pytest.mark.parametrize("parts", [[], [Candidates.none()], [Candidates.none()] * 3])
def test_nothing_merges_to_nothing(parts: list[Candidates]) -> None:
    merged = merge(parts, 5, 5)
    assert len(merged) == 0
    ordered, scores = fuse(merged, RetrievalConfig())
    assert len(ordered) == len(scores) == 0


def test_fused_order_is_by_score_then_id() -> None:
    found = candidates(
        ("b", 0.5, 0, True, True), ("a", 0.5, 0, True, True), ("c", 0.9, 0, True, True)
    )
    ordered, scores = fuse(found, RetrievalConfig())
    assert ids_of(ordered) == ["c", "a", "b"]
    assert scores.tolist() == pytest.approx([0.9, 0.5, 0.5])


def test_reciprocal_ranks_equal_a_hand_computation() -> None:
    found = candidates(
        ("a", 0.9, 1.0, True, True),  # dense 1st, lexical 3rd
        ("b", 0.8, 5.0, True, True),  # dense 2nd, lexical 1st
        ("c", 0.7, 2.0, False, True),  # lexical 2nd only
        ("d", 0.1, 0.0, True, False),  # dense 3rd only
    )
    expected = [0.3 / 61 + 0.7 / 63, 0.3 / 62 + 0.7 / 61, 0.7 / 62, 0.3 / 63]
    assert reciprocal_ranks(found, 0.3, 60).tolist() == pytest.approx(expected, rel=1e-6)
    ordered, _ = fuse(found, RetrievalConfig(fusion="rrf", dense_weight=0.3, rrf_k=60))
    assert ids_of(ordered) == ["b", "a", "c", "d"]


def test_reciprocal_ranks_break_ties_by_id() -> None:
    found = candidates(("b", 0.5, 0, True, False), ("a", 0.5, 0, True, False))
    assert reciprocal_ranks(found, 1.0, 1).tolist() == pytest.approx([1 / 3, 1 / 2])


def test_locators_hold_shard_and_row() -> None:
    rows = np.array([0, 5, 2**40 - 1])
    shards, back = shards_and_rows(locate(4095, rows))
    assert shards.tolist() == [4095] * 3
    assert back.tolist() == rows.tolist()


def test_descending_orders_nan_free_scores_stably() -> None:
    scores = np.array([1.0, 3.0, 3.0, -2.0], dtype=np.float32)
    assert descending(scores, np.array([b"x", b"q", b"p", b"a"])).tolist() == [2, 1, 0, 3]
