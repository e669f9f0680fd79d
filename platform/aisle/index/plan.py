"""Which shard a product belongs to: by a stable hash of its id, so that it stays there from night to night."""

from __future__ import annotations

import zlib

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray


def shard_numbers(product_ids: pa.Array | pa.ChunkedArray, shards: int) -> NDArray[np.int64]:
    """Shard of each id: int64 (n,), 0 to shards - 1. Changes only with the number of shards."""
    return np.array(
        [zlib.crc32(each.encode()) % shards for each in product_ids.to_pylist()], dtype=np.int64
    )
