"""Texts to token ids to padded arrays, without a thread of its own.

Texts are tokenised one by one. `tokenizers`' batch call starts a thread pool as wide as the machine, which an actor
that asked for one CPU must not do; one by one it costs the same 40 us a text (20 tokens), about 1 % of encoding it.
Padding is always on the right and always masked, whatever the model's own habit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aisle.embed.spec import Side


class TextTokens:
    """Tokenises one kind of text: prefix before, special tokens around, cut at `side.max_tokens`."""

    def __init__(self, tokenizer_json: str, side: Side, pad_id: int) -> None:
        # A copy of its own: the cut is state of the tokenizer, and queries and documents differ in it.
        self._tokenizer = Tokenizer.from_str(tokenizer_json)
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(side.max_tokens)
        self._prefix = side.prefix
        self._pad_id = pad_id

    def ids(self, texts: Sequence[str]) -> list[list[int]]:
        """One list of ids a text, never empty: a text without tokens becomes one pad token."""
        return [
            self._tokenizer.encode(self._prefix + _valid(text)).ids or [self._pad_id]
            for text in texts
        ]


def pad(rows: Sequence[Sequence[int]], pad_id: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Gives ids and mask, both int64 (n, t) with t the longest row; the mask is 1 on tokens, 0 on padding."""
    lengths = np.fromiter((len(row) for row in rows), np.int64, len(rows))
    mask = np.arange(lengths.max()) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, np.int64)
    ids[mask] = np.concatenate([np.asarray(row, np.int64) for row in rows])
    return ids, mask.astype(np.int64)


def batches_by_length(
    rows: Sequence[Sequence[int]], *, max_rows: int, max_tokens: int | None = None
) -> Iterator[list[int]]:
    """Groups row numbers so that a group's rows are about equally long; longest first, so memory peaks at once.

    A group holds at most `max_rows` rows and, padded, `max_tokens` tokens, yet always at least one row.
    """
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), i))
    start = 0
    while start < len(order):
        size = max_rows
        if max_tokens is not None:
            size = min(size, max(1, max_tokens // len(rows[order[start]])))
        yield order[start : start + size]
        start += size


def _valid(text: str) -> str:
    """Replaces lone surrogates, which JSON can carry and UTF-8 cannot, by a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
