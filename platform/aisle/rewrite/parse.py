"""From the model's text to a checked `Rewrite`; whatever a model writes, this never raises.

A wrong correction costs more than none, so an answer has to pass rules that look only at the two texts:

* keep-identifiers: every number, measure and code of the query stands unchanged in the correction (spaces and hyphens
  aside), and the correction brings in no digits of its own;
* near-the-original: the correction is a respelling, within `max_edits` of the query; another phrasing is an expansion.

An answer that fails one of them is dropped whole. Segments that do not fit the words, and expansions that repeat the
query or lose one of its numbers, are dropped alone. Every case has a name in `Fault`, for counting.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any, Literal

from aisle.catalog.sample import SEGMENT_TYPES
from aisle.rewrite.prompt import MAX_EXPANSIONS, MAX_QUERY_CHARS, normalise
from aisle.stages import Rewrite, Segment

Fault = Literal[
    "not_json",
    "wrong_shape",
    "too_long",
    "lost_identifier",
    "too_far",
    "segments_dropped",
    "expansion_dropped",
]
"""What was wrong with an answer. The last two leave the correction standing."""

_UNIT_WORDS = (
    "mm cm m km in inch inches ft feet yd oz lb lbs kg g mg ml cl l litre liter gal qt pt "
    "v volt volts w watt watts kw a amp amps ah mah hz khz mhz ghz db lm k gb tb mb mp psi bar rpm "
    "pack pcs piece pieces count ct x"
)
UNITS = frozenset(_UNIT_WORDS.split())
"""Words that stand behind a number and belong to it."""
_SEPARATORS = re.compile(r"[\s\-]+")
_DIGITS = re.compile(r"\d+")


@dataclass(frozen=True, slots=True)
class Parsed:
    """A usable rewrite and, where the answer was not fully good, the reason."""

    rewrite: Rewrite
    fault: Fault | None = None


def parse(query: str, text: str, types: Collection[str] = SEGMENT_TYPES) -> Parsed:
    """Checks one answer.

    Args:
        query: the shopper's query as it came; it is the rewrite's `original`, and its `query` too where the model
            changed nothing but letter case or spaces.
        text: what the model wrote; it may be anything.
        types: the segment types that an answer may use.
    """
    answer = _read(text)
    if isinstance(answer, str):
        return Parsed(Rewrite.unchanged(query), answer)
    corrected, proposed, named_types = answer
    normalised = normalise(query)
    if not keeps_identifiers(normalised, corrected):
        return Parsed(Rewrite.unchanged(query), "lost_identifier")
    allowed = max_edits(normalised)
    if edit_distance(normalised, corrected, allowed) > allowed:
        return Parsed(Rewrite.unchanged(query), "too_far")

    fault: Fault | None = None
    expansions = _usable_expansions(proposed, normalised, corrected)
    if len(expansions) < len(proposed):
        fault = "expansion_dropped"
    segments: tuple[Segment, ...] = ()
    if len(named_types) == len(corrected.split()) and all(name in types for name in named_types):
        segments = merge_words(corrected, named_types)
    elif named_types:
        fault = "segments_dropped"
    kept = query if corrected == normalised else corrected
    return Parsed(Rewrite(query, kept, expansions, segments), fault)


def merge_words(query: str, types: Sequence[str]) -> tuple[Segment, ...]:
    """Segments of a query from one type a word: neighbours of one type are one segment.

    >>> [segment.text for segment in merge_words("red usb cable", ["colour", "product", "product"])]
    ['red', 'usb cable']
    """
    pairs = zip(query.split(), types, strict=True)
    return tuple(
        Segment(" ".join(word for word, _ in run), name)
        for name, run in groupby(pairs, key=itemgetter(1))
    )


def keeps_identifiers(query: str, corrected: str) -> bool:
    """The rule keep-identifiers, on normalised texts.

    >>> keeps_identifiers("12 v xr-5500 batery", "12v xr-5500 battery")
    True
    >>> keeps_identifiers("xr-5500 batery", "xr-550 battery")
    False
    """
    if _DIGITS.findall(query) != _DIGITS.findall(corrected):
        return False
    dense = _SEPARATORS.sub("", corrected)
    return all(identifier in dense for identifier in _identifiers(query))


def max_edits(query: str) -> int:
    """Edits that still count as a correction: two, or one for each six characters of a longer query.

    Below four characters it is one, because two edits make any short word into any other.
    """
    return 1 if len(query) < 4 else max(2, len(query) // 6)


def edit_distance(a: str, b: str, limit: int) -> int:
    """Edits between two texts, a swap of neighbours being one; past `limit` any number above it.

    The restricted Damerau-Levenshtein distance: no part of the text is edited twice.

    >>> edit_distance("hte cable", "the cabel", 5)
    2
    """
    if abs(len(a) - len(b)) > limit:
        return limit + 1
    before: list[int] = []
    previous = list(range(len(b) + 1))
    for i, letter in enumerate(a, start=1):
        row = [i] + [0] * len(b)
        for j, other in enumerate(b, start=1):
            cost = previous[j - 1] + (letter != other)
            row[j] = min(previous[j] + 1, row[j - 1] + 1, cost)
            if i > 1 and j > 1 and letter == b[j - 2] and a[i - 2] == other:
                row[j] = min(row[j], before[j - 2] + 1)
        if min(row) > limit and min(previous) > limit:
            return limit + 1
        before, previous = previous, row
    return previous[-1]


def _read(text: str) -> tuple[str, list[str], list[str]] | Fault:
    """The three fields with texts normalised, or what is wrong with them."""
    try:
        answer: Any = json.loads(text)
    except (ValueError, RecursionError):
        return "not_json"
    if not isinstance(answer, dict) or set(answer) != {"q", "x", "s"}:
        return "wrong_shape"
    corrected, proposed, types = answer["q"], answer["x"], answer["s"]
    if not isinstance(corrected, str) or not _are_strings(proposed) or not _are_strings(types):
        return "wrong_shape"
    corrected = normalise(corrected)
    if not corrected:
        return "wrong_shape"
    if len(corrected) > MAX_QUERY_CHARS:
        return "too_long"
    return corrected, [normalise(item) for item in proposed], types


def _are_strings(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(item, str) for item in value)


def _identifiers(query: str) -> list[str]:
    """Words that hold a digit, each with a following unit: `["12v", "xr5500"]`; spaces and hyphens left out."""
    words = query.split()
    found = []
    for position, word in enumerate(words):
        if not any(c.isdigit() for c in word):
            continue
        following = words[position + 1] if position + 1 < len(words) else ""
        unit = following if word[-1].isdigit() and following in UNITS else ""
        found.append(_SEPARATORS.sub("", word + unit))
    return found


def _usable_expansions(proposed: list[str], query: str, corrected: str) -> tuple[str, ...]:
    digits = set(_DIGITS.findall(query))
    kept: list[str] = []
    for text in proposed:
        is_new = text not in ("", query, corrected, *kept)
        # It may bring in a number of its own: "a4 paper" is another name of printer paper.
        keeps_numbers = digits.issubset(_DIGITS.findall(text))
        if is_new and keeps_numbers and len(text) <= MAX_QUERY_CHARS:
            kept.append(text)
    return tuple(kept[:MAX_EXPANSIONS])
