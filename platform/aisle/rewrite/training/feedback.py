"""Learning from search feedback: several rewrites a query, each worth what the shop's own retrieval makes of it.

After LESER: a group of answers is sampled for every training query, each is searched and rewarded, and the model learns
from the best of each group, if that did better than the query as typed (rejection sampling). Where none did, what it
learns is to leave the query alone; so it comes to rewrite only where that is expected to help. Rules that no search
measures enter the reward too: brands, numbers and units are kept, and nothing rambles.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.index.statistics import Statistics
from aisle.rewrite.parse import Parsed
from aisle.rewrite.training.examples import Example
from aisle.rewrite.training.shop import ShopExamples, names_maker
from aisle.stages import Rewrite
from aisle.text import Analyzer

Floats = NDArray[np.float64]

MARGIN = 0.01
"""By how much an answer has to beat the query as typed: the mean of recall@100 and nDCG@10 moves by chance too."""
_FAULT_COSTS = 0.2
_RULE_COSTS = 0.1
_EXPANSION_COSTS = 0.002
"""Every further term is searched; of two answers that find alike the shorter one is better."""
_LONGEST_EXPANSION = 4
_LESSON_SHARE = 0.5
"""Of the examples of a round; the rest are the shop's, so that spelling is not forgotten."""


@dataclass(frozen=True)
class Group:
    """A query's answers with what each is worth."""

    query: str
    """Normalised."""
    typed: float
    """Worth of the query as typed."""
    answers: tuple[Rewrite, ...]
    rewards: Floats
    """(g,) worth of each answer less what its faults cost."""

    @property
    def lesson(self) -> Rewrite:
        """The best answer where it beats the query as typed; else the query left alone."""
        if len(self.answers):
            best = int(np.argmax(self.rewards))
            if self.rewards[best] > self.typed + MARGIN:
                answer = self.answers[best]
                return Rewrite(self.query, answer.query, answer.expansions)
        return Rewrite.unchanged(self.query)


def costs(parsed: Parsed, statistics: Statistics, analyzer: Analyzer) -> float:
    """What an answer's form costs, in units of the reward.

    An answer that `parse` refuses costs most, although serving would drop it: it is a rewrite that was not made. Then
    every expansion that names a maker or a number which the query does not, or is longer than a name is.
    """
    if parsed.fault not in (None, "segments_dropped", "expansion_dropped"):
        return _FAULT_COSTS
    said = {*analyzer.terms(parsed.rewrite.original), *analyzer.terms(parsed.rewrite.query)}
    cost = _RULE_COSTS if parsed.fault == "expansion_dropped" else 0.0
    for text in parsed.rewrite.expansions:
        new = [term for term in analyzer.terms(text) if term not in said]
        broken = any(names_maker(term, statistics) for term in new) or any(
            letter.isdigit() for term in new for letter in term
        )
        cost += _RULE_COSTS * (broken or len(text.split()) > _LONGEST_EXPANSION)
        cost += _EXPANSION_COSTS
    return cost


@dataclass(frozen=True)
class Lessons:
    """The examples of a round: what feedback taught, among the shop's own. A `Source` of `train`."""

    lessons: tuple[Rewrite, ...]
    shop: ShopExamples

    def __call__(self, n: int, seed: int) -> Iterator[Example]:
        """`n` examples, the same for the same arguments."""
        rng = np.random.default_rng(seed)
        for example in self.shop(n, seed):
            if self.lessons and rng.random() < _LESSON_SHARE:
                yield Example("shop", self.lessons[int(rng.integers(len(self.lessons)))])
            elif example.rewrite.expansions:
                # Whether another name helps is what the lessons say; the supposition has served its time.
                typed, meant = example.rewrite.original, example.rewrite.query
                yield Example("shop", Rewrite(typed, meant))
            else:
                yield example


def choose_expand_below(
    titles: Sequence[int], gains: Floats, *, seed: int = 0, resamples: int = 2000
) -> tuple[int, float]:
    """Expansions are searched for queries whose words stand together in fewer than so many titles; 0: for none.

    The bound is chosen on queries that taught nothing: the one with the largest summed gain, and only if its bootstrap
    interval excludes losing; a rewrite that is not expected to help is not used.

    Args:
        titles: how many titles hold every word, one a query that was given expansions.
        gains: worth with the expansions less worth without, one a query.
        seed: of the bootstrap.
        resamples: of the bootstrap.

    Returns:
        The bound, and the summed gain of the queries below it.
    """
    held = np.asarray(titles, np.int64)
    rng = np.random.default_rng(seed)
    best, most = 0, 0.0
    for bound in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000_000_000):
        below = gains[held < bound]
        total = float(below.sum())
        if total <= most:
            continue
        drawn = below[rng.integers(len(below), size=(resamples, len(below)))].mean(axis=1)
        if float(np.percentile(drawn, 2.5)) > 0:
            best, most = bound, total
    return best, most
