"""One private Ray cluster for all tests of this folder, started as an operator would start it, and a shop on it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from jobs.cluster import LocalCluster, local_cluster
from tests.published import ROOT, Shop, reindexed


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """Eight logical CPUs whatever the machine has: tests share it, and each leaves it as it found it."""
    with local_cluster(
        num_cpus=8, object_store_bytes=500_000_000, python_path=[ROOT, ROOT / "platform"]
    ) as running:
        yield running


@pytest.fixture(scope="session")
def shop(cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """A snapshot for the files that need no other; who publishes to its store goes back to it."""
    return reindexed(cluster, tmp_path_factory.mktemp("shop"))


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[[str], None]:
    """Prints past pytest's capture."""

    def line(text: str) -> None:
        with capsys.disabled():
            print(f"\n  {text}", end="")

    return line
