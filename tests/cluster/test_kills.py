"""Four cells of the kill matrix; `make kills` runs all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from jobs.kill_cell import Clusters, differences, kill_and_restart
from jobs.kill_shop import Shop, open_shop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(400)]

CONFIG = Path(__file__).parents[2] / "configs" / "local.yaml"


@pytest.fixture(scope="module")
def clusters() -> Iterator[Clusters]:
    with closing(Clusters()) as running:
        yield running


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    changes = ["ray.part_fraction=0.01"]  # two rows a part: half of them may cost 1.6 % again
    return open_shop(tmp_path_factory.mktemp("kills"), CONFIG, changes, products=500)


@pytest.mark.parametrize(
    ("step", "victim"),
    [("embed", "driver"), ("embed", "worker"), ("publish", "driver"), ("index", "head")],
)
def test_a_night_that_was_killed_ends_right(
    clusters: Clusters, shop: Shop, step: str, victim: str
) -> None:
    cell = kill_and_restart(shop, clusters, step, victim, prepared=True)
    assert cell.wrong == []
    assert cell.killed
    if victim != "worker":
        assert cell.first_status != 0
        assert cell.attempts == 2


def test_what_differs_from_an_undisturbed_night_is_found(shop: Shop) -> None:
    """The comparison that the cells rest on: a store without its night, and one with a changed file."""
    assert differences(shop, shop.folder / "template") == ["nothing was published"]
    undisturbed = shop.folder / "undisturbed"
    assert differences(shop, undisturbed) == []
    path = next(each for each in shop.undisturbed.files if each.endswith("vectors.npy"))
    file = undisturbed / "snapshots" / shop.undisturbed.snapshot_id / path
    data = file.read_bytes()
    file.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    (undisturbed / "snapshots" / shop.undisturbed.snapshot_id / "stray").write_bytes(b"")
    wrong = differences(shop, undisturbed)
    file.write_bytes(data)
    assert wrong == [f"{path}: not the bytes that the manifest names", "stray: left behind"]
