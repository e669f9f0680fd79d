"""What a language model is told: first to write guidelines for one query, then to grade one product by them.

The two steps are those of Retrieve, Annotate, Evaluate, Repeat: guidelines written for the query make a model say what
it takes the shopper to want before it sees any product, and every product of the query is then held against the same
words.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MEANINGS: Mapping[int, tuple[str, ...]] = {
    2: ("does not answer the query", "answers the query"),
    3: ("is not what the shopper looks for", "is close to it", "is exactly it"),
    4: (
        "has nothing to do with the query",
        "is related, but not what the shopper looks for",
        "would do",
        "is exactly what the shopper looks for",
    ),
}
"""Number of levels -> what each means, lowest first; other scales are explained by their two ends."""

_PRODUCT_CHARS = 600
_QUERY_CHARS = 200


def guidelines_prompt(query: str, levels: Sequence[float]) -> str:
    """Asks for the guidelines of one query."""
    return (
        f"A shopper typed this query into a shop's search: {_quoted(query, _QUERY_CHARS)}\n"
        "Write grading guidelines for it in at most five short lines: the kind of product that is wanted, the brand, "
        "size, colour or other property that must match, what would be acceptable instead, and what would be wrong.\n"
        f"The grades are:\n{_scale(levels)}\n"
        "Guidelines:\n"
    )


def grade_prompt(query: str, guidelines: str, product: str, levels: Sequence[float]) -> str:
    """Asks for the grade of one product; everything that a query's products share comes first, to be cached."""
    return (
        f"A shopper typed this query into a shop's search: {_quoted(query, _QUERY_CHARS)}\n"
        f"The grades are:\n{_scale(levels)}\n"
        f"Guidelines for this query:\n{guidelines.strip()}\n\n"
        f"Product: {_quoted(product, _PRODUCT_CHARS)}\n"
        f"Answer with one grade, {levels[0]:g} to {levels[-1]:g}.\n"
        "Grade: "
    )


def _scale(levels: Sequence[float]) -> str:
    meanings = MEANINGS.get(len(levels))
    if meanings is None:
        return f"{levels[0]:g}: has nothing to do with the query\n{levels[-1]:g}: is exactly what is looked for"
    return "\n".join(
        f"{level:g}: the product {meaning}" for level, meaning in zip(levels, meanings, strict=True)
    )


def _quoted(text: str, limit: int) -> str:
    """One line in quotation marks, cut; what a catalogue holds must not look like a line of instructions."""
    line = " ".join(text.split()).replace('"', "'")
    return f'"{line[:limit]}"'
