"""Entities of a tagged query and how well two taggings agree: entity F1 as seqeval counts it.

An entity is a span with its type, and only an exact match counts. BIO tags as in QueryNER: `B-` begins an entity,
`I-` goes on, `O` is outside. An `I-` that follows nothing of its type begins an entity, as conlleval has it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

Entity = tuple[int, int, str]
"""First word, one past the last, type."""


@dataclass(frozen=True, slots=True)
class EntityScore:
    """Micro-averaged agreement over all queries; 0 where nothing was found or wanted."""

    precision: float
    recall: float
    f1: float
    wanted: int
    """Entities of the reference."""


def entities(tags: Sequence[str]) -> list[Entity]:
    """The entities of one query, in order.

    >>> entities(["B-color", "O", "B-creator", "I-creator", "I-color"])
    [(0, 1, 'color'), (2, 4, 'creator'), (4, 5, 'color')]
    """
    found: list[Entity] = []
    begin, kind = 0, ""
    for at, tag in enumerate([*tags, "O"]):
        mark, _, name = tag.partition("-")
        if kind and (mark != "I" or name != kind):
            found.append((begin, at, kind))
            kind = ""
        if mark != "O" and not kind:
            begin, kind = at, name
    return found


def entity_score(pairs: Iterable[tuple[Sequence[str], Sequence[str]]]) -> EntityScore:
    """Scores (wanted tags, found tags) of many queries."""
    return scores_by_type(pairs)["all"]


def scores_by_type(
    pairs: Iterable[tuple[Sequence[str], Sequence[str]]],
) -> dict[str, EntityScore]:
    """The score of every type that occurs, most wanted first, and of `all` types together."""
    wanted: Counter[str] = Counter()
    found: Counter[str] = Counter()
    right: Counter[str] = Counter()
    for reference, answer in pairs:
        a, b = entities(reference), entities(answer)
        for each in a:
            wanted.update((each[2], "all"))
        for each in b:
            found.update((each[2], "all"))
        for each in set(a) & set(b):
            right.update((each[2], "all"))
    names = sorted({"all", *wanted, *found}, key=lambda name: (-wanted[name], name != "all", name))
    return {name: _score(right[name], found[name], wanted[name]) for name in names}


def _score(right: int, found: int, wanted: int) -> EntityScore:
    precision = right / found if found else 0.0
    recall = right / wanted if wanted else 0.0
    both = found + wanted
    return EntityScore(precision, recall, 2 * right / both if both else 0.0, wanted)
