"""Reads one Parquet file from any fsspec URL, naming what is missing."""

from __future__ import annotations

from collections.abc import Sequence

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from aisle.errors import JudgmentError


def read_parquet(url: str, required: Sequence[str], optional: Sequence[str] = ()) -> pa.Table:
    """Reads the named columns. Raises JudgmentError where the file or a required column is missing."""
    try:
        with fsspec.open(url, "rb") as file:
            parquet = pq.ParquetFile(file)
            names = parquet.schema_arrow.names
            missing = [name for name in required if name not in names]
            if missing:
                raise JudgmentError(
                    f"{url}: lacks the columns {', '.join(missing)}; it has {', '.join(names)}"
                )
            return parquet.read(columns=[*required, *(n for n in optional if n in names)])
    except FileNotFoundError as error:
        raise JudgmentError(f"{url}: no such file; give the URL of a Parquet file") from error
    except (OSError, pa.ArrowException) as error:
        raise JudgmentError(f"{url}: cannot be read as Parquet: {error}") from error
