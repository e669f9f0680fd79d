"""`jobs.tenfold` over a small published shop, with Ray's part done in this process."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from aisle.nightly.run import serial
from aisle.snapshot import Library, LoadedSnapshot
from aisle.store import Store
from jobs.tenfold import search, text_table, verdict
from jobs.tenfold_shop import grow, index
from tests.shop import published


@pytest.fixture(scope="module")
def shops(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Any]:
    folder = tmp_path_factory.mktemp("tenfold")
    settings = published(folder)
    return {factor: grow(settings, factor, folder / "grown") for factor in (1, 3)}


def test_copies_have_titles_of_their_own_and_vectors_near_their_originals(shops: Any) -> None:
    nights = {factor: index(shop, serial) for factor, shop in shops.items()}
    assert [nights[factor]["rows"] for factor in (1, 3)] == [300, 900]
    titles = pq.read_table(shops[3].folder / "products.parquet")["title"].to_pylist()
    assert len(set(titles)) >= 600 + len(set(titles[:300]))
    library = Library(Store.open(shops[3].settings.store))
    snapshot = LoadedSnapshot.load(library, library.manifest(library.current()), shops[3].settings)
    vector_of = {
        each.decode(): vector.astype(np.float32)
        for shard in snapshot.shards
        for ids, vectors, _ in shard.live_rows()
        for each, vector in zip(ids, vectors, strict=True)
    }
    near = [float(vector_of["p7"] @ vector_of[f"p7-{copy}"]) for copy in (1, 2)]
    assert 0.85 < min(near) < max(near) < 0.99
    assert index(shops[3], serial) == nights[3]  # kept, not made again

    found: dict[str, Any] = {"factor": 3, "catalogues": {}}
    measured = search(shops, ["steel kettle", "red dress", "usb cable"])
    for factor in shops:
        found["catalogues"][f"x{factor}"] = {**nights[factor], **measured[factor]}
        assert measured[factor]["dense_recall@100"] > 0.5
    assert "p50_ratio" in text_table(found | verdict(found))


@pytest.mark.parametrize(
    ("p50_ms", "rows_s", "ok"), [(8.0, 80, True), (8.1, 80, False), (8.0, 79, False)]
)
def test_four_times_as_long_and_a_fifth_slower_is_the_most(
    p50_ms: float, rows_s: int, ok: bool
) -> None:
    catalogues = {"x1": {"p50_ms": 2.0, "rows_s": 100}, "x10": {"p50_ms": p50_ms, "rows_s": rows_s}}
    assert verdict({"factor": 10, "catalogues": catalogues})["ok"] is ok
