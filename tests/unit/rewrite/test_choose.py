"""Which reading of a query is searched, and what is said about it."""

from __future__ import annotations

import pytest

from aisle.rewrite.choose import choose
from aisle.rewrite.spelling import SpellingRepair
from aisle.stages import Rewrite, Segment
from tests.unit.rewrite.test_spelling import ANALYZER, make


@pytest.fixture(scope="module")
def repair() -> SpellingRepair:
    return make()


@pytest.mark.parametrize(
    ("typed", "said", "searched", "source"),
    [
        pytest.param("toilet seat", None, "toilet seat", "typed", id="nothing to repair"),
        pytest.param("toliet seat", None, "toilet seat", "spelling", id="without a model"),
        pytest.param("toliet seat", "toilet seat", "toilet seat", "spelling", id="both agree"),
        pytest.param("zzqx seat", "kohler seat", "kohler seat", "model", id="the model alone"),
        pytest.param(
            "toliet qqqq",
            "toilet seat",
            "toilet seat",
            "model",
            id="the model leaves fewer unknown",
        ),
        pytest.param(
            "motion dector",
            "motion decor",
            "motion detector",
            "spelling",
            id="words stand together",
        ),
        pytest.param(
            "gas dector", "gas grill", "gas grill", "model", id="of the model's words they do"
        ),
        pytest.param("toliet seat", "toliet set", "toilet seat", "spelling", id="a bad model"),
    ],
)
def test_the_better_supported_reading_is_searched(
    repair: SpellingRepair, typed: str, said: str | None, searched: str, source: str
) -> None:
    statistics = repair.statistics
    rewrite = Rewrite.unchanged(typed) if said is None else Rewrite(typed, said)
    choice = choose(rewrite, repair, statistics, ANALYZER)
    assert (choice.searched.query, choice.source) == (searched, source)
    assert choice.searched.original == typed
    assert choice.candidates[0].query == typed
    assert choice.reason


def test_without_repair_the_model_is_verified_as_before(repair: SpellingRepair) -> None:
    said = Rewrite("toliet seat", "toilet seat", ("kohler toilet",))
    choice = choose(said, None, repair.statistics, ANALYZER)
    assert choice.searched == said
    assert choice.source == "model"


def test_expansions_and_segments_of_another_reading_are_not_searched(
    repair: SpellingRepair,
) -> None:
    segments = (Segment("motion", "attribute"), Segment("decor", "product"))
    said = Rewrite("motion dector", "motion decor", ("wall decor",), segments)
    choice = choose(said, repair, repair.statistics, ANALYZER)
    assert choice.searched == Rewrite("motion dector", "motion detector")
    agreed = Rewrite("motion dector", "motion detector", ("motion alarm",), segments)
    choice = choose(agreed, repair, repair.statistics, ANALYZER)
    assert choice.searched == agreed
    assert "agree" in choice.reason
