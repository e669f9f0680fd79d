"""Segments: built, opened, refused where damaged, and their digests."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from aisle.errors import SnapshotError
from aisle.index.segment import combine, content_digest
from tests.segments import open_as, segment_of, table_of, titled, vectors_of


def test_ids_are_found_and_unknown_ones_are_not(tmp_path: Path) -> None:
    names = ["Ünïcode-木", "a", "aa", "z" * 300]
    table = table_of([{"product_id": name, "title": "t"} for name in names])
    segment = segment_of(table, tmp_path)
    ids = np.array([each.encode() for each in table["product_id"].to_pylist()])
    assert np.all(ids[:-1] < ids[1:])
    assert segment.find(ids).tolist() == [0, 1, 2, 3]
    unknown = np.array([b"", b"A", b"b", "木".encode(), b"z" * 301])
    assert segment.find(unknown).tolist() == [-1] * 5
    assert segment.find(np.array([], dtype="S1")).tolist() == []


def test_a_segment_without_rows_opens_and_finds_nothing(tmp_path: Path) -> None:
    segment = segment_of(titled(), tmp_path)
    assert segment.rows == 0
    assert segment.find(np.array([b"x"])).tolist() == [-1]


def truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path: Path) -> None:
    path.write_bytes(b"")


FILES = [
    "product_ids.npy",
    "vectors.npy",
    "dense.faiss",
    "forward/tokens.npy",
    "forward/terms.arrow",
    "forward/document_frequency.npy",
    "filters/keys.arrow",
    "filters/price.npy",
    "lexical/meta.json",
]


@pytest.mark.parametrize("damage", [Path.unlink, empty, truncate], ids=lambda f: f.__name__)
@pytest.mark.parametrize("name", FILES)
def test_a_missing_or_damaged_file_names_the_segment(
    name: str, damage: Callable[[Path], None], tmp_path: Path
) -> None:
    folder = tmp_path / "3f2a"
    segment_of(titled("red shoes", "blue shoes"), folder)
    damage(folder / name)
    with pytest.raises(SnapshotError, match="segment 3f2a"):
        open_as(folder, kind="flat")


@pytest.mark.parametrize("part", ["product_ids.npy", "filters", "forward", "lexical"])
def test_a_part_of_another_segment_is_refused(part: str, tmp_path: Path) -> None:
    segment_of(titled("red shoes", "blue shoes"), tmp_path / "3f2a")
    segment_of(titled("red shoes"), tmp_path / "other")
    target = tmp_path / "3f2a" / part
    shutil.rmtree(target) if target.is_dir() else target.unlink()
    source = tmp_path / "other" / part
    (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
    with pytest.raises(SnapshotError, match="segment 3f2a"):
        open_as(tmp_path / "3f2a", kind="flat")


def test_digests_of_parts_add_up_and_subtract() -> None:
    table = titled(*(f"t{i}" for i in range(6)))
    ids = np.array([each.encode() for each in table["product_id"].to_pylist()])
    hashes, vectors = [bytes([i]) * 16 for i in range(6)], vectors_of(table)
    whole = content_digest(ids, hashes, vectors)
    some, rest = np.array([1, 4]), np.array([0, 2, 3, 5])
    digest_some = content_digest(ids[some], [hashes[i] for i in some], vectors[some])
    digest_rest = content_digest(ids[rest], [hashes[i] for i in rest], vectors[rest])
    assert combine([digest_some, digest_rest]) == whole
    assert combine([whole], [digest_some]) == digest_rest
    assert combine([]) == content_digest(ids[:0], [], vectors[:0]) == "0" * 64
    assert content_digest(ids, hashes[::-1], vectors) != whole


def test_equal_rows_give_equal_files_but_for_the_lexical_ones(tmp_path: Path) -> None:
    for name in ("a", "b"):
        segment_of(titled("red shoes", "blue shoes", "oak table"), tmp_path / name, "hnsw")
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.*")]
    checked = [path for path in files if path.parts[0] != "lexical"]
    assert len(checked) >= 10
    for path in checked:
        assert (tmp_path / "a" / path).read_bytes() == (tmp_path / "b" / path).read_bytes()
