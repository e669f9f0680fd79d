"""A source file with the sample shop, and settings that read it."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisle.config import Settings
from tests.shop import sample, settings_for, write_source


@pytest.fixture
def source(tmp_path: Path) -> Path:
    return write_source(tmp_path / "source" / "products.parquet", sample().products)


@pytest.fixture
def settings(tmp_path: Path, source: Path) -> Settings:
    return settings_for(tmp_path, source)
