"""Query vectors that were computed already: the next page, another filter and frequent queries cost no model."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aisle.cache import Cache
from aisle.stages import Encoder, TextKind


class RememberedQueries:
    """An encoder that keeps the vectors of the queries asked last; documents pass through.

    Answers stay what they were, bit for bit, because encoders take queries one at a time. A vector of d float32 and its
    query take 4 d + 200 bytes or so: 17 MB for 10,000 at d = 384.

    Attributes:
        cache: the vectors kept, with its hits and misses.
    """

    def __init__(self, encoder: Encoder, entries: int) -> None:
        self._encoder = encoder
        self.cache = Cache[str, NDArray[np.float32]](entries)

    @property
    def dimension(self) -> int:
        """See `aisle.stages.Encoder`."""
        return self._encoder.dimension

    @property
    def fingerprint(self) -> str:
        """See `aisle.stages.Encoder`."""
        return self._encoder.fingerprint

    def encode(self, texts: Sequence[str], kind: TextKind = "document") -> NDArray[np.float32]:
        """See `aisle.stages.Encoder`."""
        if kind == "document":
            return self._encoder.encode(texts, kind)
        vectors = np.empty((len(texts), self.dimension), dtype=np.float32)
        new = []
        for row, text in enumerate(texts):
            known = self.cache.get(text)
            if known is None:
                new.append(row)
            else:
                vectors[row] = known
        if new:
            vectors[new] = self._encoder.encode([texts[row] for row in new], kind)
            for row in new:
                self.cache.put(texts[row], vectors[row].copy())
        return vectors
