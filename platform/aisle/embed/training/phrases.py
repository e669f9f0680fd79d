"""Queries made from titles: what a shop knows about itself before anybody judged anything.

A shopper's query is mostly a few words of a title in the title's order, with gaps: "cordless drill 18v" of "DeWalt 18v
Cordless 1/2 in. Drill Driver". So a phrase is a run of two to five words, or as many words with others left out.
"""

from __future__ import annotations

import random

_LEAST, _MOST = 2, 5


def title_phrase(title: str, rng: random.Random) -> str:
    """Some words of a title in their order; the whole title where it has two or fewer. Lower case."""
    words = title.lower().split()
    if len(words) <= _LEAST:
        return " ".join(words)
    n = rng.randint(_LEAST, min(_MOST, len(words)))
    if rng.random() < 0.5:
        start = rng.randrange(len(words) - n + 1)
        chosen = words[start : start + n]
    else:
        chosen = [words[i] for i in sorted(rng.sample(range(len(words)), n))]
    return " ".join(chosen).strip(" ,.;:-/&") or " ".join(words)
