"""Lists of lists as two flat arrays, values and offsets (CSR): what rows hold, without a Python object a row.

Arrays are saved as .npy files and mapped when opened, so replicas of one node share them through the page cache.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


def offsets_of(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where each list begins, and the end of the last: int64 (n + 1,) from sizes (n,)."""
    offsets = np.zeros(len(sizes) + 1, dtype=np.int64)
    np.cumsum(sizes, out=offsets[1:])
    return offsets


def within(sizes: NDArray[np.int64]) -> NDArray[np.int64]:
    """Position of every value in its own list.

    >>> within(np.array([2, 0, 3])).tolist()
    [0, 1, 0, 1, 2]
    """
    return np.arange(sizes.sum()) - np.repeat(offsets_of(sizes)[:-1], sizes)


def distinct(values: NDArray[np.int64]) -> NDArray[np.int64]:
    """Sorted distinct values (m,).

    Sorts, as np.unique did before NumPy 2.3; its hash table takes ten times as long on millions of mostly distinct
    integers (NumPy 2.3.5, AMD EPYC, 2026-11-20).
    """
    values = np.sort(values)
    first = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=first[1:])
    kept: NDArray[np.int64] = values[first]
    return kept


def mapped(path: Path) -> NDArray[Any]:
    """Maps a .npy file as a plain array: np.memmap, a subclass, costs microseconds at every index and kernel call."""
    return np.asarray(np.load(path, mmap_mode="r"))
