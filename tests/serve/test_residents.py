"""Which snapshots a replica holds; over real snapshots of a small shop, without Serve."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisle.errors import SnapshotNotHeld
from aisle.snapshot import Parts
from deployments.residents import Residents
from tests import shop

THREE = 3


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> tuple[Residents, list[str]]:
    """Three nights of one shop, and a replica's ranker side with room for two."""
    folder: Path = tmp_path_factory.mktemp("nights")
    settings = shop.published(folder, 60)
    for n_products in (61, 62):
        shop.write_source(folder / "products.parquet", shop.sample().products.slice(0, n_products))
        shop.run_night(settings)
    ids = shop.library_of(settings).ids()
    assert len(ids) == THREE
    return Residents(settings, Parts.RANK), ids


def test_the_snapshot_asked_for_last_stays_when_room_is_made(nights):
    residents, (first, second, third) = nights
    residents.load(first)
    residents.load(second)
    residents.held(
        first
    )  # live: a rollback, or a replica that started while the newer one was being rolled out
    residents.load(third)
    assert set(residents) == {first, third}
    with pytest.raises(SnapshotNotHeld, match=f"{second} is not loaded"):
        residents.held(second)
