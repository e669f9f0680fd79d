"""What a shop's rewriter learns from: its own words, and what its searches were worth."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from aisle.errors import ModelError
from aisle.index.forward import BRAND
from aisle.index.statistics import Statistics
from aisle.rewrite.choose import choose
from aisle.rewrite.model import BUILTIN_REWRITER, expand_below_titles, write_card
from aisle.rewrite.parse import parse
from aisle.rewrite.prompt import compact_answer, normalise
from aisle.rewrite.spelling import SpellingRepair
from aisle.rewrite.training.feedback import (
    MARGIN,
    Group,
    Lessons,
    choose_expand_below,
    costs,
)
from aisle.rewrite.training.shop import ShopExamples, excerpt, other_names, shop_examples
from aisle.rewrite.vocabulary import Vocabulary
from aisle.stages import Rewrite
from aisle.text import Analyzer

ANALYZER = Analyzer("english")
TITLES = (
    *["Kohler Elongated Toilet Seat White"] * 4,
    *["Bemis Elongated Toilet Seat with Slow Close"] * 4,
    *["Red Head Sleeve Anchor 3/8 in."] * 6,
    *["Garden Hose 50 ft."] * 6,
)
MAKERS = ("kohler", "bemis")


def make_repair() -> SpellingRepair:
    terms = sorted({term for title in TITLES for term in ANALYZER.terms(title)})
    frequency = np.zeros((len(terms), 6), np.int32)
    for i, term in enumerate(terms):
        held = sum(term in ANALYZER.terms(title) for title in TITLES)
        frequency[i, -1] = held
        frequency[i, BRAND] = held if term in MAKERS else 0
    statistics = Statistics(
        len(TITLES), {t: i for i, t in enumerate(terms)}, frequency, np.ones(5, np.float32)
    )
    return SpellingRepair(Vocabulary(TITLES, ANALYZER), statistics, ANALYZER)


@pytest.fixture(scope="module")
def repair() -> SpellingRepair:
    return make_repair()


@pytest.fixture(scope="module")
def statistics(repair: SpellingRepair) -> Statistics:
    return repair.statistics


@pytest.fixture(scope="module")
def shop(repair: SpellingRepair, statistics: Statistics) -> ShopExamples:
    return shop_examples(
        ("Toliet Lid", "concrete", "zzqx", "sleeve anchor"),
        {"Toliet Lid": TITLES[:8], "sleeve anchor": TITLES[8:10]},
        TITLES,
        repair,
        statistics,
        ANALYZER,
    )


def test_other_names_are_what_relevant_titles_share_and_the_query_lacks(
    statistics: Statistics,
) -> None:
    # Not the makers, not "3/8", not "toilet", which the query says, and no word twice.
    names = other_names("toilet", TITLES[:8], statistics, ANALYZER)
    assert names == ("elongated", "seat")
    assert other_names("anchor", TITLES[8:12], statistics, ANALYZER)[0] == "head sleeve"
    assert other_names("toilet", TITLES[:1], statistics, ANALYZER) == ()
    assert other_names("toilet", (), statistics, ANALYZER) == ()


def test_queries_that_the_catalogue_does_not_know_teach_nothing(shop: ShopExamples) -> None:
    # "lid" and "concrete" stand in no title and nothing repairs them.
    assert [each.original for each in shop.queries] == ["sleeve anchor"]
    assert len(shop.titles) == len(TITLES)


def test_examples_repeat_fit_the_answer_and_are_half_misspelt(shop: ShopExamples) -> None:
    examples = list(shop(400, seed=3))
    assert examples == list(shop(400, seed=3))
    assert examples != list(shop(400, seed=4))
    changed = 0
    for example in examples:
        rewrite = example.rewrite
        assert normalise(rewrite.original) == rewrite.original
        assert json.loads(compact_answer(rewrite))["s"] == []
        changed += rewrite.original != rewrite.query
    assert 0.3 < changed / len(examples) < 0.6
    assert {"sleeve anchor"} < {each.rewrite.query for each in examples}


def test_an_excerpt_is_words_in_a_row() -> None:
    title = "red head sleeve anchor 3/8 in. steel"
    for seed in range(20):
        assert excerpt(title, random.Random(seed)) in title


def answer(query: str, *expansions: str) -> Rewrite:
    return Rewrite(query, query, expansions)


def test_the_lesson_is_the_best_answer_that_beats_the_query_as_typed() -> None:
    answers = (answer("anchor", "sleeve anchor"), answer("anchor", "garden hose"), answer("anchor"))
    group = Group("anchor", 0.5, answers, np.array([0.7, 0.2, 0.5]))
    assert group.lesson == answers[0]
    little = Group("anchor", 0.5, answers, np.array([0.5 + MARGIN / 2, 0.2, 0.5]))
    assert little.lesson == Rewrite.unchanged("anchor")
    assert Group("anchor", 0.5, (), np.empty(0)).lesson == Rewrite.unchanged("anchor")


@pytest.mark.parametrize(
    ("query", "text", "least", "most"),
    [
        pytest.param("anchor", '{"q":" anchor","x":[],"s":[]}', 0.0, 0.0, id="nothing said"),
        pytest.param(
            "anchor", '{"q":" anchor","x":[" sleeve anchor"],"s":[]}', 0.001, 0.01, id="a name"
        ),
        pytest.param(
            "seat", '{"q":" seat","x":[" kohler seat"],"s":[]}', 0.1, 0.11, id="a maker of its own"
        ),
        pytest.param(
            "kohler seat", '{"q":" kohler seat","x":[" kohler toilet seat"],"s":[]}', 0, 0.01,
            id="the maker that was typed",
        ),
        pytest.param(
            "hose", '{"q":" hose","x":[" garden hose 50 ft"],"s":[]}', 0.1, 0.11, id="a number"
        ),
        pytest.param("3/8 anchor", '{"q":" anchor","x":[],"s":[]}', 0.2, 0.2, id="a lost number"),
        pytest.param("anchor", "anchor!", 0.2, 0.2, id="no answer at all"),
    ],
)  # fmt: skip
def test_rules_cost(
    statistics: Statistics, query: str, text: str, least: float, most: float
) -> None:
    assert least <= costs(parse(query, text), statistics, ANALYZER) <= most


def test_a_round_mixes_lessons_with_the_shops_examples_without_unproven_names(
    shop: ShopExamples,
) -> None:
    lesson = answer("hose", "garden hose")
    examples = list(Lessons((lesson,), shop)(300, seed=5))
    assert examples == list(Lessons((lesson,), shop)(300, seed=5))
    taught = [each for each in examples if each.rewrite == lesson]
    assert 100 < len(taught) < 200
    assert all(not each.rewrite.expansions for each in examples if each.rewrite != lesson)
    assert len(list(Lessons((), shop)(20, seed=5))) == 20


def test_expansions_serve_where_they_help_for_certain() -> None:
    rng = np.random.default_rng(1)
    few, many = np.full(200, 3), np.full(200, 500)
    helps, harms = rng.normal(0.05, 0.05, 200), rng.normal(-0.05, 0.05, 200)
    titles = [*few, *many]
    bound, gain = choose_expand_below(titles, np.concatenate([helps, harms]))
    assert 3 < bound <= 500
    assert gain == pytest.approx(helps.sum())
    assert choose_expand_below(titles, np.concatenate([harms, harms])) == (0, 0.0)
    # Ten queries that gained a little by chance prove nothing.
    noise = rng.normal(0.001, 0.1, 10)
    assert choose_expand_below([3] * 10, noise)[0] == 0
    assert choose_expand_below([], np.empty(0)) == (0, 0.0)


def test_the_bound_of_the_model_decides_whether_expansions_are_searched(
    repair: SpellingRepair,
) -> None:
    said = answer("toilet seat", "elongated")
    arguments = (said, repair, repair.statistics, ANALYZER)
    assert choose(*arguments).searched.expansions == ("elongated",)
    assert choose(*arguments, expand_below=9).searched.expansions == ("elongated",)
    assert choose(*arguments, expand_below=8).searched.expansions == ()
    assert choose(*arguments, expand_below=0).searched.expansions == ()
    assert choose(said, None, repair.statistics, ANALYZER, 0).searched.expansions == ()


def test_the_card_carries_the_bound(tmp_path: Path) -> None:
    assert expand_below_titles(tmp_path) is None
    assert expand_below_titles(BUILTIN_REWRITER) is None
    write_card(tmp_path, {"expand_below_titles": 20})
    assert expand_below_titles(tmp_path) == 20
    (tmp_path / "rewriter.json").write_text("{")
    with pytest.raises(ModelError, match="train the rewriter again"):
        expand_below_titles(tmp_path)
