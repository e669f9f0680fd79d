"""Queries with a tag for each word, as QueryNER publishes them: what the segmenter learns from and is measured on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aisle.errors import JudgmentError
from aisle.evaluation.table import read_parquet


@dataclass(frozen=True, slots=True)
class TaggedQuery:
    """Lower-case words and one BIO tag for each."""

    words: tuple[str, ...]
    tags: tuple[str, ...]


def read_tagged(url: str, split: str) -> list[TaggedQuery]:
    """Reads Parquet with `split, tokens, labels` from any fsspec URL.

    Raises:
        JudgmentError: a query has not as many labels as tokens, a label is no BIO tag, or the split has no query.
    """
    table = read_parquet(url, required=("split", "tokens", "labels"))
    found = []
    for row in table.to_pylist():
        if row["split"] != split:
            continue
        words, tags = row["tokens"], row["labels"]
        if len(words) != len(tags) or not words:
            raise JudgmentError(
                f"{url}: query {' '.join(words)!r} has {len(words)} tokens and {len(tags)} labels; give one a token"
            )
        wrong = [tag for tag in tags if tag != "O" and tag[:2] not in ("B-", "I-")]
        if wrong:
            raise JudgmentError(f"{url}: label {wrong[0]!r}; allowed are O, B-<type>, I-<type>")
        found.append(TaggedQuery(tuple(word.lower() for word in words), tuple(tags)))
    if not found:
        splits = sorted(set(table["split"].to_pylist()))
        raise JudgmentError(f"{url}: no query of split {split!r}; there are {splits}")
    return found


def tags_of(queries: Sequence[TaggedQuery]) -> tuple[str, ...]:
    """Every tag that the queries' types make: `O`, then B and I of each type by name."""
    types = sorted({tag[2:] for query in queries for tag in query.tags if tag != "O"})
    return ("O", *(f"{mark}-{name}" for name in types for mark in "BI"))
