"""One small catalogue, for every way of searching it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.shop import sample, write_source


@pytest.fixture(scope="session")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_source(tmp_path_factory.mktemp("source") / "p.parquet", sample().products)
