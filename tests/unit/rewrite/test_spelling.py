"""Which words are repaired, into what, and which are left alone."""

from __future__ import annotations

import time

import numpy as np
import pytest

from aisle.index.statistics import Statistics
from aisle.rewrite.channel import DOUBLED, FIRST_LETTER, NEAR_KEY, OTHER, SWAP, VOWEL, cost
from aisle.rewrite.spelling import SpellingRepair
from aisle.rewrite.vocabulary import Vocabulary, letter_mask
from aisle.text import Analyzer

ANALYZER = Analyzer("english")
TITLES = (
    *["Acme Ceiling Medallion White 16 in."] * 6,
    *["Acme Steel Double French Door 36 in. x 80 in."] * 6,
    *["Hampton Garden Shed 8 ft. x 6 ft."] * 4,
    *["Makita Circular Saw Blade 7 1/4 in."] * 5,
    *["Charbroil Gas Grill 3 Burner"] * 4,
    *["Motion Detector Alarm"] * 40,
    *["Wall Decor Red"] * 9,
    *["Kohler Toilet Seat Elongated"] * 5,
    *["Gold Quarter Round"] * 3,
    *["Water Colour Set"] * 3,
    "Wrench 5 to 9 pieces",
    "Shelf 3/4 in. steel",
    "Lamp 20 watt 50 in.",
)


def make(titles: tuple[str, ...] = TITLES, understood: tuple[str, ...] = ()) -> SpellingRepair:
    """Every word of the titles is sold: the statistics are the titles' own."""
    terms = sorted({term for title in titles for term in ANALYZER.terms(title)})
    frequency = np.ones((len(terms), 6), np.int32)
    statistics = Statistics(
        len(titles), {t: i for i, t in enumerate(terms)}, frequency, np.ones(5, np.float32)
    )
    return SpellingRepair(Vocabulary(titles, ANALYZER), statistics, ANALYZER, understood)


@pytest.fixture(scope="module")
def repair() -> SpellingRepair:
    return make()


@pytest.mark.parametrize(
    ("typed", "meant", "rule"),
    [
        pytest.param("ceiling medalion", "ceiling medallion", "respelt", id="a doubled letter"),
        pytest.param("toliet seat", "toilet seat", "respelt", id="a swap"),
        pytest.param("koehler toilet", "kohler toilet", "respelt", id="a vowel too many"),
        pytest.param("cirxular saw", "circular saw", "respelt", id="a key beside"),
        pytest.param("frenchdoor", "french door", "split", id="a space left out"),
        pytest.param("charbroi l grill", "charbroil grill", "joined", id="a space too many"),
        pytest.param("char broil grill", "charbroil grill", "joined", id="a word taken apart"),
        pytest.param("door 36x80", "door 36 x 80", "numbers", id="measures glued by x"),
        pytest.param("shed 8ftx6ft", "shed 8 ft x 6 ft", "numbers", id="measures with units"),
        pytest.param("blade 71/4", "blade 7 1/4", "numbers", id="a mixed number"),
        pytest.param("motion dector", "motion detector", "respelt", id="the query decides"),
        pytest.param("red dector", "red decor", "respelt", id="and another decides otherwise"),
    ],
)
def test_a_word_that_nobody_sells_is_repaired(
    repair: SpellingRepair, typed: str, meant: str, rule: str
) -> None:
    found = repair.repair(typed)
    assert found.query == meant
    assert [each.rule for each in found.repairs] == [rule]


@pytest.mark.parametrize(
    "query",
    [
        pytest.param("Ceiling Medallions", id="every word is sold, in another form"),
        pytest.param("gold door", id="a word that is sold, though another is near"),
        pytest.param("xr5500", id="a model number"),
        pytest.param("makita dc18rc", id="a model number beside a brand"),
        pytest.param("qwrtz plmkn", id="nothing is near"),
        pytest.param("sed", id="a short word is near to many"),
        pytest.param("saw 9/4", id="not a mixed number"),
        pytest.param("", id="no word"),
        pytest.param("'' \" -", id="no letter"),
        pytest.param(" ".join(["medalion"] * 17), id="too many words"),
        pytest.param("medalion" * 40, id="too long a word"),
    ],
)
def test_what_is_left_alone(repair: SpellingRepair, query: str) -> None:
    found = repair.repair(query)
    assert (found.query, found.repairs) == (query, ())


