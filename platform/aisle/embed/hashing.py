"""A deterministic encoder without a model: signed feature hashing of words and character trigrams.

It knows spelling and nothing of meaning. Tests and first runs use it because it needs no file, no second and gives the
same vectors on every machine. Feature hashing with signs after Weinberger et al. 2009 (arXiv:0902.2206): the sign makes
collisions cancel in expectation, so inner products stay unbiased.
"""

from __future__ import annotations

import hashlib
import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from aisle.embed.spec import FORMAT_VERSION, SPEC_FILE, read_spec, write_spec
from aisle.errors import ModelError
from aisle.stages import TextKind

WORD = re.compile(r"\w+")


class HashingEncoder:
    """Encodes queries and documents alike: weight of a feature = sqrt(its count), rows divided by their length."""

    def __init__(self, dimension: int = 256) -> None:
        if dimension < 1:
            raise ModelError(
                f"hashing encoder: dimension {dimension}, allowed is 1 and more; 256 is usual"
            )
        self._dimension = dimension

    @property
    def dimension(self) -> int:
        """Length d of a vector."""
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """Changes with the dimension and the format only."""
        return f"hashing-{FORMAT_VERSION}-{self._dimension}"

    def encode(self, texts: Sequence[str], kind: TextKind = "document") -> NDArray[np.float32]:
        """Gives float32 (n, d), unit rows, in order; a text without words gets one fixed vector. `kind` is ignored."""
        vectors = np.zeros((len(texts), self._dimension), np.float32)
        for vector, text in zip(vectors, texts, strict=True):
            for feature, count in Counter(features(text)).items():
                slot, sign = _slot(feature)
                vector[slot % self._dimension] += sign * math.sqrt(count)
            if not vector.any():  # no words, or signs that cancelled out
                vector[0] = 1.0
        norms: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors / norms

    def save(self, folder: Path) -> None:
        """Writes `encoder.json` into `folder`, which is made if missing."""
        folder.mkdir(parents=True, exist_ok=True)
        record = {
            "runtime": "hashing",
            "format_version": FORMAT_VERSION,
            "fingerprint": self.fingerprint,
        }
        write_spec(folder, {**record, "dimension": self._dimension})

    @classmethod
    def load(cls, folder: Path) -> HashingEncoder:
        """Opens a folder that `save` wrote; raises ModelError where it is damaged."""
        dimension = read_spec(folder).get("dimension")
        if not isinstance(dimension, int):
            raise ModelError(
                f"{folder / SPEC_FILE}: dimension {dimension!r} is no whole number; prepare it again"
            )
        return cls(dimension)


def features(text: str) -> Iterator[str]:
    """Gives `w:` + each word and `t:` + each trigram of the word in angle brackets, case and width folded.

    >>> list(features("TV"))
    ['w:tv', 't:<tv', 't:tv>']
    """
    for word in WORD.findall(unicodedata.normalize("NFKC", text).casefold()):
        yield f"w:{word}"
        fenced = f"<{word}>"
        for i in range(len(fenced) - 2):
            yield f"t:{fenced[i : i + 3]}"


@lru_cache(maxsize=1 << 16)
def _slot(feature: str) -> tuple[int, int]:
    """A 63-bit number and a sign from BLAKE2b-64; `hash()` would differ between processes."""
    value = int.from_bytes(
        hashlib.blake2b(feature.encode("utf-8", "replace"), digest_size=8).digest(), "big"
    )
    return value >> 1, 1 if value & 1 else -1
