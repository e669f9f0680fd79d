"""Training examples: the sample shop's misspelt queries, and queries of words that have to be copied.

Three kinds, mixed: `sample` queries with their repairs, expansions and segments; `mixed` ones with unknown words put
among them; `unseen` ones of unknown words alone, whose answer is the query with no expansion and no segment, because
a model that does not know a word knows neither another name for it nor its type.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from typing import Literal, Protocol

from aisle.catalog.sample import RewriteExample, generate_queries
from aisle.rewrite.training.unseen import invent_code, invent_measure, pick_unseen
from aisle.stages import Rewrite, Segment

Kind = Literal["sample", "mixed", "unseen", "shop"]
"""`shop` are those of `aisle.rewrite.training.shop`, the others are made here."""
_KINDS: tuple[Kind, ...] = ("sample", "mixed", "unseen")
_WEIGHTS = (0.6, 0.15, 0.25)
_OTHER_USES = (
    "for {}",
    "with {}",
    "{} replacement",
    "{} kit",
    "{} set",
    "small {}",
    "best {}",
    "new {}",
)


@dataclass(frozen=True, slots=True)
class Example:
    """A query as typed (`rewrite.original`) and the answer wanted; a segment for each word of its query, or none."""

    kind: Kind
    rewrite: Rewrite


class Source(Protocol):
    """Where examples come from."""

    def __call__(self, n: int, seed: int) -> Iterator[Example]:
        """`n` examples, the same for the same arguments; another seed gives others."""


def generate_examples(
    n: int, seed: int, *, held_out: bool = False, kinds: tuple[Kind, ...] = _KINDS
) -> Iterator[Example]:
    """Yields `n` examples, the same for the same arguments.

    Args:
        n: how many.
        seed: another seed gives other queries; training and measuring use different ones.
        held_out: draw the unseen words from the tenth that training never shows.
        kinds: which kinds to draw from, in their usual proportion.
    """
    rng = random.Random(f"examples {seed}")
    weights = [_WEIGHTS[_KINDS.index(kind)] for kind in kinds]
    drawn = generate_queries(n, seed)
    for source in drawn:
        kind = rng.choices(kinds, weights)[0]
        if kind == "sample":
            yield Example(kind, _word_by_word(source))
        elif kind == "mixed":
            yield Example(kind, _with_unseen(_word_by_word(source), rng, held_out))
        else:
            yield Example(kind, Rewrite.unchanged(_unseen_query(rng, held_out)))


@cache
def sample_vocabulary() -> frozenset[str]:
    """The words of the sample's corrected queries and expansions; none of them counts as unseen."""
    words: set[str] = set()
    for example in generate_queries(30_000, seed=0):
        words.update(example.corrected.split())
        for expansion in example.expansions:
            words.update(expansion.split())
    return frozenset(words)


def _word_by_word(source: RewriteExample) -> Rewrite:
    segments = [Segment(word, name) for text, name in source.segments for word in text.split()]
    return Rewrite(source.noisy, source.corrected, source.expansions, tuple(segments))


def _with_unseen(rewrite: Rewrite, rng: random.Random, held_out: bool) -> Rewrite:
    """The same query with an unknown maker before it, or an unknown code or measure before or after it."""
    role = rng.choices(("brand", "model", "size"), (6, 3, 3))[0]
    if role == "brand":
        added = _unseen_word(rng, held_out)
    else:
        added = invent_code(rng) if role == "model" else invent_measure(rng)
    in_front = role == "brand" or rng.random() < 0.4
    parts = tuple(Segment(word, role) for word in added.split())

    def place(text: str) -> str:
        return f"{added} {text}" if in_front else f"{text} {added}"

    return Rewrite(
        original=place(rewrite.original),
        query=place(rewrite.query),
        expansions=tuple(place(text) for text in rewrite.expansions),
        segments=(*parts, *rewrite.segments) if in_front else (*rewrite.segments, *parts),
    )


def _unseen_query(rng: random.Random, held_out: bool) -> str:
    words = [_unseen_word(rng, held_out) for _ in range(rng.choices((1, 2, 3, 4), (4, 5, 3, 1))[0])]
    if rng.random() < 0.25:
        words.insert(rng.randint(0, len(words)), invent_code(rng))
    if rng.random() < 0.3:
        words.insert(rng.randint(0, len(words)), invent_measure(rng))
    text = " ".join(words)
    return rng.choice(_OTHER_USES).format(text) if rng.random() < 0.15 else text


def _unseen_word(rng: random.Random, held_out: bool) -> str:
    known = sample_vocabulary()
    while True:
        word = pick_unseen(rng, held_out)
        if word not in known:
            return word
