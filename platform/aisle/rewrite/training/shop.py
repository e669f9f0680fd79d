"""A shop's own words as training examples: queries and titles, misspelt and as they are, and other names for things.

What is meant by a query is taken from the catalogue: a query of known words is right as it is, one with an unknown word
is what spelling repair makes of it, and one that nothing repairs is left out. Another name for a thing is a phrase that
most products have in common which people called relevant for the query, and that the query does not say; whether it
helps is for search feedback to find out (`aisle.rewrite.training.feedback`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aisle.catalog.sample.typing_errors import misspell
from aisle.index.forward import BRAND, FIELDS
from aisle.index.statistics import Statistics
from aisle.rewrite.guard import unknown_terms
from aisle.rewrite.prompt import MAX_EXPANSIONS, is_too_long, normalise
from aisle.rewrite.spelling import SpellingRepair
from aisle.rewrite.training.examples import Example
from aisle.stages import Rewrite
from aisle.text import Analyzer

_QUERY_SHARE = 0.6
"""Of the examples; the rest are excerpts of titles, whose words no query may have yet."""
_MISSPELT_SHARE = 0.5
_LONGEST_EXCERPT = 5
_MOST_A_BRAND = 0.5
"""A term that more than this share of its products have as their brand names a maker."""


@dataclass(frozen=True)
class ShopExamples:
    """Yields examples, the same for the same arguments; a `Source` of `train`."""

    queries: tuple[Rewrite, ...]
    """As typed (`original`), as meant (`query`), with the expansions to be learnt; normalised."""
    titles: tuple[str, ...]
    """Normalised."""

    def __call__(self, n: int, seed: int) -> Iterator[Example]:
        """`n` examples; half of them with typing errors beyond those that the shoppers made."""
        rng = random.Random(f"shop {seed}")
        for _ in range(n):
            if self.queries and (not self.titles or rng.random() < _QUERY_SHARE):
                rewrite = rng.choice(self.queries)
            else:
                rewrite = Rewrite.unchanged(excerpt(rng.choice(self.titles), rng))
            if rng.random() < _MISSPELT_SHARE:
                typed = normalise(misspell(rewrite.query, rng))
                rewrite = Rewrite(typed, rewrite.query, rewrite.expansions)
            yield Example("shop", rewrite)


def shop_examples(
    texts: Sequence[str],
    relevant: Mapping[str, Sequence[str]],
    titles: Sequence[str],
    repair: SpellingRepair,
    statistics: Statistics,
    analyzer: Analyzer,
) -> ShopExamples:
    """Builds the examples of a shop.

    Args:
        texts: training queries as typed.
        relevant: titles of the products that people called relevant, by query as typed.
        titles: of the catalogue.
        repair: the snapshot's.
        statistics: the snapshot's.
        analyzer: the snapshot's.
    """
    queries = []
    for text in texts:
        typed = normalise(text)
        meant = normalise(repair.repair(typed).query)
        if not meant or is_too_long(typed) or unknown_terms(meant, statistics, analyzer):
            continue
        other = other_names(meant, relevant.get(text, ()), statistics, analyzer)
        queries.append(Rewrite(typed, meant, other))
    normalised = (normalise(title) for title in titles)
    return ShopExamples(tuple(queries), tuple(each for each in normalised if each))


def other_names(
    query: str, titles: Sequence[str], statistics: Statistics, analyzer: Analyzer
) -> tuple[str, ...]:
    """Phrases of one or two words that at least two and half of the titles hold, and the query not; the rarest first.

    Makers and numbers are nobody's other name: a shopper who names none wants any.
    """
    said = set(analyzer.terms(query))
    held: Counter[str] = Counter()
    for title in titles:
        words = [word.strip(",.;:()") for word in normalise(title).split()]
        phrases = {*words, *(f"{a} {b}" for a, b in zip(words, words[1:], strict=False))}
        held.update(each for each in phrases if _may_name(each, said, statistics, analyzer))
    wanted = max(2.0, len(titles) / 2)
    common = [phrase for phrase, count in held.items() if count >= wanted]
    common.sort(
        key=lambda each: (-held[each] * _rarity(each, statistics, analyzer), -len(each), each)
    )
    names: list[str] = []
    for phrase in common:
        # "sleeve anchor" says all that "sleeve" would add.
        if not any(set(phrase.split()) & set(name.split()) for name in names):
            names.append(phrase)
    return tuple(names[:MAX_EXPANSIONS])


def names_maker(term: str, statistics: Statistics) -> bool:
    """Whether most products that hold a term hold it in their brand."""
    at = statistics.index_of.get(term)
    if at is None:
        return False
    row = statistics.document_frequency[at]
    return bool(row[BRAND] > _MOST_A_BRAND * row[len(FIELDS)])


def excerpt(title: str, rng: random.Random) -> str:
    """Up to five words in a row, as a query might have them.

    >>> excerpt("drill", random.Random(1))
    'drill'
    """
    words = title.split()
    length = min(len(words), rng.randint(1, _LONGEST_EXCERPT))
    begin = rng.randint(0, len(words) - length)
    return " ".join(words[begin : begin + length])


def _may_name(phrase: str, said: set[str], statistics: Statistics, analyzer: Analyzer) -> bool:
    terms = analyzer.terms(phrase)
    return (
        bool(terms)
        and not said.intersection(terms)
        and not any(letter.isdigit() for letter in phrase)
        and all(len(term) > 2 for term in terms)
        and not any(names_maker(term, statistics) for term in terms)
    )


def _rarity(phrase: str, statistics: Statistics, analyzer: Analyzer) -> float:
    """The rarest term decides; near 0 for one that every product has."""
    held = statistics.frequencies(analyzer.terms(phrase))[:, len(FIELDS)]
    return float(1.0 - (held.min() / max(statistics.products, 1)) ** 0.5)
