"""Entities and their F1: hand-made cases whose values were worked out on paper, and properties that must hold."""

from __future__ import annotations

import pytest

from aisle.rewrite.entities import Entity, entities, entity_score, scores_by_type


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        pytest.param("", [], id="no word"),
        pytest.param("O O", [], id="nothing"),
        pytest.param("B-a I-a O B-b", [(0, 2, "a"), (3, 4, "b")], id="two apart"),
        pytest.param("B-a B-a", [(0, 1, "a"), (1, 2, "a")], id="two of a type side by side"),
        pytest.param("B-a I-b", [(0, 1, "a"), (1, 2, "b")], id="another type goes on: begins"),
        pytest.param("O I-a I-a", [(1, 3, "a")], id="goes on from nothing: begins"),
        pytest.param("I-a B-a I-a", [(0, 1, "a"), (1, 3, "a")], id="begins again"),
        pytest.param("B-x-y I-x-y", [(0, 2, "x-y")], id="a type with a hyphen"),
    ],
)
def test_entities_of_a_tagging(tags: str, expected: list[Entity]) -> None:
    assert entities(tags.split()) == expected


@pytest.mark.parametrize(
    ("wanted", "found", "precision", "recall", "f1"),
    [
        pytest.param("B-a I-a O", "B-a I-a O", 1, 1, 1, id="equal"),
        pytest.param("B-a I-a O", "B-a O O", 0, 0, 0, id="a shorter span is wrong"),
        pytest.param("B-a I-a", "B-b I-b", 0, 0, 0, id="another type is wrong"),
        pytest.param("B-a B-b O", "B-a O O", 1, 1 / 2, 2 / 3, id="one missed"),
        pytest.param("B-a O O", "B-a B-b B-c", 1 / 3, 1, 1 / 2, id="two too many"),
        pytest.param("O O", "O O", 0, 0, 0, id="nothing wanted, nothing found"),
        # conlleval's reading of a tagging that BIO does not allow: I-a after O is an entity.
        pytest.param("O B-a", "O I-a", 1, 1, 1, id="mark of the first word"),
    ],
)
def test_the_score_of_one_query(
    wanted: str, found: str, precision: float, recall: float, f1: float
) -> None:
    score = entity_score([(wanted.split(), found.split())])
    assert (score.precision, score.recall, score.f1) == pytest.approx((precision, recall, f1))


def test_queries_are_averaged_by_entity_not_by_query() -> None:
    pairs = [(["B-a", "B-b", "B-c"], ["B-a", "B-b", "B-c"]), (["B-a"], ["O"])]
    score = entity_score(pairs)
    assert (score.precision, score.recall, score.wanted) == (1.0, 3 / 4, 4)
    by_type = scores_by_type(pairs)
    assert list(by_type) == ["all", "a", "b", "c"]
    assert by_type["a"].recall == 1 / 2
    assert by_type["b"].f1 == 1
