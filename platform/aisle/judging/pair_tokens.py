"""A (query, product) pair as token ids: query first, product second, each ended by the model's separator.

The product's end is cut, never the query's, down to the query's own bound. One by one and without a thread pool, as
in `aisle.embed.tokens`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

Ids = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Pair:
    """Token ids of both texts, specials included; types are 0 for the first `query_tokens` and 1 after."""

    ids: list[int]
    query_tokens: int

    def __len__(self) -> int:
        """Tokens."""
        return len(self.ids)


class PairTokens:
    """Tokenises pairs for one model. `max_tokens` bounds the whole pair, `query_max_tokens` the query's part."""

    def __init__(self, tokenizer_json: str, max_tokens: int, query_max_tokens: int) -> None:
        self._query = Tokenizer.from_str(tokenizer_json)
        self._query.no_padding()
        self._query.enable_truncation(query_max_tokens)
        self._product = Tokenizer.from_str(tokenizer_json)
        self._product.no_padding()
        self._product.no_truncation()
        self._max_tokens = max_tokens

    def pair(self, query: str, product: str) -> Pair:
        """Ids of one pair, at most `max_tokens`."""
        first = self._query.encode(_valid(query)).ids
        end = first[-1:]  # the separator, whatever the model calls it
        second = self._product.encode(_valid(product), add_special_tokens=False).ids
        room = max(self._max_tokens - len(first) - 1, 0)
        return Pair([*first, *second[:room], *end], len(first))


def pad_pairs(pairs: Sequence[Pair], pad_id: int) -> tuple[Ids, Ids, Ids]:
    """Ids, mask and types, int64 (n, t) each, t the longest pair; padding at the right."""
    longest = max(len(pair) for pair in pairs)
    ids = np.full((len(pairs), longest), pad_id, np.int64)
    mask = np.zeros_like(ids)
    types = np.zeros_like(ids)
    for row, pair in enumerate(pairs):
        ids[row, : len(pair)] = pair.ids
        mask[row, : len(pair)] = 1
        types[row, pair.query_tokens : len(pair)] = 1
    return ids, mask, types


def _valid(text: str) -> str:
    """Replaces lone surrogates, which JSON can carry and UTF-8 cannot, by a question mark."""
    return text.encode("utf-8", "replace").decode("utf-8")
