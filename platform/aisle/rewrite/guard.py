"""A rewrite is verified against the catalogue before it is searched.

A language model corrects what it has not seen as readily as what is wrong. The catalogue knows better: a correction is
used only if it turns words that no product holds into words that some do and drops no word that some product holds, and
an expansion only if every word of it occurs. So a brand or a model number that the shop sells can never be "repaired"
away.
"""

from __future__ import annotations

from aisle.index.statistics import Statistics
from aisle.stages import Rewrite
from aisle.text import Analyzer

_SHORTEST_JOINED = 3
"""Letters of a word that may be found again as the begin or end of a joined one: head phones, headphones."""


def verified(rewrite: Rewrite, statistics: Statistics, analyzer: Analyzer) -> Rewrite:
    """What of a rewrite the catalogue supports; the original query where nothing is."""
    expansions = tuple(
        text for text in rewrite.expansions if unknown_terms(text, statistics, analyzer) == 0
    )
    if analyzer.terms(rewrite.query) == analyzer.terms(rewrite.original):
        # Another case, spacing or ending corrects nothing: what was typed is searched.
        return Rewrite(rewrite.original, rewrite.original, expansions, rewrite.segments)
    fewer_unknown = unknown_terms(rewrite.query, statistics, analyzer) < unknown_terms(
        rewrite.original, statistics, analyzer
    )
    if fewer_unknown and _keeps_known_words(rewrite, statistics, analyzer):
        return Rewrite(rewrite.original, rewrite.query, expansions, rewrite.segments)
    # The model misread the query, so its expansions and segments speak of another one.
    return Rewrite.unchanged(rewrite.original)


def unknown_terms(text: str, statistics: Statistics, analyzer: Analyzer) -> int:
    """How many terms of a text no product holds, repeats included."""
    return sum(term not in statistics.index_of for term in analyzer.terms(text))


def _keeps_known_words(rewrite: Rewrite, statistics: Statistics, analyzer: Analyzer) -> bool:
    """Is every word that the catalogue knows still there, as it was or as part of a joined word?"""
    after_terms, after_words = set(analyzer.terms(rewrite.query)), analyzer.words(rewrite.query)
    words = analyzer.words(rewrite.original)
    for word, term in zip(words, analyzer.terms(rewrite.original), strict=True):
        if term not in statistics.index_of or term in after_terms:
            continue
        if len(word) < _SHORTEST_JOINED:
            return False
        if not any(each.startswith(word) or each.endswith(word) for each in after_words):
            return False
    return True
