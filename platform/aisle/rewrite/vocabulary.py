"""The shop's own words, as its titles spell them: how many titles hold a word, and which words stand together.

The index knows stems; a repaired query needs words that a person and an encoder can read. So the vocabulary is made
once, when a snapshot is loaded, from the titles and brands that the process holds anyway. Past `MAX_TITLES` rows it
reads an even sample: which word is meant is a matter of proportions. Memory: about 4 bytes for each word of each title
read and 12 for each distinct pair of neighbours; 54,667 titles took 7 MB, 44 MB while
it was made, and .7 s of CPU (2026-11-28, one core).
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Sequence
from itertools import count

import numpy as np
from numpy.typing import NDArray

from aisle.index.csr import distinct, offsets_of, within
from aisle.text import Analyzer

MAX_TITLES = 200_000
"""Titles read at most; an even sample of more."""

_LETTER_BITS = {letter: 1 << i for i, letter in enumerate("abcdefghijklmnopqrstuvwxyz")}
_OTHER_BIT = 1 << 26


class Vocabulary:
    """Words of a catalogue's titles with document frequencies, postings and neighbours. Read only, thread-safe.

    Attributes:
        words: by id, in order of appearance.
        id_of: the inverse.
        titles: how many were read.
        frequency: int32 (v,), titles that hold the word.
    """

    def __init__(self, texts: Iterable[str], analyzer: Analyzer) -> None:
        first_seen: defaultdict[str, int] = defaultdict(count().__next__)
        tokens, sizes = array("i"), array("i")
        for text in texts:
            ids = [first_seen[word] for word in analyzer.words(text)]
            tokens.extend(ids)
            sizes.append(len(ids))
        self.words = list(first_seen)
        self.id_of = dict(first_seen)
        self.titles = len(sizes)
        lengths = np.array(sizes, dtype=np.int64)
        flat = np.array(tokens, dtype=np.int64)
        self._postings, self._offsets = _postings(flat, lengths, len(self.words))
        self.frequency: NDArray[np.int32] = np.diff(self._offsets).astype(np.int32)
        self._pairs, self._pair_counts = _neighbours(flat, lengths, len(self.words))
        self._sizes = np.array([len(word) for word in self.words], dtype=np.int16)
        self._masks = np.array([letter_mask(word) for word in self.words], dtype=np.uint32)
        self._plain = np.array([word.isalpha() for word in self.words], dtype=bool)

    def count(self, word: str) -> int:
        """Titles that hold a word."""
        at = self.id_of.get(word)
        return 0 if at is None else int(self.frequency[at])

    def together(self, word: str, other: str) -> int:
        """Titles that hold both words."""
        return self.all_together((word, other))

    def all_together(self, words: Sequence[str]) -> int:
        """Titles that hold every one of some words; 0 for no words."""
        ids = [self.id_of.get(word) for word in set(words)]
        known = [each for each in ids if each is not None]
        if not known or len(known) < len(ids):
            return 0
        known.sort(key=lambda each: int(self.frequency[each]))
        rows = self._rows(known[0])
        for each in known[1:]:
            if not len(rows):
                break
            others = self._rows(each)  # never empty: a word is there because a title holds it
            at = np.minimum(np.searchsorted(others, rows), len(others) - 1)
            rows = rows[others[at] == rows]
        return len(rows)

    def in_a_row(self, first: str, second: str) -> int:
        """How often the second word follows the first."""
        a, b = self.id_of.get(first), self.id_of.get(second)
        if a is None or b is None or not len(self._pairs):
            return 0
        key = a * len(self.words) + b
        at = min(int(np.searchsorted(self._pairs, key)), len(self._pairs) - 1)
        return int(self._pair_counts[at]) if self._pairs[at] == key else 0

    def resembling(self, word: str, edits: int, least: int) -> list[str]:
        """Words of letters alone, in at least `least` titles, that so many edits may make of `word`.

        A superset: lengths and sets of letters are compared, 40 microseconds for 20,000 words. An edit changes the
        set by at most two letters, a swap of neighbours not at all.
        """
        wanted = (
            self._plain
            & (self.frequency >= least)
            & (np.abs(self._sizes - len(word)) <= edits)
            & (np.bitwise_count(self._masks ^ np.uint32(letter_mask(word))) <= 2 * edits)
        )
        return [self.words[i] for i in np.flatnonzero(wanted)]

    def _rows(self, word: int) -> NDArray[np.int32]:
        return self._postings[self._offsets[word] : self._offsets[word + 1]]


def letter_mask(word: str) -> int:
    """The set of a word's letters as bits; every character past a to z shares one."""
    mask = 0
    for letter in word:
        mask |= _LETTER_BITS.get(letter, _OTHER_BIT)
    return mask


def _postings(
    tokens: NDArray[np.int64], lengths: NDArray[np.int64], words: int
) -> tuple[NDArray[np.int32], NDArray[np.int64]]:
    """Titles of each word, ascending, and where each word's begin (v + 1,)."""
    n = max(len(lengths), 1)
    rows = np.repeat(np.arange(len(lengths)), lengths)
    pairs = distinct(tokens * n + rows)
    return (pairs % n).astype(np.int32), offsets_of(np.bincount(pairs // n, minlength=words))


def _neighbours(
    tokens: NDArray[np.int64], lengths: NDArray[np.int64], words: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """Distinct (word, next word) as word * v + next, ascending, and how often each occurs."""
    place = within(lengths)
    followed = np.flatnonzero(place[1:] > 0)
    keys, counts = np.unique(tokens[followed] * words + tokens[followed + 1], return_counts=True)
    return keys, counts.astype(np.int32)
