"""Text formats, record by record: CSV and JSON lines become columns of text, and what is malformed is set aside.

Python's own csv and json parsers are used rather than Arrow's: they keep line numbers, go on after a bad record, and
never guess a type from the rows that happen to be near (ids keep their leading zeros). Reading is far from being the
slow step of a build.
"""

from __future__ import annotations

import csv
import io
import json
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, BinaryIO

import pyarrow as pa

from aisle.catalog.convert.attributes import scalar_text
from aisle.catalog.convert.batch import NESTED_SUFFIX, shown, text_array
from aisle.catalog.mapping import check_columns
from aisle.catalog.rules import ColumnMap
from aisle.catalog.where import require_columns
from aisle.errors import CatalogError

DELIMITERS = (",", ";", "\t", "|")
BOM = b"\xef\xbb\xbf"


@dataclass(slots=True)
class Malformed:
    """A record that could not be parsed."""

    row: int
    reason: str
    raw: str
    """Its text, as JSON: `{"_line": ...}`."""


@dataclass(slots=True)
class Records:
    """Parsed records as a table of texts, with their line numbers, and the malformed ones among them."""

    table: pa.Table
    rows: pa.Array
    malformed: list[Malformed] = field(default_factory=list)


def _malformed(row: int, reason: str, text: str) -> Malformed:
    # bytes that are not UTF-8 arrive as surrogates and leave as \xff, readable and storable
    line = (
        text.rstrip("\r\n").encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    )
    return Malformed(row, reason, json.dumps({"_line": line}, ensure_ascii=False))


def csv_records(
    file: BinaryIO,
    columns: ColumnMap,
    label: str,
    batch_rows: int,
    *,
    delimiter: str | None = None,
    also: tuple[str, ...] = (),
) -> Iterator[Records]:
    """Reads CSV with a header line, at most `batch_rows` records at a time; columns `also` beside the configured ones.

    Unless given, the delimiter is the first of comma, semicolon, tab and bar under which the header has the columns. A
    record with too many or too few fields, with broken quoting or a field above 131,072 characters is malformed; after
    it reading goes on with the next line, so that a stray quote does not swallow the records below it.
    """
    with io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="") as text:
        lines = _Lines(text)
        header, delimiter = _header(lines, columns, label, delimiter, also)
        read = dict.fromkeys((*columns.named_columns(), *also))
        places = [(n, header.index(n)) for n in read if n in header]
        good: list[list[str]] = []
        numbers: list[int] = []
        bad: list[Malformed] = []
        for number, record in lines.records(delimiter, len(header)):
            if isinstance(record, Malformed):
                bad.append(record)
            else:
                good.append(record)
                numbers.append(number)
            if len(good) + len(bad) >= batch_rows:
                yield _csv_table(good, numbers, bad, places)
                good, numbers, bad = [], [], []
        if good or bad:
            yield _csv_table(good, numbers, bad, places)


def _header(
    lines: _Lines, columns: ColumnMap, label: str, given: str | None, also: tuple[str, ...]
) -> tuple[list[str], str]:
    first = next(lines, "")
    if not first.strip():
        raise CatalogError(
            f"{label}: no header line; a CSV file starts with the names of its columns"
        )
    lines.pending.clear()
    possible = (given,) if given else DELIMITERS
    headers = {d: [h.strip() for h in next(csv.reader([first], delimiter=d))] for d in possible}
    wanted = {*columns.required_columns(), *also}
    delimiter = next((d for d in possible if wanted <= set(headers[d])), possible[0])
    header = headers[delimiter]
    check_columns(header, columns, label)
    require_columns(header, also, label)
    twice = sorted({n for n in (*columns.named_columns(), *also) if header.count(n) > 1})
    if twice:
        raise CatalogError(
            f"{label}: the header names column {twice[0]!r} twice; rename one of them"
        )
    return header, delimiter


class _Lines(Iterator[str]):
    """Lines of a text that remembers those of the record being read, and can take them back."""

    def __init__(self, text: Iterator[str]) -> None:
        self._text = text
        self._again: deque[str] = deque()
        self.pending: list[str] = []
        self.taken = 0

    def __next__(self) -> str:
        line = self._again.popleft() if self._again else next(self._text)
        self.pending.append(line)
        self.taken += 1
        return line

    def give_back_all_but_first(self) -> str:
        first, rest = self.pending[0], self.pending[1:]
        self._again.extendleft(reversed(rest))
        self.taken -= len(rest)
        self.pending.clear()
        return first

    def records(self, delimiter: str, width: int) -> Iterator[tuple[int, list[str] | Malformed]]:
        reader = csv.reader(self, delimiter=delimiter, strict=True)
        while True:
            number = self.taken + 1
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                reason = f"malformed CSV: {error}"
                yield number, _malformed(number, reason, self.give_back_all_but_first())
                reader = csv.reader(self, delimiter=delimiter, strict=True)
                continue
            if record and len(record) != width:
                reason = f"{len(record)} fields, the header has {width}"
                yield number, _malformed(number, reason, self.give_back_all_but_first())
            elif record:
                yield number, record
            self.pending.clear()


