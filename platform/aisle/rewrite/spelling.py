"""Spelling repair from the snapshot's own words: deterministic, without a model, a fraction of a millisecond.

Only a word that no product holds is touched, and only where a reading is good enough: a noisy channel (Kernighan,
Church and Gale, 1990) weighs how a word was probably mistyped (`aisle.rewrite.channel`), how many titles hold the word
meant, and how often those titles hold the query's other words. Readings of an unknown word are

* another word, up to three edits away for a long one: `medalions` -> `medallions`;
* two words: `frenchdoor` -> `french door`;
* one word with its neighbour: `charbroi l` -> `charbroil`;
* numbers and units apart: `20inx50in` -> `20 in x 50 in`, `17/8` -> `1 7/8`.

A word that holds a digit is never respelt: it is a measure or a model number. What is not known here: what a word
means; a wrong word that the shop sells stays.
"""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from rapidfuzz.distance import OSA

from aisle.index.statistics import Statistics
from aisle.rewrite import channel
from aisle.rewrite.parse import UNITS
from aisle.rewrite.vocabulary import Vocabulary
from aisle.text import Analyzer

Rule = Literal["respelt", "split", "joined", "numbers"]

MAX_WORDS = 16
"""Longer queries are left alone."""
_LONGEST_WORD = 32
_SHORTEST_WORD = 4
_SHORTEST_PART = 3
_SHORTEST_GLUED = 5
"""Letters of a word that may be glued to a number; fewer are a model's."""
_DIGITS_OR_LETTERS = re.compile(r"\d+|[^\W\d_]+")
_FRACTION = re.compile(r"(\d)(\d+)/(\d+)")
_BINDERS = frozenset({"x", "to", "by"})


@dataclass(frozen=True, slots=True)
class Repair:
    """One change of a query: the words as typed, the words meant, by which rule and how clearly."""

    typed: str
    meant: str
    rule: Rule
    margin: float
    """How far the reading is above leaving the word alone, in units of log probability."""


@dataclass(frozen=True, slots=True)
class Spelling:
    """A query after repair; `repairs` is empty where nothing was changed."""

    query: str
    repairs: tuple[Repair, ...] = ()


@dataclass(frozen=True, slots=True)
class SpellingWeights:
    """The policy's numbers, chosen on the training split of Home Depot; `jobs/LOG.md` has the tables."""

    edit: float = 2.5
    """What one edit costs; one of a long word costs less, see `length_relief`."""
    length_relief: float = 0.12
    """Share of an edit's cost that every letter past the sixth takes away, down to a half."""
    frequency: float = 0.7
    """Worth of the logarithm of how many titles hold the word."""
    context: float = 1.0
    """Worth of the logarithm of how much oftener than by chance those titles hold another word of the query."""
    context_limit: float = 5.0
    """The most that one other word may say."""
    split: float = 1.0
    """What putting a space in costs."""
    join: float = 1.0
    """What taking a space out costs."""
    least: float = -1.0
    """A reading below this is not taken."""
    understood: float = 3.0
    """How much more is asked of a reading where the typed word is one that the encoder knows: "cupboard" is no error,
    and the dense side finds what it means."""
    lead: float = 0.0
    """A reading that is not so far above the second best is not taken."""
    least_titles: int = 1
    """Words in fewer titles are never the word meant: they may be errors themselves."""


@dataclass(frozen=True, slots=True)
class _Reading:
    begin: int
    end: int
    """The words [begin, end) that it stands for."""
    meant: tuple[str, ...]
    rule: Rule
    score: float


