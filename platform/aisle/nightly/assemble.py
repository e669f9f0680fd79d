"""Step 5, assemble: models, statistics and quarantine beside the segments, and the manifest that names them all."""

from __future__ import annotations

import hashlib
import tempfile
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from aisle.index.forward import ForwardIndex
from aisle.index.statistics import Statistics
from aisle.nightly.models import Model
from aisle.nightly.run import Item, Run, parquet_bytes
from aisle.snapshot import FileEntry, Library, Manifest, ModelEntry, SegmentEntry, ShardEntry
from aisle.snapshot.manifest import STATISTICS_PATH, segment_path
from aisle.store import sha256_of


def name_snapshot(started_at: datetime, row_results: list[Item], models: dict[str, Model], config_hash: str) -> str:
    """Time and content: `20261120T030000-1f2e3d4c`. A run that is continued keeps its start, so it keeps its name."""
    digest = hashlib.sha256(config_hash.encode())
    for each in row_results:
        digest.update(f"{each['part']} {each['segment_id']} {sorted(each['dead'].items())}\n".encode())
    for role in sorted(models):
        digest.update(f"{role} {models[role].fingerprint}\n".encode())
    return f"{started_at.astimezone(UTC):%Y%m%dT%H%M%S}-{digest.hexdigest()[:8]}"


def assemble(
    run: Run,
    *,
    snapshot_id: str,
    parent: Manifest | None,
    models: dict[str, Model],
    dimension: int,
    read_results: list[Item],
    row_results: list[Item],
    index_results: list[Item],
) -> Manifest:
    """Writes everything but the manifest and returns it: a candidate that can be loaded and judged."""
    files: dict[str, FileEntry] = {}
    shards = []
    for each in index_results:
        files.update({path: FileEntry(**entry) for path, entry in each["files"].items()})
        segments = tuple(SegmentEntry(**segment) for segment in each["segments"])
        shards.append(ShardEntry(number=each["shard"], segments=segments, digest=each["digest"]))
    entries = {role: _put_model(run, snapshot_id, model, parent, files) for role, model in models.items()}
    for number, path in enumerate(path for each in read_results for path in each["rejected_files"]):
        _put(run, snapshot_id, f"quarantine/part-{number:05d}.parquet", parquet_bytes(run.read_table(path)), files)
    manifest = Manifest(
        snapshot_id=snapshot_id,
        created_at=datetime.now(UTC).isoformat(timespec="seconds"),
        run_id=run.run_id,
        parent=parent.snapshot_id if parent else None,
        config_hash=run.settings.index_hash(),
        dimension=dimension,
        counts={
            "products": sum(each["products"] for each in row_results),
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
    _put_statistics(run, manifest)
    return manifest


def with_file(run: Run, manifest: Manifest, path: str, data: bytes) -> Manifest:
    """A candidate with one more file of its own, such as report.json."""
    files = dict(manifest.files)
    _put(run, manifest.snapshot_id, path, data, files)
    return manifest.model_copy(update={"files": files})


def complete(run: Run, manifest: Manifest) -> None:
    """Writes the manifest: from here on the snapshot exists."""
    run.store.write_bytes(f"snapshots/{manifest.snapshot_id}/manifest.json", manifest.to_json())


def _put_model(
    run: Run, snapshot_id: str, model: Model, parent: Manifest | None, files: dict[str, FileEntry]
) -> ModelEntry:
    """Copies a model, or refers to the parent's copy of the same one."""
    prefix = f"models/{model.role}/"
    before = parent.models.get(model.role) if parent else None
    if before and parent and (before.kind, before.fingerprint) == (model.kind, model.fingerprint):
        files.update({path: entry for path, entry in parent.files.items() if path.startswith(prefix)})
        return before
    if model.folder is not None:
        for local in sorted(each for each in model.folder.rglob("*") if each.is_file()):
            path = prefix + local.relative_to(model.folder).as_posix()
            run.store.put_file(local, f"snapshots/{snapshot_id}/{path}")
            files[path] = FileEntry(sha256=sha256_of(local), size=local.stat().st_size, owner=snapshot_id)
    return ModelEntry(kind=model.kind, fingerprint=model.fingerprint, owner=snapshot_id)


def _put_statistics(run: Run, manifest: Manifest) -> None:
    """Sums term statistics over all segments; adds the file to the manifest's files in place."""
    library = Library(run.store)
    wanted = [path for path in manifest.files if "/forward/" in path or "/tombstones-" in path]
    root = library.fetch(manifest, wanted, Path(run.settings.serving.cache_dir))
    segments = []
    for shard in manifest.shards:
        for each in shard.segments:
            forward = ForwardIndex.open(root / each.owner / segment_path(shard.number, each.segment_id) / "forward")
            dead = np.empty(0, dtype=np.int64)
            if each.dead_rows:
                dead = np.load(root / manifest.snapshot_id / manifest.tombstones_path(shard.number, each.segment_id))
            segments.append((forward, dead))
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "statistics.arrow"
        Statistics.collect(segments).save(path)
        _put(run, manifest.snapshot_id, STATISTICS_PATH, path.read_bytes(), manifest.files)


def _put(run: Run, snapshot_id: str, path: str, data: bytes, files: dict[str, FileEntry]) -> None:
    run.store.write_bytes(f"snapshots/{snapshot_id}/{path}", data)
    files[path] = FileEntry(sha256=hashlib.sha256(data).hexdigest(), size=len(data), owner=snapshot_id)


