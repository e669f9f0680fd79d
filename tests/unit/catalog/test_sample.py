"""The sample catalogue: deterministic, shaped like a shop, and graded by what products are."""

from __future__ import annotations

import csv
import json
import re
from collections import defaultdict
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from aisle.catalog.product import PRODUCT_SCHEMA
from aisle.catalog.sample import (
    JUDGMENT_SCHEMA,
    QUERIES_PER_KIND,
    Intent,
    Item,
    Sample,
    SampleFormat,
    build_lexicon,
    build_sample,
    grade,
    write_sample,
)

LEXICON = build_lexicon()
FORMATS: tuple[SampleFormat, ...] = ("parquet", "jsonl", "csv")
DEPARTMENTS = {
    "Electronics",
    "Home",
    "Kitchen",
    "Garden",
    "Sports",
    "Clothing",
    "Shoes",
    "Beauty",
    "Toys",
    "Office",
}


@pytest.fixture(scope="module")
def sample() -> Sample:
    return build_sample()


@pytest.fixture(scope="module")
def judged(sample: Sample) -> dict[str, list[dict[str, Any]]]:
    """Judgments by query, each with its product's row."""
    products = {row["product_id"]: row for row in sample.products.to_pylist()}
    by_query = defaultdict(list)
    for row in sample.judgments.to_pylist():
        product = products[row["product_id"]]
        by_query[row["query"]].append(row | product | {"values": dict(product["attributes"])})
    return by_query


# The catalogue


def test_products_follow_the_contract_and_number_as_asked(sample: Sample) -> None:
    assert sample.products.schema == PRODUCT_SCHEMA
    assert sample.products.num_rows == 6000
    assert all(column.null_count == 0 for column in sample.products.columns)
    assert len(set(sample.products["product_id"].to_pylist())) == 6000


def test_every_department_and_product_type_is_stocked(sample: Sample) -> None:
    categories = sample.products["category"].to_pylist()
    assert {path[0] for path in categories} == DEPARTMENTS
    assert all(2 <= len(path) <= 3 for path in categories)
    assert {item.kind.name for item in sample.items} == set(LEXICON.types)
    assert len(LEXICON.types) >= 120


@pytest.mark.parametrize("n_products", [1, 10, 64, 400])
def test_a_small_sample_has_the_size_asked_for(n_products: int) -> None:
    small = build_sample(n_products, seed=3)
    assert small.products.num_rows == n_products
    departments = {path[0] for path in small.products["category"].to_pylist()}
    assert len(departments) == min(n_products, len(DEPARTMENTS))
    assert small.judgments.num_rows > 0


def test_a_sample_without_products_is_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        build_sample(0)


def test_prices_lie_near_their_types_range(sample: Sample) -> None:
    # Brand level (0.8 to 1.2) and variants (0.5 to 1.8) may move a price out of its type's range, rounding by 1.
    for item in sample.items:
        assert 0.8 * 0.5 * item.kind.price_low - 1 <= item.price
        assert item.price <= 1.2 * 1.8 * item.kind.price_high + 1
        assert item.price >= 1.0
        assert round(item.price, 2) == item.price
    assert set(sample.products["currency"].to_pylist()) == {"EUR"}


def test_availability_and_updates_are_spread(sample: Sample) -> None:
    available = sum(sample.products["available"].to_pylist()) / 6000
    assert 0.90 < available < 0.94
    updates = sample.products["updated_at"].to_pylist()
    assert (max(updates) - min(updates)).days in range(350, 366)
    assert max(updates) <= datetime(2026, 11, 1, tzinfo=UTC)


def test_texts_read_without_template_artefacts(sample: Sample) -> None:
    artefact = re.compile(r"  |[{}]|None|\(\)| ,|,,| \.|\.\.|\ba a\b|\ba an\b|^\W|\s$|\bthe the\b")
    for row in sample.products.select(["title", "description"]).to_pylist():
        for text in row.values():
            assert not artefact.search(text), text
            assert text[0] == text[0].upper()
        assert row["description"].endswith(".")
        assert 1 <= len(re.findall(r"[.?](?= |$)", row["description"])) <= 4


def test_descriptions_tell_every_use_and_titles_vary(sample: Sample) -> None:
    for item in sample.items:
        for use in item.uses:
            assert use.lower() in item.description.lower()
    brand_first = sum(item.title.startswith(item.brand) for item in sample.items) / 6000
    by_synonym = sum(
        any(name.lower() in item.title.lower() for name in item.kind.synonyms)
        and item.kind.name.lower() not in item.title.lower()
        for item in sample.items
    )
    assert 0.3 < brand_first < 0.8
    assert 0.15 < by_synonym / 6000 < 0.35


def test_accessories_fit_devices_that_the_shop_sells(sample: Sample) -> None:
    devices = {f"{item.brand} {item.model}" for item in sample.items if item.kind.host_models}
    fits = [v for item in sample.items for v in item.attributes.get("compatible_with", ())]
    assert fits
    assert set(fits) <= devices


