from __future__ import annotations

from pathlib import Path

import pytest

from aisle.embed.cache import build_once
from aisle.errors import ModelError


def write_marker(folder: Path) -> None:
    (folder / "done").write_text("mine")


def test_a_folder_is_built_once(tmp_path: Path) -> None:
    calls: list[Path] = []

    def build(folder: Path) -> None:
        calls.append(folder)
        write_marker(folder)

    for _ in range(2):
        assert build_once(tmp_path / "a" / "key", "done", build) == tmp_path / "a" / "key"
    assert len(calls) == 1
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["key"]


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        write_marker(folder)
        raise ModelError("export broke")

    with pytest.raises(ModelError, match="export broke"):
        build_once(tmp_path / "key", "done", build)
    assert list(tmp_path.iterdir()) == []


def test_the_builder_that_finishes_first_wins(tmp_path: Path) -> None:
    def build(folder: Path) -> None:
        write_marker(folder)
        (tmp_path / "key").mkdir()  # meanwhile, in another process
        (tmp_path / "key" / "done").write_text("theirs")

    assert (build_once(tmp_path / "key", "done", build) / "done").read_text() == "theirs"
    assert [path.name for path in tmp_path.iterdir()] == ["key"]


def test_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(ModelError, match="cannot be written"):
        build_once(tmp_path / "file" / "key", "done", write_marker)
