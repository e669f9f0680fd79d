"""Step 5, assemble: models, statistics and quarantine beside the segments, and the manifest that names them all."""

from __future__ import annotations

import hashlib
import tempfile
from datetime import UTC, datetime
from pathlib import Path

from aisle.index.statistics import Statistics
from aisle.nightly.models import Model
from aisle.nightly.parent import Parent
from aisle.nightly.run import Item, Run, parquet_bytes
from aisle.nightly.statistics import Lengths, total
from aisle.snapshot import FileEntry, Manifest, ModelEntry, SegmentEntry, ShardEntry
from aisle.snapshot.manifest import QUARANTINE, STATISTICS_PATH
from aisle.store import sha256_of


def name_snapshot(
    started_at: datetime, row_results: list[Item], models: dict[str, Model], config_hash: str
) -> str:
    """Time and content: `20261120T030000-1f2e3d4c`. A run that is continued keeps its start, so it keeps its name."""
    digest = hashlib.sha256(config_hash.encode())
    for each in row_results:
        digest.update(
            f"{each['part']} {each['segment_id']} {sorted(each['dead'].items())}\n".encode()
        )
    for role in sorted(models):
        digest.update(f"{role} {models[role].fingerprint}\n".encode())
    return f"{started_at.astimezone(UTC):%Y%m%dT%H%M%S}-{digest.hexdigest()[:8]}"


def assemble(
    run: Run,
    *,
    snapshot_id: str,
    parent: Parent,
    models: dict[str, Model],
    vectors: str,
    dimension: int,
    read_results: list[Item],
    row_results: list[Item],
    index_results: list[Item],
) -> Manifest:
    """Writes everything but the manifest and returns it: a candidate that can be loaded and judged."""
    before = parent.manifest
    files: dict[str, FileEntry] = {}
    shards = []
    for each in index_results:
        files.update({path: FileEntry(**entry) for path, entry in each["files"].items()})
        segments = tuple(SegmentEntry(**segment) for segment in each["segments"])
        shards.append(ShardEntry(number=each["shard"], segments=segments, digest=each["digest"]))
    entries = {
        role: _put_model(run, snapshot_id, model, before, files) for role, model in models.items()
    }
    for path, data in quarantine(run, read_results).items():
        _put(run, snapshot_id, path, data, files)
    products = sum(each["products"] for each in row_results)
    lengths = _put_statistics(run, snapshot_id, parent, index_results, products, files)
    return Manifest(
        snapshot_id=snapshot_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        run_id=run.run_id,
        parent=before.snapshot_id if before else None,
        config_hash=run.settings.index_hash(),
        vectors=vectors,
        dimension=dimension,
        lengths=lengths,
        counts={
            "products": products,
            "rows": sum(each["rows"] for each in read_results),
            "quarantined": sum(each["rejected"] for each in read_results),
            **{
                name: sum(each[name] for each in row_results)
                for name in ("duplicates", "fresh", "reused", "added", "changed", "removed")
            },
            "embedded": sum(part["rows"] for each in row_results for part in each["pending"]),
        },
        index=run.settings.index,
        shards=tuple(shards),
        models=entries,
        embeddings=tuple(sorted(path for each in index_results for path in each["embeddings"])),
        files=files,
    )


def is_unchanged(
    run: Run,
    parent: Parent,
    models: dict[str, Model],
    read_results: list[Item],
    row_results: list[Item],
) -> bool:
    """Would tonight's snapshot be the parent again: same products, bad rows, models and index settings?"""
    before = parent.manifest
    if before is None or not parent.carries_segments or before.index != run.settings.index:
        return False
    if any(each["segment_id"] or each["dead"] or each["compacted"] for each in row_results):
        return False
    served = {role: (entry.kind, entry.fingerprint) for role, entry in before.models.items()}
    if served != {role: (model.kind, model.fingerprint) for role, model in models.items()}:
        return False
    rejected = {
        path: hashlib.sha256(data).hexdigest()
        for path, data in quarantine(run, read_results).items()
    }
    known = {
        path: entry.sha256 for path, entry in before.files.items() if path.startswith(QUARANTINE)
    }
    return rejected == known


def quarantine(run: Run, read_results: list[Item]) -> dict[str, bytes]:
    """Files of rejected rows with their reasons, by path below the snapshot."""
    paths = [path for each in read_results for path in each["rejected_files"]]
    return {
        f"{QUARANTINE}part-{number:05d}.parquet": parquet_bytes(run.read_table(path))
        for number, path in enumerate(paths)
    }


def with_file(run: Run, manifest: Manifest, path: str, data: bytes) -> Manifest:
    """A candidate with one more file of its own, such as report.json."""
    files = dict(manifest.files)
    _put(run, manifest.snapshot_id, path, data, files)
    return manifest.model_copy(update={"files": files})


def complete(run: Run, manifest: Manifest) -> None:
    """Writes the manifest: from here on the snapshot exists."""
    run.store.write_bytes(f"snapshots/{manifest.snapshot_id}/manifest.json", manifest.to_json())


def _put_model(
    run: Run, snapshot_id: str, model: Model, before: Manifest | None, files: dict[str, FileEntry]
) -> ModelEntry:
    """Copies a model, or refers to the parent's copy of the same one."""
    prefix = f"models/{model.role}/"
    known = before.models.get(model.role) if before else None
    if before and known and (known.kind, known.fingerprint) == (model.kind, model.fingerprint):
        files.update(
            {path: entry for path, entry in before.files.items() if path.startswith(prefix)}
        )
        return known
    if model.folder is not None:
        for local in sorted(each for each in model.folder.rglob("*") if each.is_file()):
            path = prefix + local.relative_to(model.folder).as_posix()
            run.store.put_file(local, f"snapshots/{snapshot_id}/{path}")
            files[path] = FileEntry(
                sha256=sha256_of(local), size=local.stat().st_size, owner=snapshot_id
            )
    return ModelEntry(kind=model.kind, fingerprint=model.fingerprint, owner=snapshot_id)


def _put_statistics(
    run: Run,
    snapshot_id: str,
    parent: Parent,
    index_results: list[Item],
    products: int,
    files: dict[str, FileEntry],
) -> Lengths:
    """Writes the term statistics, or refers to the parent's where no row changed; returns summed field lengths."""
    changed = [each for each in index_results if each["counts_file"]]
    before = parent.statistics()
    if before is not None and not changed and parent.manifest is not None:
        files[STATISTICS_PATH] = parent.manifest.files[STATISTICS_PATH]
        return before[1]
    differences = [
        (run.read_table(each["counts_file"]), tuple(each["lengths"])) for each in changed
    ]
    statistics, lengths = total(before, differences, products)
    _put(run, snapshot_id, STATISTICS_PATH, _saved(statistics), files)
    return lengths


def _saved(statistics: Statistics) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "statistics.arrow"
        statistics.save(path)
        return path.read_bytes()


def _put(run: Run, snapshot_id: str, path: str, data: bytes, files: dict[str, FileEntry]) -> None:
    run.store.write_bytes(f"snapshots/{snapshot_id}/{path}", data)
    files[path] = FileEntry(
        sha256=hashlib.sha256(data).hexdigest(), size=len(data), owner=snapshot_id
    )
