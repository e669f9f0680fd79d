"""What a typing error costs: weighted edits between a typed word and the word meant.

A slip is not as likely as any other: letters are swapped, doubled or left out of a pair, vowels are confused, a
neighbouring key is hit; the first letter is nearly always right. The weights are chosen by hand, not counted; what
they give as they are is in jobs/LOG.md (2026-11-28). The plain count of edits is rapidfuzz's optimal string alignment
distance, which selects; this weighs the few that are left.
"""

from __future__ import annotations

_KEY_ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")
_VOWELS = frozenset("aeiouy")
_ALIKE = frozenset(
    {"ck", "kc", "cs", "sc", "sz", "zs", "fv", "vf", "mn", "nm", "gj", "jg", "kq", "qk", "td", "dt"}
)

SWAP = 0.7
"""Two neighbours in the wrong order."""
DOUBLED = 0.4
"""A letter twice where it stands once, or once where it stands twice."""
VOWEL = 0.7
"""A vowel for another, or one too few or too many."""
NEAR_KEY = 0.8
"""A key beside the one meant, or a letter that sounds alike."""
OTHER = 1.0
FIRST_LETTER = 0.6
"""More, where the first letter is not the one meant."""


def _neighbouring_keys() -> frozenset[str]:
    pairs: set[str] = set()
    for row, keys in enumerate(_KEY_ROWS):
        for i, key in enumerate(keys):
            beside = keys[i + 1 : i + 2]
            below = _KEY_ROWS[row + 1][max(i - 1, 0) : i + 1] if row + 1 < len(_KEY_ROWS) else ""
            pairs.update(a + b for each in beside + below for a, b in ((key, each), (each, key)))
    return frozenset(pairs)


_NEAR = _neighbouring_keys() | _ALIKE


def cost(typed: str, meant: str) -> float:
    """The cheapest edits that make `meant` of `typed`; 0 where they are equal.

    >>> cost("ligths", "lights") < cost("lighsp", "lights")
    True
    """
    before: list[float] = []
    previous = [0.0]
    for j in range(len(meant)):
        previous.append(previous[-1] + _insertion(meant, j))
    for i, letter in enumerate(typed):
        row = [previous[0] + _insertion(typed, i)]
        for j, wanted in enumerate(meant):
            best = min(
                previous[j] + (0.0 if letter == wanted else _substitution(letter, wanted)),
                previous[j + 1] + _insertion(typed, i),
                row[j] + _insertion(meant, j),
            )
            if i and j and letter == meant[j - 1] and typed[i - 1] == wanted and letter != wanted:
                best = min(best, before[j - 1] + SWAP)
            row.append(best)
        before, previous = previous, row
    return previous[-1] + (FIRST_LETTER if typed[:1] != meant[:1] else 0.0)


def _insertion(word: str, at: int) -> float:
    """A letter that stands in one of the two words only."""
    letter = word[at]
    if (at and word[at - 1] == letter) or word[at + 1 : at + 2] == letter:
        return DOUBLED
    return VOWEL if letter in _VOWELS else OTHER


def _substitution(letter: str, wanted: str) -> float:
    if letter in _VOWELS and wanted in _VOWELS:
        return VOWEL
    return NEAR_KEY if letter + wanted in _NEAR else OTHER
