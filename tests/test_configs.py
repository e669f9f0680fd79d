"""Every environment in configs/ loads, and the two that people compare have the same keys."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from aisle.config import load

CONFIGS = Path(__file__).parents[1] / "configs"


@pytest.mark.parametrize(
    "path", sorted(CONFIGS.rglob("*.yaml")), ids=lambda path: str(path.relative_to(CONFIGS))
)
def test_every_file_loads(path: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in re.findall(r"\$\{(\w+)", path.read_text(encoding="utf-8")):
        monkeypatch.setenv(name, str(tmp_path))
    assert load(path).name


def test_local_and_production_have_equal_keys() -> None:
    local, production = (_keys(CONFIGS / f"{name}.yaml") for name in ("local", "production"))
    assert local - production == set()
    assert production - local == set()


def _keys(path: Path) -> set[str]:
    """Dotted keys, down to where a mapping is a value: options, attribute names, boosts."""
    found: set[str] = set()

    def walk(node: Any, prefix: str) -> None:
        for name, value in node.items():
            key = f"{prefix}{name}"
            found.add(key)
            if isinstance(value, dict) and name not in (
                "store_options",
                "storage_options",
                "columns",
            ):
                walk(value, f"{key}.")

    walk(yaml.safe_load(path.read_text(encoding="utf-8")), "")
    return found
