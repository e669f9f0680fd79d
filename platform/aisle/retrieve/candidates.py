"""Candidates: what a shard answers and what travels on, in arrays, never documents."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_SHARD_BITS = 40
"""A locator is the shard's number above this many bits of row number: room for 10^12 rows a shard."""


@dataclass(frozen=True, slots=True)
class Candidates:
    """Some products for one query; all arrays have length n."""

    product_ids: NDArray[np.bytes_]
    """UTF-8."""
    locators: NDArray[np.int64]
    """Shard and row, see `locate`."""
    cosine: NDArray[np.float32]
    bm25: NDArray[np.float32]
    fused: NDArray[np.float32]
    """Weighted fusion of both sides, comparable between shards."""
    from_dense: NDArray[np.bool_]
    """Found by the dense side."""
    from_lexical: NDArray[np.bool_]
    """Found by the lexical side."""
    features: NDArray[np.float32]
    """(n, len(FEATURES)), or (n, 0) until a retriever describes them."""

    def __len__(self) -> int:
        return len(self.locators)

    def take(self, at: NDArray[np.int64]) -> Candidates:
        """The candidates at some positions, in that order."""
        return Candidates(*(getattr(self, name)[at] for name in self.__slots__))

    @classmethod
    def concatenate(cls, parts: Sequence[Candidates]) -> Candidates:
        """All candidates of several answers; none gives an empty one."""
        if len(parts) == 1:
            return parts[0]
        if not parts:
            return cls.none()
        return cls(
            *(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__)
        )

    @classmethod
    def none(cls) -> Candidates:
        """No candidate."""
        floats, flags = np.empty(0, np.float32), np.empty(0, bool)
        return cls(
            product_ids=np.empty(0, "S1"),
            locators=np.empty(0, np.int64),
            cosine=floats,
            bm25=floats,
            fused=floats,
            from_dense=flags,
            from_lexical=flags,
            features=np.empty((0, 0), np.float32),
        )


def locate(shard: int, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Locators of rows of one shard."""
    return (np.int64(shard) << _SHARD_BITS) | rows


def shards_and_rows(locators: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Shard and row numbers of locators."""
    return locators >> _SHARD_BITS, locators & ((1 << _SHARD_BITS) - 1)


def descending(scores: NDArray[np.float32], product_ids: NDArray[np.bytes_]) -> NDArray[np.int64]:
    """Positions by score, best first; equal scores by ascending product id, so that order never depends on shards."""
    order: NDArray[np.int64] = np.lexsort((product_ids, -scores))
    return order
