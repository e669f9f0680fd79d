"""Tagged queries: what is read, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.errors import JudgmentError
from aisle.rewrite.training.tagged import TaggedQuery, read_tagged, tags_of


def write(path: Path, rows: list[tuple[str, list[str], list[str]]]) -> str:
    columns = zip(*rows, strict=True)
    table = pa.table(dict(zip(("split", "tokens", "labels"), map(list, columns), strict=True)))
    pq.write_table(table, path)
    return str(path)


def test_a_split_is_read_lower_cased(tmp_path: Path) -> None:
    url = write(
        tmp_path / "q.parquet",
        [("train", ["HP", "Ink"], ["B-creator", "B-product"]), ("validation", ["x"], ["O"])],
    )
    queries = read_tagged(url, "train")
    assert queries == [TaggedQuery(("hp", "ink"), ("B-creator", "B-product"))]
    assert tags_of(queries) == ("O", "B-creator", "I-creator", "B-product", "I-product")


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (("train", ["a", "b"], ["O"]), "2 tokens and 1 labels"),
        (("train", [], []), "0 tokens"),
        (("train", ["a"], ["color"]), "allowed are O, B-<type>, I-<type>"),
        (("dev", ["a"], ["O"]), "there are .'dev'."),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(
    tmp_path: Path, row: tuple[str, list[str], list[str]], says: str
) -> None:
    with pytest.raises(JudgmentError, match=says):
        read_tagged(write(tmp_path / "q.parquet", [row]), "train")
