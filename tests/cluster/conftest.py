"""One private Ray cluster for all tests of this folder, started as an operator would start it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from jobs.cluster import LocalCluster, local_cluster

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """Eight logical CPUs whatever the machine has: tests share it, and each leaves it as it found it."""
    with local_cluster(
        num_cpus=8, object_store_bytes=500_000_000, python_path=[ROOT, ROOT / "platform"]
    ) as running:
        yield running
