"""Segments by their definitions; expected values by hand."""

from __future__ import annotations

import numpy as np
import pytest

from aisle.errors import JudgmentError
from aisle.evaluation import Judgments
from aisle.evaluation.query_set import DEFINITIONS as MEASURES
from aisle.evaluation.query_set import QuerySet, require_same
from aisle.evaluation.segments import (
    DEFINITIONS,
    HEAD,
    NO_RIGHT_ANSWER,
    TAIL,
    TYPING_ERRORS,
    query_words,
    segments_of,
)
from aisle.index.statistics import Statistics
from aisle.text import Analyzer

HELD = {"mug": 80, "red": 60, "steel": 10, "zorblex": 1}


@pytest.fixture
def statistics() -> Statistics:
    frequency = np.zeros((len(HELD), 6), np.int32)
    frequency[:, -1] = list(HELD.values())
    return Statistics(100, {t: i for i, t in enumerate(HELD)}, frequency, np.ones(5, np.float32))


def judged(*queries: str, grades: list[float] | None = None) -> Judgments:
    n = len(queries)
    return Judgments.from_columns(
        list(queries), ["p"] * n, np.array(grades or [2.0] * n), relevant_from=2, lowest_grade=0
    )


def test_segments_follow_the_rarest_word_and_the_words_nobody_holds(statistics: Statistics) -> None:
    texts = ["Red Mugs", "steel mug", "zorblex mug", "red mugg", "qwertz"]
    words = query_words(texts, statistics, Analyzer("english"))
    assert words.rarest[:4].tolist() == [60, 10, 1, 60]
    assert np.isnan(words.rarest[4])
    assert words.unknown.tolist() == [False, False, False, True, True]
    found = segments_of(judged(*texts, grades=[2, 2, 2, 1, 0]), words)
    assert {name: np.flatnonzero(mask).tolist() for name, mask in found.items()} == {
        HEAD: [0, 3],  # the upper quarter of 60, 10, 1, 60 begins at 60
        TAIL: [2],  # the lower quarter ends at 7.75
        TYPING_ERRORS: [3, 4],
        NO_RIGHT_ANSWER: [3, 4],
    }
    assert list(found) == list(DEFINITIONS)


def test_a_catalogue_that_knows_no_word_has_no_head_and_no_tail(statistics: Statistics) -> None:
    words = query_words(["qwertz"], statistics, Analyzer("english"))
    found = segments_of(judged("qwertz"), words)
    assert not found[HEAD].any()
    assert not found[TAIL].any()
    assert found[TYPING_ERRORS].all()


def test_pins_name_what_differs() -> None:
    ours = QuerySet.of("a", judged("red mug"), "test", 200).as_dict()
    require_same(ours, ours | {"name": "another name"}, "earlier.json")
    with pytest.raises(JudgmentError, match="earlier.json measures another query set: split 'dev'"):
        require_same(ours, ours | {"split": "dev"}, "earlier.json")
    graded = QuerySet.of("a", judged("red mug", grades=[3]), "test", 200).as_dict()
    with pytest.raises(JudgmentError, match="content"):
        require_same(ours, graded, "earlier.json")
    assert ours["gain"] == "2^(grade - lowest) - 1"
    assert ours["graded_by"] == "people"


def test_every_measure_is_defined() -> None:
    assert {"ndcg@10", "recall@k", "judged@10", "brier_skill"} <= set(MEASURES)
