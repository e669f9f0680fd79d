"""Files of every format, whole and broken, through planning and reading."""

import csv
import gzip
import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import fsspec
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.catalog import POSITION, ColumnMap, plan_units, read_unit, row_hashes, source_fingerprint
from aisle.errors import CatalogError

COLUMNS = ColumnMap.model_validate(
    {
        "product_id": "id",
        "title": "name",
        "brand": "brand",
        "description": "text",
        "price": {"column": "cents", "scale": 0.01},
        "category": {"column": "path", "split": " > "},
        "attributes": {"column": "attributes", "format": "json"},
        "available": "stock",
        "updated_at": "changed",
    }
)

BARE = ColumnMap.model_validate({"product_id": "id", "title": "name"})

ROWS: list[dict[str, Any]] = [
    {
        "id": f"{i:05d}",
        "name": f"Kettle, No. {i}",
        "brand": "Bosch" if i % 2 else None,
        "text": 'two\nlines, "quoted"' if i % 3 else None,
        "cents": 1999 + i,
        "path": "Home > Kitchen",
        "attributes": json.dumps({"color": ["red", "blue"], "watts": 1000.0 + i, "cordless": True}),
        "stock": bool(i % 2),
        "changed": "2024-01-31T12:30:00Z",
    }
    for i in range(25)
]


@dataclass(frozen=True)
class Spec:
    url: str | tuple[str, ...]
    format: str = "auto"


def write(path: Path, rows: list[dict[str, Any]], delimiter: str = ",") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name.removesuffix(".gz")
    if name.endswith(".parquet"):
        pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=10)
        return str(path)
    opener = gzip.open if path.suffix == ".gz" else open
    with opener(path, "wt", encoding="utf-8", newline="") as file:
        if name.endswith(("jsonl", "ndjson")):
            file.writelines(json.dumps(row) + "\n" for row in rows)
        else:
            writer = csv.DictWriter(file, list(rows[0]), delimiter=delimiter)
            writer.writeheader()
            writer.writerows(rows)
    return str(path)


def read(
    source: Any, columns: ColumnMap = COLUMNS, batch_rows: int = 7
) -> tuple[pa.Table, list[Any]]:
    """All products and all rejected rows of a source."""
    batches = [m for u in plan_units(source) for m in read_unit(u, columns, batch_rows)]
    assert all(m.products.num_rows + m.rejected.num_rows <= batch_rows for m in batches)
    products = pa.concat_tables([m.products for m in batches])
    return products, pa.concat_tables([m.rejected for m in batches]).to_pylist()


@pytest.mark.parametrize(
    "name", ["a.csv", "a.csv.gz", "a.tsv", "a.jsonl", "a.jsonl.gz", "a.ndjson", "a.json"]
)
def test_text_formats_give_the_products_of_parquet(tmp_path: Path, name: str) -> None:
    expected, nothing = read(write(tmp_path / "x.parquet", ROWS))
    path = tmp_path / name
    if name == "a.json":
        os.rename(write(tmp_path / "b.jsonl", ROWS), path)
    else:
        write(path, ROWS, "\t" if "tsv" in name else ",")
    products, rejected = read(str(path))
    assert rejected == nothing == []
    assert products.num_rows == len(ROWS)
    assert row_hashes(products).equals(row_hashes(expected))
    assert products.drop_columns([POSITION]).equals(expected.drop_columns([POSITION]))


def test_json_lines_may_hold_objects_lists_and_numbers_as_such(tmp_path: Path) -> None:
    rows = [
        row
        | {"attributes": json.loads(row["attributes"]), "path": row["path"].split(" > "), "id": i}
        for i, row in enumerate(ROWS)
    ]
    columns = COLUMNS.model_copy(update={"product_id": BARE.product_id})
    products, rejected = read(write(tmp_path / "a.jsonl", rows), columns)
    expected, _ = read(write(tmp_path / "a.parquet", ROWS))
    assert rejected == []
    assert products["product_id"].to_pylist() == [str(i) for i in range(len(ROWS))]
    for field in ("category", "attributes", "price", "available"):
        assert products[field].to_pylist() == expected[field].to_pylist()


def test_parquet_is_cut_by_row_groups_and_rows_are_numbered_through(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ROWS)
    units = plan_units(path, unit_rows=10)
    assert [(u.row_groups, u.first_row, u.n_rows) for u in units] == [
        ((0, 1), 1, 10),
        ((1, 2), 11, 10),
        ((2, 3), 21, 5),
    ]
    assert [(u.row_groups, u.n_rows) for u in plan_units(path, unit_rows=20)] == [
        ((0, 2), 20),
        ((2, 3), 5),
    ]
    products = [m.products for u in units for m in read_unit(u, COLUMNS, 4)]
    assert pa.concat_tables(products)[POSITION].to_pylist() == list(range(1, 26))


