from __future__ import annotations

import numpy as np
import pytest

from aisle.embed.training.material import build_material
from aisle.embed.training.measure import DevSet
from aisle.errors import JudgmentError
from aisle.evaluation import Judgments

IDS = ["a", "b", "c", "d", "e"]
TEXTS = [
    "red steel bottle 500 ml",
    "blue steel bottle 500 ml",
    "red steel bottle of 500 ml",
    "laptop sleeve",
    "wireless mouse",
]


def judgments(grades: list[float]) -> Judgments:
    return Judgments.from_columns(
        ["Red  Bottle"] * len(grades),
        ["a", "b", "gone"][: len(grades)],
        grades,
        relevant_from=2,
        lowest_grade=0,
    )


def test_gains_are_exponential_and_unknown_products_are_left_out() -> None:
    material = build_material(judgments([3, 1, 2]), IDS, TEXTS)
    assert material.queries == ("Red Bottle",)
    assert material.judged[0].tolist() == [0, 1]
    assert material.gains[0].tolist() == [7.0, 1.0]  # 2^3 - 1, 2^1 - 1
    assert len(material.mined[0]) == 0


def test_mined_negatives_are_neither_judged_nor_a_relevant_product_told_twice() -> None:
    # "c" shares 5 of 6 distinct terms with the relevant "a"; "b" is judged; "gone" is not in the catalogue.
    found = {"Red  Bottle": ["c", "a", "b", "gone", "e", "d"]}
    given = judgments([3, 0]), IDS, TEXTS, found
    assert build_material(*given, skip=0).mined[0].tolist() == [4, 3]
    assert build_material(*given, skip=0, keep=1).mined[0].tolist() == [4]
    assert build_material(*given, skip=1).mined[0].tolist() == [3]


def test_nothing_relevant_and_nothing_known_are_errors_that_say_so() -> None:
    with pytest.raises(JudgmentError, match="no relevant product to learn from"):
        build_material(judgments([0, 0]), IDS, TEXTS)
    with pytest.raises(JudgmentError, match="same product_id"):
        build_material(judgments([3, 1]), ["x", "y"], TEXTS[:2])


def test_dev_scores_are_ndcg_over_the_pool_and_over_the_judged_pairs() -> None:
    dev = DevSet(build_material(judgments([2, 1]), IDS, TEXTS), others=5)
    assert dev.documents == TEXTS  # judged and drawn, each once
    # By hand: an unjudged product first, then gains 1 and 3; ideal 3, 1.
    cosines = np.array([[0.7, 0.8, 0.9, 0.1, 0.0]], np.float32)
    ideal = 3 + 1 / np.log2(3)
    score = dev.score_cosines(cosines)
    assert score.ndcg == pytest.approx((1 / np.log2(3) + 3 / 2) / ideal)
    assert score.ndcg_pairs == pytest.approx((1 + 3 / np.log2(3)) / ideal)
    assert score.value == pytest.approx((score.ndcg + score.ndcg_pairs) / 2)