def test_no_two_product_types_share_a_name() -> None:
    names = [
        name.lower() for kind in LEXICON.types.values() for name in (kind.name, *kind.synonyms)
    ]
    assert len(names) == len(set(names))
    assert all(kind.synonyms for kind in LEXICON.types.values())


# Determinism


def test_the_same_seed_gives_the_same_sample_and_another_seed_another(sample: Sample) -> None:
    again = build_sample()
    assert again.products.equals(sample.products)
    assert again.judgments.equals(sample.judgments)
    assert not build_sample(300, seed=1).products.equals(build_sample(300, seed=2).products)


def test_writing_twice_gives_equal_bytes(tmp_path: Path) -> None:
    first = write_sample(str(tmp_path / "a"), 300, formats=FORMATS)
    second = write_sample(str(tmp_path / "b"), 300, formats=FORMATS)
    names = {"products.parquet", "products.jsonl", "products.csv", "judgments.parquet"}
    assert set(first) == set(second) == names
    for name in names:
        assert first[name].read_bytes() == second[name].read_bytes()


def test_written_formats_hold_the_same_products(tmp_path: Path) -> None:
    paths = write_sample(str(tmp_path), 50, formats=FORMATS)
    rows = pq.read_table(paths["products.parquet"]).to_pylist()
    lines = [json.loads(line) for line in paths["products.jsonl"].read_text().splitlines()]
    with paths["products.csv"].open(newline="") as file:
        records = list(csv.DictReader(file))
    assert len(rows) == len(lines) == len(records) == 50
    for row, line, record in zip(rows, lines, records, strict=True):
        assert line["title"] == record["title"] == row["title"]
        assert line["attributes"] == json.loads(record["attributes"]) == dict(row["attributes"])
        assert record["category"].split(" > ") == line["category"] == row["category"]
        assert datetime.fromisoformat(record["updated_at"]) == row["updated_at"]


def test_an_unknown_format_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="xml"):
        write_sample(str(tmp_path / "new"), 10, formats=("xml",))  # type: ignore[arg-type]
    assert not (tmp_path / "new").exists()


# Judgments


def test_judgments_name_existing_products_once_a_query(sample: Sample) -> None:
    assert sample.judgments.schema == JUDGMENT_SCHEMA
    pairs = sample.judgments.select(["query", "product_id"]).to_pylist()
    keys = [(row["query"], row["product_id"]) for row in pairs]
    assert len(keys) == len(set(keys))
    known = set(sample.products["product_id"].to_pylist())
    assert {product_id for _, product_id in keys} <= known
    assert set(sample.judgments["grade"].to_pylist()) == {0, 1, 2, 3}


def test_every_kind_of_query_is_in_every_split(sample: Sample) -> None:
    counts: dict[tuple[str, str], int] = defaultdict(int)
    for query in sample.queries:
        counts[query.kind, query.split] += 1
    total = len(sample.queries)
    assert total >= 240
    assert len({" ".join(query.text.lower().split()) for query in sample.queries}) == total
    for kind, wanted in QUERIES_PER_KIND.items():
        assert sum(counts[kind, split] for split in ("train", "dev", "test")) == wanted
        assert counts[kind, "train"] == pytest.approx(0.5 * wanted, abs=1.5)
        assert counts[kind, "dev"] == pytest.approx(0.2 * wanted, abs=1)
        assert counts[kind, "test"] == pytest.approx(0.3 * wanted, abs=1)


def test_every_query_is_judged_in_one_split_on_right_and_wrong_products(
    sample: Sample, judged: dict[str, list[dict[str, Any]]]
) -> None:
    for query in sample.queries:
        rows = judged[query.text]
        assert {(row["kind"], row["split"]) for row in rows} == {(query.kind, query.split)}
        grades = [row["grade"] for row in rows]
        assert grades.count(0) >= 3
        assert (max(grades) == 0) if query.kind == "none" else (max(grades) == 3)
        assert grades == sorted(grades, reverse=True)


def test_price_queries_give_top_grades_only_below_the_price(
    judged: dict[str, list[dict[str, Any]]],
) -> None:
    rows = [row for rows in judged.values() for row in rows if row["kind"] == "price"]
    for row in rows:
        limit = float(re.findall(r"\d+", row["query"])[-1])
        if row["grade"] == 3:
            assert row["price"] < limit
        if row["grade"] == 2:
            assert row["price"] < 1.15 * limit


def test_brand_queries_give_top_grades_only_to_the_brand(
    judged: dict[str, list[dict[str, Any]]],
) -> None:
    rows = [row for rows in judged.values() for row in rows if row["kind"] == "brand"]
    for row in rows:
        if row["grade"] >= 2:
            assert row["query"].startswith(row["brand"].lower() + " ")


