"""Text to index terms: the one analyzer that catalogue, queries and ranker features share.

tantivy gets terms that are already analysed (its white-space tokenizer only splits them), so that BM25, the forward
index and the features can never disagree on what a word is. Stop words and single characters are kept: in a title of
ten words they carry meaning. Decimals and fractions stay whole (`1.5`, `3/4`), a number glued to its unit is split
(`12v` -> `12 v`) and spellings of one unit become one term, because shoppers and titles rarely agree on them.
"""

from __future__ import annotations

import re
import threading
import unicodedata
from collections.abc import Iterable

import numpy as np
import Stemmer
from numpy.typing import NDArray

_MARKS = re.compile(r"[\"'’′″”]")
_MIXED_FRACTION = re.compile(r"(?<=\d)(?=[¼-¾⅐-⅞])")  # 1½ is 1 1/2, not 11/2
_INCH_MARK = re.compile(r"(?<=\d)\s*(?:\"|''|″|”)")
_FOOT_MARK = re.compile(r"(?<=\d)\s*['′’](?![a-z])")
_APOSTROPHE = re.compile(r"(?<=\w)['’](?=\w)")

_UNITS = {
    "in": ("inch", "inches"),
    "ft": ("foot", "feet"),
    "yd": ("yard", "yards"),
    "lb": ("lbs", "pound", "pounds"),
    "oz": ("ounce", "ounces"),
    "gal": ("gallon", "gallons"),
    "qt": ("quart", "quarts"),
    "v": ("volt", "volts"),
    "w": ("watt", "watts"),
    "a": ("amp", "amps"),
    "mm": ("millimeter", "millimeters", "millimetre", "millimetres"),
    "cm": ("centimeter", "centimeters", "centimetre", "centimetres"),
    "m": ("meter", "meters", "metre", "metres"),
    "kg": ("kilogram", "kilograms", "kilo", "kilos"),
    "g": ("gram", "grams"),
    "ml": ("milliliter", "milliliters", "millilitre", "millilitres"),
    "l": ("liter", "liters", "litre", "litres"),
    "gb": ("gigabyte", "gigabytes", "gig"),
    "tb": ("terabyte", "terabytes"),
    "sq": ("square",),
}
UNITS = frozenset(_UNITS)
"""Terms that name a unit of measure."""
_UNIT_OF = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings}

# A decimal or fraction; a number whose word ends in one to three letters or a unit (they then match as a word); a word.
_TOKEN = re.compile(
    rf"\d+(?:[./]\d+)+|\d+(?=(?:[a-z]{{1,3}}|{'|'.join(_UNIT_OF)})(?![^\W_]))|[^\W_]+"
)

_HASH = np.array([0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D], dtype=np.uint32)
_MAX_STEMS = 1_000_000


class Analyzer:
    r"""Turns text into terms; deterministic and safe to share between threads.

    >>> Analyzer("english").terms('Kids\' Running Shoes 12V 3/4"')
    ['kid', 'run', 'shoe', '12', 'v', '3/4', 'in']
    """

    def __init__(self, stemmer: str = "english") -> None:
        self.stemmer = stemmer
        self._stems = _Stems(stemmer)

    def words(self, text: str) -> list[str]:
        """Lower-cased, accent-free words in order, before stemming."""
        text = text.lower()
        if not text.isascii():
            text = _MIXED_FRACTION.sub(" ", text)
            text = unicodedata.normalize("NFKD", text).lower().replace("\u2044", "/")
            text = "".join(c for c in text if not unicodedata.combining(c))
        if _MARKS.search(text):  # most texts hold none, and one search is cheaper than three
            text = _INCH_MARK.sub(" in ", text)
            text = _FOOT_MARK.sub(" ft ", text)
            text = _APOSTROPHE.sub("", text)
        return _TOKEN.findall(text)

    def stems(self, words: Iterable[str]) -> list[str]:
        """Index terms of some words, in order."""
        return list(map(self._stems.__getitem__, words))

    def terms(self, text: str) -> list[str]:
        """Index terms in order, with repeats; empty for a text without letters or digits."""
        return self.stems(self.words(text))


class _Stems(dict[str, str]):
    """Word -> term, learned on first sight: a catalogue repeats its words, and a look-up is far cheaper than a stem."""

    def __init__(self, stemmer: str) -> None:
        super().__init__()
        self._stem = Stemmer.Stemmer(stemmer).stemWord if stemmer != "none" else str
        self._lock = threading.Lock()  # Snowball objects are not safe to share between threads

    def __missing__(self, word: str) -> str:
        with self._lock:
            stem: str = _UNIT_OF.get(word) or self._stem(word)
            if len(self) > _MAX_STEMS:
                self.clear()  # ids and numbers never repeat; the cache must not grow with the catalogue
            self[word] = stem
        return stem


def trigrams(words: Iterable[str]) -> NDArray[np.int32]:
    """Sorted distinct hashes of the letter trigrams of some words, each padded with a blank: int32 (g,).

    >>> len(trigrams(["cat"]))  # ' ca', 'cat', 'at '
    3
    """
    hashes = np.sort(trigram_hashes(padded(words)))
    first = np.ones(len(hashes), dtype=bool)
    np.not_equal(hashes[1:], hashes[:-1], out=first[1:])
    distinct: NDArray[np.int32] = hashes[first]
    return distinct


def padded(words: Iterable[str]) -> str:
    """One text with a blank around every word."""
    return f" {' '.join(words)} "


def trigram_hashes(text: str) -> NDArray[np.int32]:
    """A hash, 0 to 2^31 - 1, of every three neighbouring characters: int32 (len(text) - 2,), or empty."""
    codes = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), dtype=np.uint32)
    # Multiplicative hashing with odd constants of the golden ratio and xxHash; uint32 wraps around by intent.
    mixed = codes[:-2] * _HASH[0] + codes[1:-1] * _HASH[1] + codes[2:] * _HASH[2]
    mixed ^= mixed >> np.uint32(15)
    hashes: NDArray[np.int32] = ((mixed * _HASH[0]) >> np.uint32(1)).astype(np.int32)
    return hashes
