from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisle.rewrite.parse import edit_distance, keeps_identifiers, max_edits, parse
from aisle.stages import Rewrite, Segment


def answer(q: object, x: object = (), s: object = ()) -> str:
    return json.dumps({"q": q, "x": list(x) if isinstance(x, tuple) else x, "s": s or []})


def test_a_good_answer_becomes_a_rewrite() -> None:
    text = answer(
        " red usb cable", (" red usb lead", "red usb cord"), ["colour", "product", "product"]
    )

    parsed = parse("red usb cabel", text)

    assert parsed.fault is None
    assert parsed.rewrite == Rewrite(
        original="red usb cabel",
        query="red usb cable",
        expansions=("red usb lead", "red usb cord"),
        segments=(Segment("red", "colour"), Segment("usb cable", "product")),
    )


def test_a_query_that_needs_no_correction_keeps_its_own_spelling() -> None:
    rewrite = parse("  USB Cable", answer("usb cable")).rewrite

    assert rewrite.query == "  USB Cable"
    assert not rewrite.changed


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param("", "not_json", id="empty"),
        pytest.param("sure, here it is", "not_json", id="prose"),
        pytest.param('{"q":"usb cable","x":["usb', "not_json", id="cut off"),
        pytest.param("[" * 100_000, "not_json", id="nested too deep"),
        pytest.param("null", "wrong_shape", id="null"),
        pytest.param('{"q":"usb cable"}', "wrong_shape", id="fields missing"),
        pytest.param(answer("usb cable", 3), "wrong_shape", id="expansions no list"),
        pytest.param(answer("usb cable", (1, 2)), "wrong_shape", id="expansions no texts"),
        pytest.param(answer("usb cable", (), [[]]), "wrong_shape", id="types no texts"),
        pytest.param(answer(" \t "), "wrong_shape", id="blank correction"),
        pytest.param(answer(5), "wrong_shape", id="number as correction"),
        pytest.param(answer("usb " * 40), "too_long", id="endless correction"),
        pytest.param(answer("hdmi splitter"), "too_far", id="another product"),
        pytest.param(answer("usb cable 2"), "lost_identifier", id="invented number"),
    ],
)
def test_a_bad_answer_leaves_the_query_and_names_the_fault(text: str, fault: str) -> None:
    parsed = parse("usb cabel", text)

    assert parsed.rewrite == Rewrite.unchanged("usb cabel")
    assert parsed.fault == fault


@pytest.mark.parametrize(
    ("query", "corrected", "kept"),
    [
        pytest.param("xr-5500 batery", "xr-5500 battery", True, id="code survives"),
        pytest.param("xr-5500 batery", "xr-550 battery", False, id="digit dropped from a code"),
        pytest.param("xr-5500 batery", "xt-5500 battery", False, id="letter changed in a code"),
        pytest.param("xr5500 case", "xr-5500 case", True, id="hyphen added to a code"),
        pytest.param("65 w charger", "65w charger", True, id="space lost before a unit"),
        pytest.param("65w charger", "65 w charger", True, id="space found before a unit"),
        pytest.param("12 v batery", "12 x battery", False, id="unit changed"),
        pytest.param("12 v batery", "battery", False, id="measure dropped"),
        pytest.param("3/4 in pipe", "4/3 in pipe", False, id="fraction turned round"),
        pytest.param("5 x 7 frame", "7 x 5 frame", False, id="sizes swapped"),
        pytest.param("iphone case", "iphone 7 case", False, id="number brought in"),
        pytest.param("2.5 gal bucket", "25 gal bucket", False, id="point lost"),
        pytest.param("size 10 shoess", "size 10 shoes", True, id="number without a unit"),
    ],
)
def test_rule_keep_identifiers(query: str, corrected: str, kept: bool) -> None:
    assert keeps_identifiers(query, corrected) is kept


