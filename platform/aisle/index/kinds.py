"""What a term is by its spelling alone: a number, a unit, a word that connects. Bits, one byte a term."""

from __future__ import annotations

import re
from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from aisle.text.analyzer import UNITS

NUMERIC, UNIT, CONNECTOR = 1, 8, 16
"""A number by itself; a unit of measure; a word after which a title says what its product goes with or is made of."""

_NUMBER = re.compile(r"\d+(?:[./]\d+)*")
# As the stemmers leave them; only words that mean this wherever they stand. Other languages simply have no heads.
_CONNECTORS = frozenset(
    [
        *("with", "for", "in", "by", "from", "without", "w", "and", "compat", "fit"),
        *("mit", "fur", "ohne", "avec", "pour", "sans"),
        *("con", "para", "senza", "met", "voor", "zonder"),
    ]
)


def kind_of(term: str) -> int:
    """The bits of one term.

    >>> kind_of("12"), kind_of("ft"), kind_of("in") == UNIT | CONNECTOR
    (1, 8, True)
    """
    return (
        (NUMERIC if _NUMBER.fullmatch(term) else 0)
        | (UNIT if term in UNITS else 0)
        | (CONNECTOR if term in _CONNECTORS else 0)
    )


def kinds_of(terms: Iterable[str]) -> NDArray[np.uint8]:
    """The bits of some terms: uint8 (v,)."""
    return np.array([kind_of(term) for term in terms], dtype=np.uint8)
