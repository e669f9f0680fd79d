"""Writes the sample to a folder, byte for byte the same for the same arguments and library versions."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from aisle.catalog.sample.build import build_sample

SampleFormat = Literal["parquet", "jsonl", "csv"]


def write_sample(
    folder: str,
    n_products: int = 6000,
    seed: int = 7,
    formats: Sequence[SampleFormat] = ("parquet",),
) -> dict[str, Path]:
    """Builds the sample and writes it: file name to path, such as "products.parquet" and "judgments.parquet".

    Parquet holds the contract's columns. JSON lines hold attributes as an object and times as ISO 8601; CSV joins the
    category with " > " and holds attributes as JSON. Existing files are replaced; the folder is made if missing.

    Raises:
        ValueError: a format is none of parquet, jsonl and csv.
    """
    unknown = [name for name in formats if name not in _WRITERS]
    if unknown:
        raise ValueError(f"formats holds {unknown}; allowed are {sorted(_WRITERS)}")
    sample = build_sample(n_products, seed)
    target = Path(folder)
    target.mkdir(parents=True, exist_ok=True)
    paths: dict[str, Path] = {}
    for name in formats:
        path = target / f"products.{name}"
        _WRITERS[name](sample.products, path)
        paths[path.name] = path
    judgments = target / "judgments.parquet"
    _write_parquet(sample.judgments, judgments)
    paths[judgments.name] = judgments
    return paths


def _write_parquet(table: pa.Table, path: Path) -> None:
    pq.write_table(table, path, compression="zstd")


def _write_jsonl(table: pa.Table, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for row in table.to_pylist():
            file.write(json.dumps(_plain(row), ensure_ascii=False) + "\n")


def _write_csv(table: pa.Table, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, table.column_names, lineterminator="\n")
        writer.writeheader()
        for row in map(_plain, table.to_pylist()):
            row["category"] = " > ".join(row["category"])
            row["attributes"] = json.dumps(row["attributes"], ensure_ascii=False)
            row["available"] = "true" if row["available"] else "false"
            writer.writerow(row)


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return row | {
        "attributes": dict(row["attributes"]),
        "updated_at": row["updated_at"].isoformat(),
    }


_WRITERS: dict[str, Callable[[pa.Table, Path], None]] = {
    "parquet": _write_parquet,
    "jsonl": _write_jsonl,
    "csv": _write_csv,
}