def test_positions_order_files_before_rows(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.csv", ROWS[:3]) for n in "ba"]
    products, _ = read(paths)
    # the second row's text takes lines 3 and 4
    assert products[POSITION].to_pylist() == [2, 3, 5, 2**40 + 2, 2**40 + 3, 2**40 + 5]


def test_a_folder_is_read_at_all_depths_without_hidden_files(tmp_path: Path) -> None:
    write(tmp_path / "b.csv", ROWS[:2])
    write(tmp_path / "a" / "deep" / "c.csv", ROWS[2:4])
    write(tmp_path / "_old" / "d.csv", ROWS)
    write(tmp_path / ".e.csv", ROWS)
    (tmp_path / "_SUCCESS").write_text("")
    (tmp_path / "readme.txt").write_text("x")
    names = [Path(u.url).name for u in plan_units(str(tmp_path))]
    assert names == ["c.csv", "b.csv"]


def test_a_glob_and_a_list_name_each_file_once(tmp_path: Path) -> None:
    paths = [write(tmp_path / f"{n}.csv", ROWS[:2]) for n in "abc"]
    urls = [paths[2], str(tmp_path / "[ab].csv"), str(tmp_path / "*.csv")]
    assert [u.url for u in plan_units(urls)] == [paths[2], paths[0], paths[1]]


def test_a_format_chooses_among_the_files_of_a_folder(tmp_path: Path) -> None:
    write(tmp_path / "a.csv", ROWS)
    write(tmp_path / "a.parquet", ROWS)
    with pytest.raises(CatalogError, match="several formats .csv, parquet.*catalog.source.format"):
        plan_units(str(tmp_path))
    assert [u.format for u in plan_units(Spec(str(tmp_path), "csv"))] == ["csv"]


def test_a_file_of_another_extension_is_read_in_the_stated_format(tmp_path: Path) -> None:
    path = tmp_path / "export.dat"
    os.rename(write(tmp_path / "a.csv", ROWS), path)
    products, _ = read(Spec(str(path), "csv"))
    assert products.num_rows == 25


def test_a_memory_url_is_read_like_a_file() -> None:
    text = "\n".join(json.dumps(row) for row in ROWS)
    fsspec.filesystem("memory").pipe_file("/reader/a.jsonl", text.encode())
    products, _ = read("memory://reader/*.jsonl")
    assert products.num_rows == 25


NO_SOURCE = {
    "missing file": ("gone.csv", "auto", "not found"),
    "missing folder": ("gone/", "auto", "not found"),
    "glob that matches nothing": ("*.csv", "auto", "no source file; found nothing"),
    "folder without files of the format": ("sub", "parquet", "no source file; found a.csv"),
    "unknown extension": ("a.xlsx", "auto", "'.xlsx' tells no format; allowed: .parquet"),
    "unknown format": ("a.xlsx", "excel", "got 'excel', allowed: auto, parquet, csv, jsonl"),
    "not Parquet": ("bad.parquet", "auto", "cannot be read"),
    "empty Parquet": ("empty.parquet", "auto", "cannot be read"),
    "below a file": ("a.xlsx/x.csv", "auto", "a.xlsx/x.csv: "),
}


@pytest.mark.parametrize("scenario", NO_SOURCE)
def test_a_source_that_is_not_there_says_so(tmp_path: Path, scenario: str) -> None:
    write(tmp_path / "sub" / "a.csv", ROWS)
    (tmp_path / "a.xlsx").write_bytes(b"x")
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 this is none PAR1")
    (tmp_path / "empty.parquet").write_bytes(b"")
    url, kind, message = NO_SOURCE[scenario]
    with pytest.raises(CatalogError) as caught:
        plan_units(Spec(f"{tmp_path}/{url}", kind))
    assert message in str(caught.value)


@pytest.mark.parametrize("url", ["nosuch://a/b.csv", "s4://bucket/x.csv"])
def test_an_unknown_protocol_is_a_catalog_error(url: str) -> None:
    with pytest.raises(CatalogError, match="cannot be opened"):
        plan_units(url)


def test_an_empty_list_is_a_catalog_error() -> None:
    with pytest.raises(CatalogError, match="an empty list"):
        plan_units([])


def reasons(path: Path, content: bytes) -> tuple[list[str], list[tuple[int, str, Any]]]:
    """Ids of the products of a small file, and (row, reason, raw) of its rejected rows."""
    path.write_bytes(content)
    products, rejected = read(str(path), BARE, 100)
    facts = [(r["row"], r["reason"], json.loads(r["raw"])) for r in rejected]
    return products["product_id"].to_pylist(), facts


def test_malformed_json_lines_are_rejected_with_their_line_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    lines = [
        b'\xef\xbb\xbf{"id": "a", "name": "A"}',
        b'{"id": "b", "name": ',
        b"",
        b"7",
        b'{"id": "c", "name": "\xff"}',
        b'{"id": "d", "name": {"en": "D"}}',
        b'{"id": 5, "name": true}',
        b'{"id": "e", "name": null}',
    ]
    ids, facts = reasons(tmp_path / "a.jsonl", b"\n".join(lines))
    assert ids == ["a", "5"]
    assert facts == [
        (
            2,
            "malformed JSON: Expecting value: line 2 column 1 (char 21)",
            {"_line": '{"id": "b", "name": '},
        ),
        (4, "malformed JSON: 7, an object is expected", {"_line": "7"}),
        (5, "not UTF-8", {"_line": '{"id": "c", "name": "\\xff"}'}),
        (
            6,
            'title is a JSON list or object, not text: \'{"en": "D"}\'',
            {"id": "d", "name": '{"en": "D"}'},
        ),
        (8, "empty title", {"id": "e", "name": None}),
    ]


def test_csv_rows_with_a_wrong_number_of_fields_are_rejected_and_the_rest_goes_on(
    tmp_path: Path,
) -> None:
    content = b'id,name\na,A\nb\n\nc,C,x\n"d","two\nlines"\ne,E\n'
    ids, facts = reasons(tmp_path / "a.csv", content)
    assert ids == ["a", "d", "e"]
    assert facts == [
        (3, "1 fields, the header has 2", {"_line": "b"}),
        (5, "3 fields, the header has 2", {"_line": "c,C,x"}),
    ]


def test_a_stray_quote_in_csv_does_not_swallow_the_rows_below_it(tmp_path: Path) -> None:
    ids, facts = reasons(tmp_path / "a.csv", b'id,name\na,"5 inch\nb,B\nc,"C"\nd,D\n')
    assert ids == ["b", "c", "d"]
    assert [(row, raw) for row, _, raw in facts] == [(2, {"_line": 'a,"5 inch'})]
    ids, facts = reasons(tmp_path / "b.csv", b'id,name\na,A\nb,"to the end\nc,C\n')
    assert ids == ["a", "c"]
    assert [row for row, _, _ in facts] == [3]


def test_bytes_in_csv_that_are_not_utf8_reject_their_row_only(tmp_path: Path) -> None:
    ids, facts = reasons(tmp_path / "a.csv", b"id,name\na,A\nb,caf\xe9\nc,C\n")
    assert ids == ["a", "c"]
    assert facts[0][:2] == (3, "not UTF-8")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_the_delimiter_follows_from_the_header(tmp_path: Path, delimiter: str) -> None:
    path = write(tmp_path / "a.csv", ROWS, delimiter)
    products, rejected = read(path)
    assert (products.num_rows, rejected) == (25, [])


BAD_FILES: dict[str, tuple[str, bytes, str]] = {
    "csv without a header": ("a.csv", b"", "no header line"),
    "csv without the column": ("a.csv", b"id,titel\na,A\n", "no column 'name'.*has id, titel"),
    "csv with a column twice": ("a.csv", b"id,name,name\na,A,B\n", "names column 'name' twice"),
    "json lines without the key": (
        "a.jsonl",
        b'{"id": 1, "n": 2}\n',
        "no column 'name'.*has id, n",
    ),
    "a JSON array on one line": ("a.json", b'[{"id": 1}]', "a JSON array.*jq -c"),
    "a JSON array on many lines": ("a.json", b'[\n{"id": 1}\n]', "a JSON array.*jq -c"),
    "gzip cut short": (
        "a.csv.gz",
        gzip.compress(b"id,name\n" + os.urandom(9000))[:4000],
        "cannot be read",
    ),
    "no gzip at all": ("a.csv.gz", b"id,name\na,A\n", "cannot be read"),
}


@pytest.mark.parametrize("scenario", BAD_FILES)
def test_a_broken_file_is_named(tmp_path: Path, scenario: str) -> None:
    name, content, message = BAD_FILES[scenario]
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CatalogError, match=rf"{name}: .*{message}"):
        read(str(tmp_path / name), BARE)


