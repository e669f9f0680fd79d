"""Documents by locator: whichever way they are read, over however many segments, in the order asked for."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.retrieve.candidates import locate
from aisle.snapshot.documents import LOOKED_UP, SHOWN, Documents, SegmentRows
from tests.shop import sample


@pytest.mark.parametrize("n", [0, 3, 24, 90])
def test_rows_come_in_the_order_asked_for_from_every_segment(n):
    products = sample().products.slice(0, 60).select(LOOKED_UP)
    parts = [products.slice(0, 25), products.slice(25, 0), products.slice(25, 35)]
    documents = Documents(
        {0: [SegmentRows(each) for each in parts], 3: [SegmentRows(products)]},
    )
    rng = np.random.default_rng(7)
    shards, rows = rng.choice([0, 3], n), rng.integers(0, 60, n)
    locators = np.array(
        [locate(int(s), np.array([r]))[0] for s, r in zip(shards, rows, strict=True)],
        dtype=np.int64,
    )
    expected = products.select(SHOWN).take(rows).to_pylist()
    assert documents.take(locators) == expected
    attributes = documents.take(locators, ("attributes", "updated_at"))
    assert attributes == products.select(["attributes", "updated_at"]).take(rows).to_pylist()
