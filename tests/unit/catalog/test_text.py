from typing import Any

import pyarrow as pa
import pytest

from aisle.catalog import PRODUCT_SCHEMA, content_hashes, product_text
from aisle.catalog.convert.markup import strip_markup
from aisle.errors import ConfigError


def table(*products: dict[str, Any]) -> pa.Table:
    rows = [dict.fromkeys(PRODUCT_SCHEMA.names) | {"title": "Silver kettle"} | p for p in products]
    return pa.Table.from_pylist(rows, PRODUCT_SCHEMA)


FULL = {
    "brand": "Bosch",
    "category": ["Home", "Kitchen"],
    "attributes": [("body_color", ["silver", "black"]), ("size.width", ["20 cm"]), ("empty", [])],
    "description": "Boils water.",
}

SCENARIOS: dict[str, tuple[dict[str, Any], tuple[str, ...], str]] = {
    "all fields in order": (
        FULL,
        ("title", "brand", "category", "attributes", "description"),
        "Silver kettle. Bosch. Home > Kitchen. body color silver, black; size width 20 cm. Boils water.",
    ),
    "chosen order": (FULL, ("category", "title"), "Home > Kitchen. Silver kettle"),
    "empty fields leave no separator": ({}, ("title", "brand", "attributes"), "Silver kettle"),
    "brand in the title": ({"brand": "silver"}, ("title", "brand"), "Silver kettle"),
    "brand inside a word of the title": (
        {"brand": "Ket"},
        ("title", "brand"),
        "Silver kettle. Ket",
    ),
    "brand inside a word and as a word": (
        {"title": "Hpx by HP!", "brand": "HP"},
        ("title", "brand"),
        "Hpx by HP!",
    ),
    "brand field alone": ({"brand": "Bosch"}, ("brand",), "Bosch"),
    "one full stop": (
        {"title": "A kettle.", "brand": "Bosch"},
        ("title", "brand"),
        "A kettle. Bosch",
    ),
    "lines of a description": ({"description": "one\n\ttwo "}, ("description",), "one two"),
    "no fields": (FULL, (), ""),
}


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_product_text(scenario: str) -> None:
    product, fields, expected = SCENARIOS[scenario]
    assert product_text(table(product), fields, 1000) == [expected]


@pytest.mark.parametrize(
    ("max_chars", "expected"),
    [(13, "Silver kettle"), (12, "Silver"), (6, "Silver"), (3, "Sil")],
)
def test_text_is_cut_between_words(max_chars: int, expected: str) -> None:
    assert product_text(table({}), ("title",), max_chars) == [expected]


def test_texts_of_a_slice_and_of_chunks_equal_those_of_the_whole() -> None:
    whole = table(FULL, {}, {"attributes": [("a", ["b"])]}, FULL)
    texts = product_text(whole)
    assert product_text(whole.slice(1, 2)) == texts[1:3]
    assert (
        product_text(pa.concat_tables([whole.slice(2), whole.slice(0, 2)])) == texts[2:] + texts[:2]
    )
    assert product_text(whole.slice(0, 0)) == []


def test_an_unknown_field_names_the_allowed_ones() -> None:
    with pytest.raises(ConfigError, match="got 'price', allowed: title, brand"):
        product_text(table({}), ("price",), 100)


def test_content_hashes_tell_texts_apart_and_have_16_bytes() -> None:
    hashes = content_hashes(["a", "b", "a"])
    assert hashes.type == pa.binary(16)
    first, second, third = hashes.to_pylist()
    assert first == third != second


MARKUP = {
    "plain": ("a < b > c", "a < b > c"),
    "inline tags join": ("H<sub>2</sub>O", "H2O"),
    "block tags part": ("<li>a</li><li>b</li>", "a b"),
    "attributes of tags": ('<a href="x?a=1&b=2">link</a>', "link"),
    "breaks": ("a<br/>b<BR>c", "a b c"),
    "comments and styles": ("a<!-- no > -->b<style>p{}</style>", "a b"),
    "entities once": ("&lt;b&gt; &amp;amp; &#39;", "<b> &amp; '"),
    "non-breaking space": ("a&nbsp;&nbsp;b", "a b"),
}


@pytest.mark.parametrize("scenario", MARKUP)
def test_strip_markup(scenario: str) -> None:
    source, expected = MARKUP[scenario]
    assert strip_markup(source) == expected
