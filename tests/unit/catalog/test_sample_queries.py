"""Training examples for the rewriter, as the sample catalogue makes them."""

from __future__ import annotations

import re
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from aisle.catalog.sample import (
    SEGMENT_TYPES,
    build_sample,
    generate_queries,
    write_sample,
)


def test_segments_spell_the_corrected_query() -> None:
    for example in generate_queries(5000, seed=1):
        assert " ".join(text for text, _ in example.segments) == example.corrected
        types = [kind for _, kind in example.segments]
        assert set(types) <= set(SEGMENT_TYPES)
        assert all(a != b for a, b in zip(types, types[1:], strict=False))


def test_texts_are_normal_and_expansions_are_other_phrasings() -> None:
    for example in generate_queries(5000, seed=2):
        for text in (example.noisy, example.corrected, *example.expansions):
            assert text == " ".join(text.lower().split())
            assert text
        assert len(example.expansions) <= 2
        assert len({example.corrected, *example.expansions}) == 1 + len(example.expansions)


def test_about_55_percent_are_misspelt_and_every_segment_type_occurs() -> None:
    examples = list(generate_queries(5000, seed=3))
    wrong = sum(example.noisy != example.corrected for example in examples)
    assert 0.52 < wrong / 5000 < 0.57
    assert {kind for e in examples for _, kind in e.segments} == set(SEGMENT_TYPES)
    assert len({example.corrected for example in examples}) > 3000


def test_typing_errors_keep_digits() -> None:
    for example in generate_queries(5000, seed=4):
        assert re.findall(r"\d", example.noisy) == re.findall(r"\d", example.corrected)


def test_examples_depend_on_the_seed_and_not_on_the_number() -> None:
    ten = list(generate_queries(10, seed=5))
    assert ten == list(islice(generate_queries(1000, seed=5), 10))
    assert ten != list(generate_queries(10, seed=6))
    assert list(generate_queries(0, seed=5)) == []


def test_a_table_of_judgments_can_be_read_back(tmp_path: Path) -> None:
    paths = write_sample(str(tmp_path), 200)
    table = pq.read_table(paths["judgments.parquet"])
    assert table.schema.field("grade").type == pa.int64()
    assert table.equals(build_sample(200).judgments)
