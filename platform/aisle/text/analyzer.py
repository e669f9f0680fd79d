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
import zlib

import numpy as np
import Stemmer
from numpy.typing import NDArray

_TOKEN = re.compile(r"\d+(?:[./]\d+)+|[^\W_]+")
_NUMBER_WITH_UNIT = re.compile(r"(\d+)([a-z]{1,3})")
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
_UNIT_OF = {spelling: unit for unit, spellings in _UNITS.items() for spelling in spellings}


class Analyzer:
    """Turns text into terms; deterministic and safe to share between threads.

    >>> Analyzer("english").terms('Kids\\' Running Shoes 12V 3/4"')
    ['kid', 'run', 'shoe', '12', 'v', '3/4', 'in']
    """

    def __init__(self, stemmer: str = "english") -> None:
        self.stemmer = stemmer
        self._stem = Stemmer.Stemmer(stemmer).stemWord if stemmer != "none" else str
        self._lock = threading.Lock()  # Snowball objects are not safe to share between threads
        self._stems: dict[str, str] = {}

    def words(self, text: str) -> list[str]:
        """Lower-cased, accent-free words in order, before stemming."""
        text = unicodedata.normalize("NFKD", text.lower())
        if not text.isascii():
            text = "".join(c for c in text if not unicodedata.combining(c))
        text = _INCH_MARK.sub(" in ", text)
        text = _FOOT_MARK.sub(" ft ", text)
        text = _APOSTROPHE.sub("", text)
        words: list[str] = []
        for token in _TOKEN.findall(text):
            glued = _NUMBER_WITH_UNIT.fullmatch(token)
            if glued:
                words.extend(glued.groups())
            else:
                words.append(token)
        return words

    def terms(self, text: str) -> list[str]:
        """Index terms in order, with repeats; empty for a text without letters or digits."""
        return [self._stems.get(word) or self._learn(word) for word in self.words(text)]

    def _learn(self, word: str) -> str:
        with self._lock:
            stem = _UNIT_OF.get(word) or self._stem(word)
            if len(self._stems) > 1_000_000:
                self._stems.clear()  # ids and numbers never repeat; the cache must not grow with the catalogue
            self._stems[word] = stem
        return stem


def trigrams(text: str) -> NDArray[np.int32]:
    """Sorted distinct hashes of a text's letter trigrams, each word padded with a blank: int32 (g,).

    >>> len(trigrams("cat"))  # ' ca', 'cat', 'at '
    3
    """
    padded = " " + " ".join(_TOKEN.findall(text.lower())) + " "
    grams = {zlib.crc32(padded[i : i + 3].encode()) & 0x7FFFFFFF for i in range(len(padded) - 2)}
    return np.array(sorted(grams), dtype=np.int32)