def _csv_table(
    good: list[list[str]], numbers: list[int], bad: list[Malformed], places: list[tuple[str, int]]
) -> Records:
    try:
        arrays = [pa.array([r[place] for r in good], pa.string()) for _, place in places]
    except UnicodeEncodeError:  # surrogateescape left the bytes that are not UTF-8 where they were
        broken = [not _is_utf8(record) for record in good]
        for record, number, is_broken in zip(good, numbers, broken, strict=True):
            if is_broken:
                bad.append(_malformed(number, "not UTF-8", ",".join(record)))
        good = [r for r, is_broken in zip(good, broken, strict=True) if not is_broken]
        numbers = [n for n, is_broken in zip(numbers, broken, strict=True) if not is_broken]
        arrays = [pa.array([r[place] for r in good], pa.string()) for _, place in places]
    table = pa.table(arrays, names=[name for name, _ in places])
    return Records(table, pa.array(numbers, pa.int64()), bad)


def _is_utf8(record: list[str]) -> bool:
    try:
        "".join(record).encode()
    except UnicodeEncodeError:
        return False
    return True


def jsonl_records(
    file: BinaryIO,
    columns: ColumnMap,
    label: str,
    batch_rows: int,
    *,
    also: tuple[str, ...] = (),
) -> Iterator[Records]:
    """Reads JSON lines, at most `batch_rows` at a time; blank lines are passed over but counted.

    A key need not be on every line, but the first batch must show every column that must be there. Columns `also` are
    read beside the configured ones.
    """
    names = tuple(dict.fromkeys((*columns.named_columns(), *also)))
    good: list[dict[str, Any]] = []
    numbers: list[int] = []
    bad: list[Malformed] = []
    is_checked = False
    for number, line in enumerate(file, start=1):
        line = line.removeprefix(BOM) if number == 1 else line
        if not line.strip():
            continue
        record = _json_record(number, line, label, is_first=not (is_checked or good or bad))
        if isinstance(record, Malformed):
            bad.append(record)
        else:
            good.append(record)
            numbers.append(number)
        if len(good) + len(bad) >= batch_rows:
            is_checked = is_checked or _check_keys(good, columns, label)
            yield _json_table(good, numbers, bad, names)
            good, numbers, bad = [], [], []
    if good or bad:
        is_checked = is_checked or _check_keys(good, columns, label)
        yield _json_table(good, numbers, bad, names)


def _json_record(
    number: int, line: bytes, label: str, is_first: bool
) -> dict[str, Any] | Malformed:
    try:
        record = json.loads(line)
    except UnicodeDecodeError:
        return _malformed(number, "not UTF-8", line.decode("utf-8", "surrogateescape"))
    except (ValueError, RecursionError) as error:
        if is_first and line.lstrip().startswith(b"["):
            raise CatalogError(
                f"{label}: a JSON array; expected JSON lines, one object a line. Convert it with `jq -c '.[]'`"
            ) from error
        reason = str(error) or "nested too deeply"
        return _malformed(
            number, f"malformed JSON: {reason}", line.decode("utf-8", "surrogateescape")
        )
    if isinstance(record, dict):
        return record
    if is_first and isinstance(record, list):
        raise CatalogError(
            f"{label}: a JSON array; expected JSON lines, one object a line. Convert it with `jq -c '.[]'`"
        )
    reason = f"malformed JSON: {shown(record)}, an object is expected"
    return _malformed(number, reason, line.decode())


def _check_keys(good: list[dict[str, Any]], columns: ColumnMap, label: str) -> bool:
    if not good:
        return False
    seen: set[str] = set()
    for record in good:
        seen.update(record)
    check_columns(sorted(seen), columns, label)
    return True


def _json_table(
    good: list[dict[str, Any]], numbers: list[int], bad: list[Malformed], names: tuple[str, ...]
) -> Records:
    arrays: dict[str, pa.Array] = {}
    for name in names:
        texts: list[str | None] = []
        nested: list[bool] = []
        for record in good:
            value = record.get(name)
            is_nested = type(value) in (dict, list)
            nested.append(is_nested)
            if value is None or type(value) is str:
                texts.append(value)
            else:
                texts.append(json.dumps(value) if is_nested else scalar_text(value))
        arrays[name] = text_array(texts)
        arrays[name + NESTED_SUFFIX] = pa.array(nested, pa.bool_())
    return Records(pa.table(arrays), pa.array(numbers, pa.int64()), bad)
