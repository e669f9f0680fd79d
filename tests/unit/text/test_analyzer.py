"""What the analyzer makes of catalogue text; expected terms by hand, stems from the Snowball demonstration page."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aisle.text import Analyzer, padded, trigram_hashes, trigrams

ENGLISH = Analyzer("english")

SCENARIOS = {
    "lower case and plural": ("Running SHOES", ["run", "shoe"]),
    "possessive singular": ("men's boot", ["men", "boot"]),
    "possessive plural": ("Kids' shoes", ["kid", "shoe"]),
    "curly possessive": ("women’s watch", ["women", "watch"]),
    "accents fold": ("Café Crème", ["cafe", "creme"]),
    "umlauts fold": ("Möbel", ["mobel"]),
    "decimal stays whole": ("1.5 quart", ["1.5", "qt"]),
    "fraction stays whole": ("3/4 inch", ["3/4", "in"]),
    "mixed number": ("1 1/2 in", ["1", "1/2", "in"]),
    "vulgar fraction": ("½ inch pipe", ["1/2", "in", "pipe"]),
    "vulgar mixed number": ("1½ in", ["1", "1/2", "in"]),
    "number glued to unit": ("12V 60w", ["12", "v", "60", "w"]),
    "decimal glued to unit": ("1.5v", ["1.5", "v"]),
    "unit spellings meet": ("volts watt lbs pounds", ["v", "w", "lb", "lb"]),
    "model number stays whole": ("WH1000XM4", ["wh1000xm4"]),
    "number glued to a unit's name": ("1000watts 5inch", ["1000", "w", "5", "in"]),
    "number and other long suffix stay whole": ("400series", ["400seri"]),
    "digits after the unit stay whole": ("12v3", ["12v3"]),
    "inch mark": ('24" tv', ["24", "in", "tv"]),
    "typographic inch mark": ("24” tv", ["24", "in", "tv"]),
    "foot mark": ("6' ladder", ["6", "ft", "ladder"]),
    "feet and inches": ("6' 2\" rug", ["6", "ft", "2", "in", "rug"]),
    "quotes that are no unit": ('"best" knife', ["best", "knife"]),
    "hyphen splits": ("non-stick", ["non", "stick"]),
    "underscore splits": ("usb_c", ["usb", "c"]),
    "stop words stay": ("to be", ["to", "be"]),
    "single characters stay": ("vitamin c", ["vitamin", "c"]),
    "full width folds": ("ＡＢ１２", ["ab12"]),
    "other scripts stay": ("кофе 咖啡", ["кофе", "咖啡"]),
    "symbols alone": ("!!! --- &", []),
    "empty": ("", []),
}


@pytest.mark.parametrize(("text", "terms"), SCENARIOS.values(), ids=SCENARIOS.keys())
def test_text_becomes_terms(text: str, terms: list[str]) -> None:
    assert ENGLISH.terms(text) == terms


def test_a_decimal_ending_a_sentence_keeps_its_point_out() -> None:
    assert ENGLISH.words("Size 1.5. Red.") == ["size", "1.5", "red"]


def test_without_a_stemmer_words_stay_but_units_still_meet() -> None:
    assert Analyzer("none").terms("running shoes 12 volts") == ["running", "shoes", "12", "v"]


def test_another_language_has_its_own_stemmer() -> None:
    assert Analyzer("german").terms("Lampen") == ["lamp"]


@given(st.text(max_size=60))
def test_terms_hold_no_blank_and_survive_the_white_space_tokenizer(text: str) -> None:
    terms = ENGLISH.terms(text)
    assert " ".join(terms).split(" ") == (terms or [""])
    assert all(terms)


@given(st.text(max_size=60))
def test_analysis_is_deterministic_and_blind_to_case(text: str) -> None:
    assert ENGLISH.terms(text) == Analyzer("english").terms(text)
    assert Analyzer("none").terms(text.lower()) == Analyzer("none").terms(text)


def test_threads_may_share_an_analyzer() -> None:
    texts = [f"running shoes model{i} {i} volts" for i in range(200)]
    expected = [Analyzer("english").terms(text) for text in texts]
    shared = Analyzer("english")
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(shared.terms, texts)) == expected


def test_trigrams_are_distinct_sorted_and_know_word_ends() -> None:
    grams = trigrams(["cat", "cat"])  # ' ca', 'cat', 'at ', and between the words 't c'
    assert len(grams) == 4
    assert np.all(np.diff(grams) > 0)
    assert set(trigrams(["cat"])) < set(grams)


@pytest.mark.parametrize("words", [[], ["a"], ["ü"], ["咖", "啡"]])
def test_trigrams_of_short_words_are_those_of_the_padded_text(words: list[str]) -> None:
    assert len(trigrams(words)) == len(
        {padded(words)[i : i + 3] for i in range(len(padded(words)) - 2)}
    )


def test_trigram_hashes_rarely_collide() -> None:
    letters = "abcdefghijklmnopqrstuvwxyz0123456789 ./"
    texts = {a + b + c for a in letters for b in letters for c in letters}  # 59,319
    assert len({int(trigram_hashes(text)[0]) for text in texts}) > len(texts) - 20


def test_trigram_hashes_are_fixed_because_segments_store_them() -> None:
    assert trigram_hashes(" cat ").tolist() == trigram_hashes(" cat ").tolist()
    assert trigram_hashes("ab").dtype == np.int32
    assert len(trigram_hashes("ab")) == 0