def test_a_parquet_file_damaged_after_planning_is_a_catalog_error(tmp_path: Path) -> None:
    path = write(tmp_path / "a.parquet", ROWS)
    units = plan_units(path)
    data = bytearray(Path(path).read_bytes())
    data[4:400] = os.urandom(396)
    Path(path).write_bytes(data)
    with pytest.raises(CatalogError, match="a.parquet"):
        list(read_unit(units[0], COLUMNS))


def test_a_fingerprint_changes_when_the_file_is_replaced_by_one_of_the_same_size(
    tmp_path: Path,
) -> None:
    path = Path(write(tmp_path / "a.csv", ROWS))
    (unit,) = plan_units(str(path))
    before = source_fingerprint(unit)
    assert source_fingerprint(unit) == before
    other = tmp_path / "b.csv"
    other.write_bytes(path.read_bytes())
    os.replace(other, path)
    assert source_fingerprint(unit) != before
    path.unlink()
    with pytest.raises(CatalogError, match="not found"):
        source_fingerprint(unit)


def test_a_fingerprint_of_a_memory_file_changes_with_it() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file("/prints/a.csv", b"id,name\na,A\n")
    (unit,) = plan_units("memory://prints/a.csv")
    before = source_fingerprint(unit)
    memory.pipe_file("/prints/a.csv", b"id,name\nb,B\n")
    assert source_fingerprint(unit) != before