def test_accessories_for_a_device_fit_it(judged: dict[str, list[dict[str, Any]]]) -> None:
    named = 0
    for rows in judged.values():
        for row in rows:
            fits = [value.lower() for value in row["values"].get("compatible_with", [])]
            every = LEXICON.attribute_values["compatible_with"]
            asks = [device.lower() for device in every if device.lower() in row["query"]]
            if row["kind"] == "accessory" and asks and row["grade"] == 3:
                named += 1
                assert set(fits) & set(asks)
    assert named > 20


def test_hard_negatives_share_words_with_their_query(
    judged: dict[str, list[dict[str, Any]]],
) -> None:
    wrong = [row for rows in judged.values() for row in rows if row["grade"] == 0]
    shared = [
        row
        for row in wrong
        if set(re.findall(r"\w{3,}", row["query"]))
        & set(re.findall(r"\w{3,}", f"{row['title']} {row['description']}".lower()))
    ]
    assert len(shared) > 0.5 * len(wrong)


# Grades: by hand, from the rules in the docstring of `grading`


def _item(type_name: str, brand: str = "Acme", price: float = 50.0, **attributes: str) -> Item:
    return Item(
        product_id="X-1",
        kind=LEXICON.types[type_name],
        department="",
        brand=brand,
        model="M1",
        attributes={key: (value,) for key, value in attributes.items()},
        uses=("camping",),
        features=(),
        title="",
        description="",
        price=price,
        available=True,
        updated_at=datetime(2026, 1, 1, tzinfo=UTC),
    )


PHONE = Intent(frozenset({"smartphone"}))
MUG = Intent(frozenset({"mug"}))
RED_MUG = replace(MUG, attributes=(("color", "red"),))
RED_GLASS_MUG = replace(MUG, attributes=(("color", "red"), ("material", "glass")))
BOOTS_42 = Intent(frozenset({"hiking boots"}), attributes=(("size", "EU 42"),))
CASE_FOR_N7 = Intent(frozenset({"phone case"}), attributes=(("compatible_with", "Nexora N7"),))
MUG_UNDER_20 = replace(MUG, price_below=20.0)
SCENARIOS = {
    "the type asked for": (_item("smartphone"), PHONE, 3),
    "a sibling on the same shelf": (_item("senior phone"), PHONE, 1),
    "an accessory of the type": (_item("phone case"), PHONE, 1),
    "the host of the accessory asked for": (_item("smartphone"), CASE_FOR_N7, 0),
    "another department": (_item("mug"), PHONE, 0),
    "the colour asked for": (_item("mug", color="red"), RED_MUG, 3),
    "another colour": (_item("mug", color="blue"), RED_MUG, 2),
    "another colour and material": (
        _item("mug", color="blue", material="porcelain"),
        RED_GLASS_MUG,
        1,
    ),
    "the colour on a sibling": (_item("dinner plates", color="red"), RED_MUG, 1),
    "a sibling in another colour": (_item("dinner plates", color="blue"), RED_MUG, 0),
    "the size asked for": (_item("hiking boots", size="EU 42"), BOOTS_42, 3),
    "another size": (_item("hiking boots", size="EU 40"), BOOTS_42, 1),
    "the device it fits": (_item("phone case", compatible_with="Nexora N7"), CASE_FOR_N7, 3),
    "another device": (_item("phone case", compatible_with="Orbyte One"), CASE_FOR_N7, 1),
    "below the price": (_item("mug", price=19.99), MUG_UNDER_20, 3),
    "at the price": (_item("mug", price=20.0), MUG_UNDER_20, 2),
    "a little above": (_item("mug", price=22.99), MUG_UNDER_20, 2),
    "far above": (_item("mug", price=23.5), MUG_UNDER_20, 1),
    "the brand asked for": (_item("mug", "Brasko"), replace(MUG, brand="Brasko"), 3),
    "another brand": (_item("mug", "Acme"), replace(MUG, brand="Brasko"), 1),
    "another brand and colour": (
        _item("mug", "Acme", color="blue"),
        replace(RED_MUG, brand="Brasko"),
        0,
    ),
    "another model of the brand": (
        _item("mug", "Brasko"),
        replace(MUG, brand="Brasko", model="M2"),
        1,
    ),
    "the use it is made for": (_item("tent"), Intent(frozenset({"tent"}), use="camping"), 3),
    "another use": (_item("tent"), Intent(frozenset({"tent"}), use="festivals"), 2),
    "any product of a brand": (_item("mug", "Brasko"), Intent(brand="Brasko"), 3),
    "any product of another brand": (_item("mug", "Acme"), Intent(brand="Brasko"), 0),
    "a thing that the shop does not sell": (_item("mug"), Intent(), 0),
}


@pytest.mark.parametrize(("item", "intent", "expected"), SCENARIOS.values(), ids=SCENARIOS)
def test_grade_follows_what_the_product_is(item: Item, intent: Intent, expected: int) -> None:
    assert grade(item, intent, LEXICON) == expected