def test_several_words_are_repaired_one_after_the_other(repair: SpellingRepair) -> None:
    found = repair.repair("Elongatd toliet seat, 36x80")
    assert found.query == "elongated toilet seat 36 x 80"
    assert [each.typed for each in found.repairs] == ["elongatd", "toliet", "36x80"]


def test_a_word_that_the_encoder_knows_needs_a_clearer_reading() -> None:
    assert make().repair("watercolour").query == "water colour"
    assert make(understood=("watercolour",)).repair("watercolour").query == "watercolour"


def test_no_repair_brings_in_a_word_of_dead_rows_only() -> None:
    vocabulary = Vocabulary(TITLES, ANALYZER)  # as it was before the medallions went
    live = {t: i for i, t in enumerate(sorted(set(ANALYZER.terms("acme ceiling white door"))))}
    statistics = Statistics(9, live, np.ones((len(live), 6), np.int32), np.ones(5, np.float32))
    repair = SpellingRepair(vocabulary, statistics, ANALYZER)
    assert repair.repair("ceiling medalion").query == "ceiling medalion"


def test_an_empty_catalogue_repairs_nothing() -> None:
    assert make(()).repair("toliet seat").repairs == ()


def test_repair_is_fast(repair: SpellingRepair) -> None:
    queries = ["ceiling medalion white", "frenchdoor steel", "elongatd toliet seat"] * 30
    started = time.process_time()
    for query in queries:
        repair.repair(query)
    assert (time.process_time() - started) / len(
        queries
    ) < 0.02  # 1 ms measured; ten times the room


# -- channel: expected costs by hand from the table of weights


@pytest.mark.parametrize(
    ("typed", "meant", "expected"),
    [
        ("lights", "lights", 0.0),
        ("ligths", "lights", SWAP),
        ("celing", "ceiling", VOWEL),
        ("medalion", "medallion", DOUBLED),
        ("rubbber", "rubber", DOUBLED),
        ("cirxular", "circular", NEAR_KEY),
        ("fence", "fenca", VOWEL),
        ("frence", "fence", OTHER),
        ("wencing", "fencing", OTHER + FIRST_LETTER),
        ("", "ab", VOWEL + OTHER + FIRST_LETTER),
    ],
)
def test_an_edit_costs_what_the_table_says(typed: str, meant: str, expected: float) -> None:
    assert cost(typed, meant) == pytest.approx(expected)
    assert cost(meant, typed) == pytest.approx(expected)


# -- vocabulary: counts by brute force over the titles


def test_counts_equal_a_scan_of_the_titles() -> None:
    vocabulary = Vocabulary(TITLES, ANALYZER)
    analysed = [ANALYZER.words(title) for title in TITLES]
    for word in vocabulary.words:
        assert vocabulary.count(word) == sum(word in words for words in analysed)
        for other in ("in", "steel", "red", "absent"):
            both = sum(word in words and other in words for words in analysed)
            assert vocabulary.all_together((word, other)) == both
            pairs = sum(
                pair == (word, other)
                for words in analysed
                for pair in zip(words, words[1:], strict=False)
            )
            assert vocabulary.in_a_row(word, other) == pairs
    assert vocabulary.all_together(()) == 0
    assert vocabulary.count("absent") == 0


def test_resembling_misses_no_word_within_the_edits() -> None:
    from rapidfuzz.distance import OSA

    vocabulary = Vocabulary(TITLES, ANALYZER)
    for typed in ("toliet", "medalion", "circulra", "grrill", "kohlre"):
        for edits in (1, 2, 3):
            near = {
                word
                for word in vocabulary.words
                if word.isalpha() and OSA.distance(typed, word) <= edits
            }
            assert near <= set(vocabulary.resembling(typed, edits, 1))


def test_letters_past_z_share_a_bit() -> None:
    assert letter_mask("aab") == 0b11
    assert letter_mask("ß1") == letter_mask("é") == 1 << 26
