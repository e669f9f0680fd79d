"""The forward index against counts by Python's Counter over the analysed texts."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aisle.catalog.sample import build_sample
from aisle.index.forward import FIELDS, ForwardIndex, RowTerms, field_texts
from aisle.text import trigrams
from tests.segments import ANALYZER, table_of, titled


@pytest.fixture(scope="module")
def products() -> pa.Table:
    return build_sample(300).products.sort_by("product_id")


def test_tokens_are_the_analysed_texts_in_order(products: pa.Table) -> None:
    forward = ForwardIndex.build(products, ANALYZER)
    terms = list(forward.vocabulary)
    assert terms == sorted(terms)
    for f, name in enumerate(FIELDS):
        for row, text in enumerate(field_texts(products, name)):
            begin, end = forward.terms.offsets[row * len(FIELDS) + f :][:2]
            assert [terms[t] for t in forward.terms.tokens[begin:end]] == ANALYZER.terms(text)


def test_document_frequencies_equal_a_plain_count(products: pa.Table) -> None:
    forward = ForwardIndex.build(products, ANALYZER)
    per_field = [
        [set(ANALYZER.terms(text)) for text in field_texts(products, name)] for name in FIELDS
    ]
    any_field = [set().union(*sets) for sets in zip(*per_field, strict=True)]
    for f, rows in enumerate([*per_field, any_field]):
        counted = Counter(term for terms in rows for term in terms)
        for term, t in forward.vocabulary.items():
            assert forward.document_frequency[t, f] == counted[term]


def test_frequencies_of_some_rows_equal_an_index_over_only_those(products: pa.Table) -> None:
    forward = ForwardIndex.build(products, ANALYZER)
    rows = np.array([3, 50, 299])
    frequency, lengths = forward.frequencies_of(rows)
    alone = ForwardIndex.build(products.take(pa.array(rows)), ANALYZER)
    assert lengths.tolist() == alone.total_lengths().tolist()
    for term, t in forward.vocabulary.items():
        expected = (
            alone.document_frequency[alone.vocabulary[term]] if term in alone.vocabulary else 0
        )
        assert np.all(frequency[t] == expected)


def test_title_grams_equal_those_of_each_title_alone(products: pa.Table) -> None:
    forward = ForwardIndex.build(products, ANALYZER)
    for row, title in enumerate(products["title"].to_pylist()):
        begin, end = forward.terms.gram_offsets[row : row + 2]
        assert forward.terms.grams[begin:end].tolist() == trigrams(ANALYZER.words(title)).tolist()


def test_joined_texts_are_what_the_lexical_index_gets() -> None:
    table = table_of(
        [
            {"product_id": "a", "title": "Red Shoes", "brand": "HP", "category": ["A b", "C"]},
            {"product_id": "b", "title": "!!", "attributes": {"colour": ["Red", "Blue"], "x": []}},
        ]
    )
    texts = ForwardIndex.build(table, ANALYZER).texts()
    assert texts == [["red shoe", ""], ["hp", ""], ["a b c", ""], ["", "red blue"], ["", ""]]


@pytest.mark.parametrize("products", [titled(), titled("!!!"), titled("one")], ids=lambda t: len(t))
def test_small_indexes_survive_saving(products: pa.Table, tmp_path: Path) -> None:
    built = ForwardIndex.build(products, ANALYZER)
    built.save(tmp_path)
    opened = ForwardIndex.open(tmp_path)
    assert opened.vocabulary == built.vocabulary
    assert opened.rows == products.num_rows
    assert np.array_equal(opened.document_frequency, built.document_frequency)
    for name in RowTerms._fields:
        assert np.array_equal(getattr(opened.terms, name), getattr(built.terms, name))


def test_equal_products_give_equal_bytes(products: pa.Table, tmp_path: Path) -> None:
    for name in ("a", "b"):
        ForwardIndex.build(products, ANALYZER).save(tmp_path / name)
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
