from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from aisle.embed import RememberedQueries
from aisle.stages import TextKind


class Counting:
    """Vectors that name their text, and what it was asked for."""

    dimension = 2
    fingerprint = "counting"

    def __init__(self) -> None:
        self.asked: list[tuple[TextKind, list[str]]] = []

    def encode(self, texts: Sequence[str], kind: TextKind = "document") -> NDArray[np.float32]:
        self.asked.append((kind, list(texts)))
        return np.array([[len(text), ord(text[0])] for text in texts], np.float32).reshape(-1, 2)


@pytest.fixture
def counting() -> Counting:
    return Counting()


def test_only_new_queries_reach_the_model_and_rows_keep_their_order(counting):
    encoder = RememberedQueries(counting, 10)
    first = encoder.encode(["aa", "b"], "query")
    second = encoder.encode(["c", "b", "ddd", "aa"], "query")
    assert counting.asked == [("query", ["aa", "b"]), ("query", ["c", "ddd"])]
    np.testing.assert_array_equal(second, Counting().encode(["c", "b", "ddd", "aa"]))
    np.testing.assert_array_equal(second[[3, 1]], first)
    assert (encoder.cache.hits, encoder.cache.misses) == (2, 4)
    assert (encoder.fingerprint, encoder.dimension) == ("counting", 2)


def test_what_a_caller_does_to_its_vectors_stays_with_it(counting):
    encoder = RememberedQueries(counting, 10)
    encoder.encode(["aa"], "query")[:] = 0
    encoder.encode(["aa"], "query")[:] = 0
    assert encoder.encode(["aa"], "query").tolist() == [[2.0, 97.0]]


def test_documents_pass_through(counting):
    encoder = RememberedQueries(counting, 10)
    encoder.encode(["aa"])
    encoder.encode(["aa"])
    assert counting.asked == [("document", ["aa"])] * 2
    assert len(encoder.cache) == 0


def test_nothing_gives_no_rows(counting):
    assert RememberedQueries(counting, 10).encode([], "query").shape == (0, 2)
    assert counting.asked == []
