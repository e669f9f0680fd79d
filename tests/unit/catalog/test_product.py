from datetime import UTC, datetime
from hashlib import blake2b
from typing import Any

import pyarrow as pa
import pytest

from aisle.catalog import PRODUCT_SCHEMA, row_hashes

CHANGED = datetime(2024, 1, 31, 12, 30, tzinfo=UTC)


def product(**fields: Any) -> dict[str, Any]:
    return dict.fromkeys(PRODUCT_SCHEMA.names) | {"product_id": "p", "title": "t"} | fields


def hashes(*products: dict[str, Any]) -> list[bytes]:
    digests: list[bytes] = row_hashes(
        pa.Table.from_pylist(list(products), PRODUCT_SCHEMA)
    ).to_pylist()
    return digests


@pytest.mark.parametrize(
    "changed",
    [
        {"product_id": "q"},
        {"title": "u"},
        {"description": ""},
        {"brand": "b"},
        {"category": ["a"]},
        {"price": 0.0},
        {"currency": "USD"},
        {"attributes": [("a", ["b"])]},
        {"image_url": "i"},
        {"available": False},
        {"updated_at": datetime(1970, 1, 1, tzinfo=UTC)},
    ],
    ids=lambda changed: next(iter(changed)),
)
def test_every_field_counts_in_a_row_hash(changed: dict[str, Any]) -> None:
    first, second = hashes(product(), product(**changed))
    assert first != second


def test_a_row_hash_ignores_order_of_names_rows_chunks_and_further_columns() -> None:
    one = product(product_id="1", attributes=[("a", ["x", "y"]), ("b", ["z"])], category=["c"])
    turned = product(product_id="1", attributes=[("b", ["z"]), ("a", ["x", "y"])], category=["c"])
    other = product(product_id="2", attributes=[("b", ["y", "x"])])
    assert hashes(one) == hashes(turned)
    table = pa.Table.from_pylist([one, other], PRODUCT_SCHEMA)
    chunked = pa.concat_tables([table.slice(1), table.slice(0, 1)]).append_column("n", [[1, 2]])
    assert row_hashes(chunked).to_pylist() == row_hashes(table).to_pylist()[::-1]
    assert row_hashes(table.slice(1)).to_pylist() == hashes(other)
    assert all(len(digest) == 16 for digest in hashes(one, other))


def test_attributes_that_would_join_alike_hash_apart() -> None:
    alike = [
        [("a", ["b", "c"])],
        [("a", ['b","c'])],
        [("a", ["bc"])],
        [("a", ["b"]), ("c", [])],
        [("a:b", ["c"])],
        [("a", [":b,c"])],
    ]
    assert len(set(hashes(*(product(attributes=a) for a in alike)))) == len(alike)


def test_a_row_hash_is_pinned() -> None:
    # A change of this value throws away every stored embedding and delta of every user: bump the format with it.
    digest = hashes(product(attributes=[("a", ["b"])], price=1.5, updated_at=CHANGED))[0]
    text = '["p","t",null,null,[],1.5,null,["\\"a\\":b"],null,null,1706704200000000]'
    assert digest == blake2b(text.encode(), digest_size=16).digest()
