"""Which files a source consists of, and the units of reading that they are cut into.

A unit is small and picklable: it goes to a worker, which opens the file itself. Parquet is cut by row groups; a text
file is one unit, because a quoted line break or a gzip stream can only be read from the start. Split large ones at the
source.
"""

from __future__ import annotations

import posixpath
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq

from aisle.errors import CatalogError
from aisle.store.failures import failures

Format = Literal["parquet", "csv", "jsonl"]

EXTENSIONS: dict[str, Format] = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".json": "jsonl",
}
FORMATS: tuple[Format, ...] = ("parquet", "csv", "jsonl")

UNIT_ROWS = 50_000
"""Small row groups are read together up to about this many rows."""


class SourceSpec(Protocol):
    """A source with its format, such as the configuration's `catalog.source`."""

    @property
    def url(self) -> str | Sequence[str]:
        """File, folder or glob, or several."""

    @property
    def format(self) -> str:
        """`auto`, `parquet`, `csv` or `jsonl`."""


SourceLike = str | Sequence[str] | SourceSpec


@dataclass(frozen=True, slots=True)
class ReadUnit:
    """A piece of a source that one task reads."""

    url: str
    format: Format
    file_index: int
    """Place of the file in the source; orders products of equal ids and times."""
    row_groups: tuple[int, int] | None = None
    """Parquet: from this row group to before that one. None is the whole file."""
    first_row: int = 1
    """Number of the first row in its file, from 1. In text files rows go by lines, the header being line 1."""
    n_rows: int | None = None
    """Rows in the unit where the format tells without reading."""


def plan_units(
    source: SourceLike,
    storage_options: Mapping[str, Any] | None = None,
    unit_rows: int = UNIT_ROWS,
) -> list[ReadUnit]:
    """Finds the source's files and cuts them into units, in a stable order.

    A folder is read at all depths, in order of paths; in folders and globs only files of the source's format count, and
    names that start with a dot or an underscore do not. With format `auto` the extension decides (before .gz).

    Raises:
        CatalogError: a file or folder is missing or cannot be read, no file is left, or a format is unknown.
    """
    urls, wanted = _urls_and_format(source)
    options = dict(storage_options or {})
    files: dict[str, Format] = {}
    for url in urls:
        try:
            found = _files(url, wanted, options)
        except failures() as error:
            raise unreadable(url, error) from error
        except (ValueError, ImportError, TypeError) as error:
            raise CatalogError(
                f"{url}: cannot be opened ({error}); allowed: a local path or an fsspec URL whose package is "
                "installed. Check catalog.source"
            ) from error
        files.update((file, kind) for file, kind in found.items() if file not in files)
    units: list[ReadUnit] = []
    for index, (file, kind) in enumerate(files.items()):
        whole = ReadUnit(file, kind, index)
        units += _row_group_units(whole, options, unit_rows) if kind == "parquet" else [whole]
    return units


def unreadable(url: str, error: BaseException) -> CatalogError:
    """The error for a source file that is missing, forbidden, cut short or not of its format."""
    if isinstance(error, FileNotFoundError):
        what = "not found"
    elif isinstance(error, PermissionError):
        what = "may not be read"
    else:
        what = "cannot be read"
    detail = str(error).splitlines()[0] if str(error) else type(error).__name__
    return CatalogError(
        f"{url}: {what} ({detail}); expected a readable Parquet, CSV or JSON lines file, a folder or a glob. Check "
        "catalog.source.url, its rights and storage_options"
    )


def _urls_and_format(source: SourceLike) -> tuple[list[str], str]:
    if isinstance(source, str):
        urls, wanted = [source], "auto"
    elif isinstance(source, Sequence):
        urls, wanted = list(source), "auto"
    else:
        urls = [source.url] if isinstance(source.url, str) else list(source.url)
        wanted = source.format
    if wanted not in ("auto", *FORMATS):
        raise CatalogError(
            f"catalog.source.format: got {wanted!r}, allowed: auto, {', '.join(FORMATS)}"
        )
    if not urls:
        raise CatalogError(
            "catalog.source.url: an empty list; name at least one file, folder or glob"
        )
    return urls, wanted


def _files(url: str, wanted: str, options: dict[str, Any]) -> dict[str, Format]:
    """The files behind one URL with their formats, sorted by path."""
    fs, path = fsspec.core.url_to_fs(url, **options)
    fs.invalidate_cache()
    if fs.isfile(path):
        return {url: _format(url, wanted)}
    if fs.isdir(path):
        root = path.rstrip("/") + "/"
        paths = [p for p in fs.find(path) if not _is_hidden(p.removeprefix(root))]
    elif any(mark in path for mark in "*?["):
        paths = [p for p in fs.glob(path) if fs.isfile(p) and not _is_hidden(p.rsplit("/", 1)[-1])]
    else:
        fs.info(path)  # says why, where the store knows; isfile and isdir swallow it
        raise FileNotFoundError("no such file or folder")
    kinds = {p: EXTENSIONS.get(_extension(p)) for p in sorted(paths)}
    chosen = {p: kind for p, kind in kinds.items() if kind and wanted in ("auto", kind)}
    formats = sorted(set(chosen.values()))
    if not chosen:
        held = ", ".join(sorted({posixpath.basename(p) for p in paths})[:5]) or "nothing"
        expected = [e for e, kind in EXTENSIONS.items() if wanted in ("auto", kind)]
        raise CatalogError(
            f"{url}: no source file; found {held}, expected files ending in {', '.join(expected)}. Check "
            "catalog.source.url and catalog.source.format"
        )
    if len(formats) > 1:
        raise CatalogError(
            f"{url}: files of several formats ({', '.join(formats)}); say which with catalog.source.format"
        )
    return {fs.unstrip_protocol(p) if "://" in url else p: kind for p, kind in chosen.items()}


def _format(url: str, wanted: str) -> Format:
    for known in FORMATS:
        if wanted == known:
            return known
    extension = _extension(url)
    if extension not in EXTENSIONS:
        raise CatalogError(
            f"{url}: the extension {extension!r} tells no format; allowed: {', '.join(EXTENSIONS)}, each also with .gz "
            f"for texts. Set catalog.source.format to one of {', '.join(FORMATS)}"
        )
    return EXTENSIONS[extension]


def _extension(path: str) -> str:
    name = path.lower().removesuffix(".gz")
    return posixpath.splitext(name)[1]


def _is_hidden(relative: str) -> bool:
    return any(part.startswith(("_", ".")) for part in relative.split("/"))


def _row_group_units(whole: ReadUnit, options: dict[str, Any], unit_rows: int) -> list[ReadUnit]:
    try:
        with fsspec.open(whole.url, "rb", **options) as file:
            metadata = pq.ParquetFile(file).metadata
            sizes = [metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)]
    except (*failures(), pa.ArrowException, EOFError) as error:
        raise unreadable(whole.url, error) from error
    units: list[ReadUnit] = []
    start, first_row, n_rows = 0, 1, 0
    for group, size in enumerate(sizes):
        n_rows += size
        is_last = group + 1 == len(sizes)
        if is_last or n_rows + sizes[group + 1] > unit_rows:
            span = (start, group + 1)
            units.append(ReadUnit(whole.url, "parquet", whole.file_index, span, first_row, n_rows))
            start, first_row, n_rows = group + 1, first_row + n_rows, 0
    return units or [ReadUnit(whole.url, "parquet", whole.file_index, (0, 0), 1, 0)]
