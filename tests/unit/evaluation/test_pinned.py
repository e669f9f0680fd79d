"""What is kept of the pinned queries, and what moved between two nights; expected values by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from aisle.evaluation import Run
from aisle.evaluation.pinned import TOP, moves, pin


def report(**hits: list[str]) -> dict[str, Any]:
    return {"pinned": {"queries": list(hits), "hits": list(hits.values())}}


def test_the_first_hits_of_the_page_are_kept_best_first() -> None:
    ids = [f"P{number:02d}" for number in range(20)]
    kept = np.ones(20, np.bool_)
    kept[[0, 5]] = False  # dropped by the relevance filter: nobody saw them
    run = Run.from_columns(["lamp"] * 20, ids, np.arange(1, 21), kept=kept)
    pinned = pin(run, ["lamp", "nothing found"])["pinned"]
    assert pinned["queries"] == ["lamp", "nothing found"]
    assert pinned["hits"] == [[each for each in ids if each not in ("P00", "P05")][:TOP], []]


def test_hits_that_came_went_and_moved_and_why() -> None:
    before = report(lamp=["A", "B", "C", "D"], shoe=["S", "T"], desk=["X"], gone=["Q"])
    after = report(lamp=["B", "A", "N", "C"], shoe=["S", "T"], desk=[], new=["Q"])
    moved = moves(before, after, {"N": "added", "D": "removed", "A": "changed"}, 10)
    assert (moved["queries"], moved["changed"]) == (3, 2)
    # lamp shares A, B, C of 4; shoe everything; desk nothing.
    assert moved["overlap"] == pytest.approx((0.75 + 1 + 0) / 3, abs=1e-4)
    assert moved["moved"] == [
        {
            "query": "lamp",
            "entered": [{"product_id": "N", "rank": 3, "product": "added"}],
            "left": [{"product_id": "D", "rank": 4, "product": "removed"}],
            "stayed": [
                {"product_id": "B", "before": 2, "after": 1},
                {"product_id": "A", "before": 1, "after": 2, "product": "changed"},
                {"product_id": "C", "before": 3, "after": 4},
            ],
        },
        {
            "query": "desk",
            "entered": [],
            "left": [{"product_id": "X", "rank": 1}],
            "stayed": [],
        },
    ]


def test_queries_that_exchanged_most_come_first_and_all_are_counted() -> None:
    before = report(a=["1", "2"], b=["1", "2", "3"], c=["1", "2"])
    after = report(a=["2", "1"], b=["3", "2", "1"], c=["1", "9"])
    moved = moves(before, after, {}, 2)
    assert [each["query"] for each in moved["moved"]] == ["c", "b"]  # b moved by four ranks, a two
    assert moved["changed"] == 3


def test_two_empty_pages_are_equal() -> None:
    assert moves(report(a=[]), report(a=[]), {}, 5) == {
        "queries": 1,
        "changed": 0,
        "overlap": 1.0,
        "moved": [],
    }


@pytest.mark.parametrize("older", [{}, report(), report(other=["A"])])
def test_without_a_query_in_common_there_is_nothing_to_say(older: dict[str, Any]) -> None:
    assert moves(older, report(lamp=["A"]), {}, 5) == {}
