from __future__ import annotations

import pytest

from aisle.index.kinds import CONNECTOR, NUMERIC, UNIT, kind_of, kinds_of
from aisle.text import Analyzer


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("12", NUMERIC),
        ("3/4", NUMERIC),
        ("1.5", NUMERIC),
        ("dv7", 0),
        ("feet", UNIT),
        ("gallon", UNIT),
        ("with", CONNECTOR),
        (
            "inches",
            UNIT | CONNECTOR,
        ),  # one term with "in", so which it is depends on what stands before
        ("compatible", CONNECTOR),
        ("lamp", 0),
    ],
)
def test_a_term_is_what_its_spelling_says(text: str, kind: int) -> None:
    (term,) = Analyzer("english").terms(text)
    assert kind_of(term) == kind


def test_kinds_come_in_the_order_of_the_terms() -> None:
    assert kinds_of(["lamp", "12", "ft"]).tolist() == [0, NUMERIC, UNIT]
    assert kinds_of([]).shape == (0,)
