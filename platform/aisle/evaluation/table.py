"""Reads one table from any fsspec URL, naming what is missing: Parquet, or CSV as texts."""

from __future__ import annotations

from collections.abc import Sequence

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import csv

from aisle.errors import JudgmentError


def read_parquet(url: str, required: Sequence[str], optional: Sequence[str] = ()) -> pa.Table:
    """Reads the named columns. Raises JudgmentError where the file or a required column is missing."""
    try:
        with fsspec.open(url, "rb") as file:
            parquet = pq.ParquetFile(file)
            names = parquet.schema_arrow.names
            _require(url, required, names)
            return parquet.read(columns=[*required, *(n for n in optional if n in names)])
    except FileNotFoundError as error:
        raise JudgmentError(f"{url}: no such file; give the URL of a Parquet file") from error
    except (OSError, pa.ArrowException) as error:
        raise JudgmentError(f"{url}: cannot be read as Parquet: {error}") from error


def read_columns(
    url: str,
    required: Sequence[str],
    optional: Sequence[str] = (),
    *,
    delimiter: str | None = None,
) -> pa.Table:
    """Reads the named columns of Parquet, or of a .csv, .tsv or .txt file (.gz too), whose columns are texts.

    `delimiter` None is a tab in .tsv and a comma elsewhere. Raises JudgmentError as `read_parquet`.
    """
    name = url.lower().removesuffix(".gz")
    if not name.endswith((".csv", ".tsv", ".txt")):
        return read_parquet(url, required, optional)
    between = delimiter or ("\t" if name.endswith(".tsv") else ",")
    try:
        with fsspec.open(url, "rb", compression="infer") as file:
            # Texts throughout: a guessed type would turn the id 0042 into 42.
            table = csv.read_csv(
                file,
                parse_options=csv.ParseOptions(delimiter=between, newlines_in_values=True),
                convert_options=csv.ConvertOptions(
                    column_types={each: pa.string() for each in (*required, *optional)},
                    strings_can_be_null=False,
                ),
            )
    except FileNotFoundError as error:
        raise JudgmentError(f"{url}: no such file; give the URL of a CSV file") from error
    except (OSError, pa.ArrowException) as error:
        raise JudgmentError(f"{url}: cannot be read as CSV: {error}") from error
    _require(url, required, table.column_names)
    return table.select([*required, *(n for n in optional if n in table.column_names)])


def _require(url: str, required: Sequence[str], names: Sequence[str]) -> None:
    missing = [name for name in required if name not in names]
    if missing:
        raise JudgmentError(
            f"{url}: lacks the columns {', '.join(missing)}; it has {', '.join(names)}"
        )