class SpellingRepair:
    """Repairs queries with one snapshot's vocabulary. Deterministic; safe to call from several threads."""

    def __init__(
        self,
        vocabulary: Vocabulary,
        statistics: Statistics,
        analyzer: Analyzer,
        understood: Collection[str] = frozenset(),
        weights: SpellingWeights | None = None,
    ) -> None:
        """Takes what the snapshot knows.

        Args:
            vocabulary: the words that may be meant.
            statistics: of the whole catalogue; a word that is in them is left alone.
            analyzer: the catalogue's.
            understood: words that the encoder knows as such; see `SpellingWeights.understood`.
            weights: the policy's numbers.
        """
        self._vocabulary = vocabulary
        self._understood = understood
        self.statistics = statistics
        self._analyzer = analyzer
        self._weights = weights or SpellingWeights()

    def repair(self, query: str) -> Spelling:
        """The query with its unknown words repaired, or as it was typed where no reading is clearly better."""
        words = self._analyzer.words(query)
        if not 0 < len(words) <= MAX_WORDS or all(map(self._known, words)):
            return Spelling(query)
        repairs: list[Repair] = []
        at = 0
        while at < len(words):
            if self._known(words[at]) or not (best := self._best(words, at)):
                at += 1
                continue
            typed = " ".join(words[best.begin : best.end])
            repairs.append(Repair(typed, " ".join(best.meant), best.rule, round(best.score, 3)))
            words[best.begin : best.end] = best.meant
            at = best.begin + len(best.meant)
        return Spelling(" ".join(words), tuple(repairs)) if repairs else Spelling(query)

    def titles_with(self, query: str) -> int:
        """Titles that hold every word of a text: how well its words go together."""
        return self._vocabulary.all_together(self._analyzer.words(query))

    def _known(self, word: str) -> bool:
        return self._analyzer.stems((word,))[0] in self.statistics.index_of

    def _best(self, words: Sequence[str], at: int) -> _Reading | None:
        """The reading to take of the unknown word at a position, if any is clear."""
        if any(c.isdigit() for c in words[at]):
            return self._numbers(words, at)
        if len(words[at]) > _LONGEST_WORD:
            return None
        readings = [
            reading
            for rule in (self._respelt, self._split, self._joined)
            for reading in rule(words, at)
            if self._all_known(reading.meant)  # the titles read include dead rows
        ]
        readings.sort(key=lambda each: (-each.score, each.meant))
        least = self._weights.least
        if words[at] in self._understood:
            least += self._weights.understood
        if not readings or readings[0].score < least:
            return None
        best = readings[0]
        stems = self._analyzer.stems(best.meant)
        for other in readings[1:]:
            if best.score - other.score >= self._weights.lead:
                break
            # Two spellings of one index term, "medallion" and "medallions", do not compete.
            if self._analyzer.stems(other.meant) != stems and (best.begin, best.end) == (
                other.begin,
                other.end,
            ):
                return None
        return best

    def _respelt(self, words: Sequence[str], at: int) -> Iterator[_Reading]:
        typed = words[at]
        if len(typed) < _SHORTEST_WORD:
            return
        for meant, cost in self._near(typed):
            score = self._worth((meant,), words, at, at + 1) - cost
            yield _Reading(at, at + 1, (meant,), "respelt", score)

    def _near(self, typed: str) -> Iterator[tuple[str, float]]:
        """Words that `typed` may be meant for, with what the edits cost."""
        edits = 1 if len(typed) <= 4 else 2 if len(typed) <= 8 else 3
        weights = self._weights
        relief = max(0.5, 1 - weights.length_relief * max(0, len(typed) - 6))
        for meant in self._vocabulary.resembling(typed, edits, weights.least_titles):
            if OSA.distance(typed, meant, score_cutoff=edits) <= edits:
                yield meant, weights.edit * relief * channel.cost(typed, meant)

    def _split(self, words: Sequence[str], at: int) -> Iterator[_Reading]:
        typed = words[at]
        for cut in range(_SHORTEST_PART, len(typed) - _SHORTEST_PART + 1):
            first, second = typed[:cut], typed[cut:]
            counts = (self._vocabulary.count(first), self._vocabulary.count(second))
            if min(counts) < self._weights.least_titles:
                continue
            follows = self._vocabulary.in_a_row(first, second)
            # Two words that never stand together are a guess; together they count as one word of that frequency.
            score = self._worth((first, second), words, at, at + 1) - self._weights.split
            score += self._weights.frequency * (math.log1p(follows) - math.log1p(min(counts)))
            yield _Reading(at, at + 1, (first, second), "split", score)

    def _joined(self, words: Sequence[str], at: int) -> Iterator[_Reading]:
        for begin in (at - 1, at):
            if begin < 0 or begin + 2 > len(words):
                continue
            joined = words[begin] + words[begin + 1]
            if not joined.isalpha() or self._vocabulary.count(joined) < self._weights.least_titles:
                continue
            score = self._worth((joined,), words, begin, begin + 2) - self._weights.join
            yield _Reading(begin, begin + 2, (joined,), "joined", score)

    def _worth(self, meant: Sequence[str], words: Sequence[str], begin: int, end: int) -> float:
        """Log frequency of the rarest word meant, and how well the query's other known words go with it."""
        vocabulary, weights = self._vocabulary, self._weights
        rarest = min(meant, key=vocabulary.count)
        held = vocabulary.count(rarest)
        worth = weights.frequency * math.log1p(held)
        for word in {*words[:begin], *words[end:]}:
            alone = vocabulary.count(word)
            if alone == 0 or word in meant:
                continue
            expected = held * alone / max(vocabulary.titles, 1)
            together = vocabulary.together(rarest, word)
            # One made-up title on both sides: a pair never seen says little where none was to be expected.
            seen = math.log((together + 1) / (expected + 1))
            worth += weights.context * max(-weights.context_limit, min(weights.context_limit, seen))
        return worth

    def _numbers(self, words: Sequence[str], at: int) -> _Reading | None:
        """Numbers and what is glued to them apart, where every part is known and the letters are a unit or a word."""
        typed = words[at]
        if fraction := _FRACTION.fullmatch(typed):
            whole, above, below = fraction.groups()
            mixed = (whole, f"{above}/{below}")
            proper = int(above) < int(below)
            known = proper and self._all_known(mixed)
            return _Reading(at, at + 1, mixed, "numbers", 0.0) if known else None
        if not typed.isalnum():
            return None
        parts: tuple[str, ...] = ()
        for part in _DIGITS_OR_LETTERS.findall(typed):
            bound = part[-1] == "x" and part[:-1] in UNITS  # 20inx50in
            parts += (part[:-1], "x") if bound else (part,)
        if len(parts) < 2 or not self._all_known(parts):
            return None
        if not all(part.isdigit() or self._is_measure_word(part) for part in parts):
            return None
        return _Reading(at, at + 1, parts, "numbers", 0.0)

    def _is_measure_word(self, part: str) -> bool:
        return part in _BINDERS or part in UNITS or len(part) >= _SHORTEST_GLUED

    def _all_known(self, words: Sequence[str]) -> bool:
        return all(map(self._known, words))