@pytest.mark.parametrize(
    ("query", "corrected", "allowed"),
    [
        pytest.param("wireles hedphones", "wireless headphones", True, id="two slips"),
        pytest.param("tv", "television", False, id="another word for it"),
        pytest.param("mug", "cup", False, id="synonym"),
        pytest.param("dogbed", "dog bed", True, id="lost space"),
        pytest.param("zorblex", "sorbet", False, id="unknown word bent into a known one"),
    ],
)
def test_rule_near_the_original(query: str, corrected: str, allowed: bool) -> None:
    parsed = parse(query, answer(corrected))

    assert (parsed.rewrite.query == corrected) is allowed
    assert parsed.fault == (None if allowed else "too_far")


# Expected values by hand; the last one is where the restricted distance (3) differs from the full one (2).
@pytest.mark.parametrize(
    ("a", "b", "distance"),
    [
        ("", "", 0),
        ("abc", "abc", 0),
        ("", "abc", 3),
        ("kitten", "sitting", 3),
        ("ab", "ba", 1),
        ("cabel", "cable", 1),
        ("ca", "abc", 3),
    ],
)
def test_edit_distance(a: str, b: str, distance: int) -> None:
    assert edit_distance(a, b, 10) == distance
    assert edit_distance(b, a, 10) == distance


@given(st.text("abc", max_size=12), st.text("abc", max_size=12), st.integers(0, 6))
def test_a_bounded_edit_distance_agrees_with_the_unbounded_one(a: str, b: str, limit: int) -> None:
    exact = edit_distance(a, b, 100)

    assert (edit_distance(a, b, limit) <= limit) is (exact <= limit)
    if exact <= limit:
        assert edit_distance(a, b, limit) == exact


def test_long_queries_may_change_more() -> None:
    assert max_edits("usb") == 1
    assert max_edits("cabel") == 2
    assert max_edits("a" * 24) == 4


@pytest.mark.parametrize(
    ("proposed", "kept"),
    [
        pytest.param(("usb lead", "usb lead"), ("usb lead",), id="repeated"),
        pytest.param(("usb cable", "usb cord"), ("usb cord",), id="the correction itself"),
        pytest.param(("USB Cabel",), (), id="the query as typed"),
        pytest.param((" ", "usb cord"), ("usb cord",), id="blank"),
        pytest.param(("a", "b", "c"), ("a", "b"), id="more than two"),
        pytest.param(("u" * 121,), (), id="too long"),
    ],
)
def test_unusable_expansions_are_dropped_alone(
    proposed: tuple[str, ...], kept: tuple[str, ...]
) -> None:
    parsed = parse("usb cabel", answer("usb cable", proposed))

    assert parsed.rewrite.query == "usb cable"
    assert parsed.rewrite.expansions == kept
    assert parsed.fault == "expansion_dropped"


def test_an_expansion_keeps_the_numbers_of_the_query_and_may_add_its_own() -> None:
    proposed = ("a4 paper 500 sheets", "copy paper", "copy paper 500 sheets")

    parsed = parse("printer paper 500 sheets", answer("printer paper 500 sheets", proposed))

    assert parsed.rewrite.expansions == ("a4 paper 500 sheets", "copy paper 500 sheets")


@pytest.mark.parametrize(
    "types",
    [
        pytest.param(["product"], id="too few"),
        pytest.param(["product"] * 3, id="too many"),
        pytest.param(["product", "vegetable"], id="unknown type"),
    ],
)
def test_segments_that_do_not_fit_are_dropped_alone(types: list[str]) -> None:
    parsed = parse("usb cabel", answer("usb cable", (), types))

    assert parsed.rewrite == Rewrite("usb cabel", "usb cable")
    assert parsed.fault == "segments_dropped"


@given(st.text(), st.text())
def test_any_text_gives_a_rewrite_of_the_query(query: str, text: str) -> None:
    assert parse(query, text).rewrite.original == query


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)


@given(st.text(), st.fixed_dictionaries({"q": _JSON, "x": _JSON, "s": _JSON}))
def test_any_json_gives_a_rewrite_of_the_query(query: str, content: dict[str, object]) -> None:
    assert parse(query, json.dumps(content)).rewrite.original == query
