"""When two answers count as the same; expected values by hand."""

from __future__ import annotations

import pyarrow as pa
import pytest

from aisle.evaluation.answers import Hits, agreement, equal_up_to_ties

BASE: Hits = [("A", 0.9), ("B", 0.8), ("C", 0.7)]


@pytest.mark.parametrize(
    ("other", "equal"),
    [
        pytest.param(BASE, True, id="the same"),
        pytest.param([("A", 0.900004), ("B", 0.8), ("C", 0.7)], True, id="rounding"),
        pytest.param([("A", 0.90002), ("B", 0.8), ("C", 0.7)], False, id="another score"),
        pytest.param([("B", 0.9), ("A", 0.8), ("C", 0.7)], False, id="swapped, no tie"),
        pytest.param([("A", 0.9), ("B", 0.8)], False, id="one less"),
        pytest.param([("A", 0.9), ("B", 0.8), ("D", 0.7)], True, id="tie for the last place"),
        pytest.param([("A", 0.9), ("D", 0.8), ("C", 0.7)], False, id="another in the middle"),
    ],
)
def test_equal_means_equal_but_for_ties(other: Hits, equal: bool) -> None:
    assert equal_up_to_ties(BASE, other) is equal
    assert equal_up_to_ties(other, BASE) is equal


def test_tied_hits_may_stand_in_either_order() -> None:
    a: Hits = [("A", 0.5000010), ("B", 0.5000005), ("C", 0.1)]
    b: Hits = [("B", 0.5000009), ("A", 0.5000006), ("C", 0.1)]
    assert equal_up_to_ties(a, b)
    assert equal_up_to_ties([], [])


def test_agreement_counts_queries_and_overlap() -> None:
    def table(**answers: Hits) -> pa.Table:
        return pa.Table.from_pylist(
            [
                {"query": query, "rank": rank, "product_id": product_id, "score": score}
                for query, hits in answers.items()
                for rank, (product_id, score) in enumerate(hits, 1)
            ]
        )

    one = table(same=BASE, tied=[("A", 0.5), ("B", 0.5)], other=BASE)
    two = table(same=BASE, tied=[("B", 0.5), ("A", 0.5)], other=[*BASE[:2], ("X", 0.2)])
    found = agreement(one, two, ["same", "tied", "other", "nothing"])
    assert (found.queries, found.identical, found.equal) == (4, 2, 3)
    assert found.different == ("other",)
    assert found.overlap_10 == pytest.approx((1 + 1 + 2 / 3 + 1) / 4)
    assert found.as_dict()["overlap_100"] == 0.91667
