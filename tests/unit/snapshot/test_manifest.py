"""Manifests: what is read back, what is refused, and what two runs over one input share."""

from __future__ import annotations

import json
from typing import Any

import pytest

from aisle.config import IndexConfig
from aisle.errors import SnapshotError
from aisle.snapshot import FileEntry, Manifest, ModelEntry, SegmentEntry, ShardEntry


def manifest(snapshot_id: str = "20261120T030000-1f2e3d4c", **changes: object) -> Manifest:
    fields = {
        "snapshot_id": snapshot_id,
        "created_at": "2026-11-20T03:00:00+00:00",
        "run_id": "r",
        "config_hash": "c",
        "vectors": "v",
        "dimension": 4,
        "lengths": (1, 0, 0, 0, 0),
        "counts": {"products": 1},
        "index": IndexConfig(),
        "shards": (
            ShardEntry(
                number=0,
                segments=(SegmentEntry(segment_id="s", owner=snapshot_id, rows=1, digest="d"),),
                digest="d",
            ),
        ),
        "models": {"ranker": ModelEntry(kind="fused", fingerprint="fused", owner=snapshot_id)},
        "files": {
            "shards/0000/s/vectors.npy": FileEntry(sha256="a" * 64, size=1, owner=snapshot_id),
            "shards/0000/s/lexical/x": FileEntry(sha256="b" * 64, size=2, owner=snapshot_id),
        },
    }
    return Manifest.model_validate({**fields, **changes})


def test_a_manifest_is_read_back_as_it_was_written() -> None:
    assert Manifest.from_json(manifest().to_json(), "here") == manifest()


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda text: text[: len(text) // 2], "document: Invalid JSON"),
        (lambda _: "", "document: Invalid JSON"),
        (lambda text: text.replace('"format_version": 1', '"format_version": 2'), "format_version"),
        (lambda text: text.replace('"dimension": 4', '"dimension": "many"'), "dimension"),
        (lambda text: text.replace("a" * 64, "xyz"), r"files\.shards/0000/s/vectors\.npy\.sha256"),
        (lambda text: text.replace('"run_id"', '"ran_id"'), "run_id: Field required"),
    ],
)
def test_what_is_no_manifest_names_the_place_and_the_field(damage, said: str) -> None:
    text = damage(manifest().to_json().decode())
    with pytest.raises(SnapshotError, match=rf"here: not a manifest of format 1: {said}"):
        Manifest.from_json(text.encode(), "here")


def test_runs_that_differ_in_names_times_and_lexical_files_compare_equal() -> None:
    other = manifest("20261121T030000-1f2e3d4c", created_at="later", run_id="other", parent="p")
    entry = FileEntry(sha256="c" * 64, size=3, owner="o")
    renamed = {**other.files, "shards/0000/s/lexical/y": entry}
    del renamed["shards/0000/s/lexical/x"]
    other = other.model_copy(update={"files": renamed})
    assert other != manifest()
    assert other.comparable() == manifest().comparable()


@pytest.mark.parametrize("change", [{"config_hash": "x"}, {"vectors": "x"}, {"counts": {}}])
def test_what_matters_keeps_them_apart(change: dict[str, Any]) -> None:
    assert manifest(**change).comparable() != manifest().comparable()


def test_differences_name_the_path_and_both_values() -> None:
    other = manifest(dimension=8, counts={"products": 9}, run_id="other")
    other = other.model_copy(
        update={
            "files": {
                **other.files,
                "shards/0000/s/vectors.npy": FileEntry(sha256="d" * 64, size=1, owner="o"),
            }
        }
    )
    assert manifest().differences(manifest("20261121T030000-1f2e3d4c", created_at="later")) == []
    found = manifest().differences(other)
    assert "dimension: 4, the other says 8" in found
    assert any(each.startswith("counts.products: ") and "says 9" in each for each in found)
    sha256 = f"files.shards/0000/s/vectors.npy.sha256: {'a' * 64!r}, the other says {'d' * 64!r}"
    assert sha256 in found


def test_live_rows_are_those_without_a_tombstone() -> None:
    raw = json.loads(manifest().to_json())
    raw["shards"][0]["segments"][0] |= {"rows": 7, "dead_rows": 3}
    assert Manifest.model_validate(raw).shards[0].live_rows == 4
