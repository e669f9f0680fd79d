"""The embedding step of the nightly job as a plain class, which Ray Data maps in an actor pool.

One instance holds one encoder; Ray Data makes one a worker and feeds it tables. Vectors leave as float16, the precision
in which snapshots keep them.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa

from aisle.embed.folder import open_encoder

COLUMNS = ("content_hash", "text")


class EmbedBatch:
    """Maps a table of `content_hash` binary(16) and `text` string to `content_hash` and `vector` float16 list (d)."""

    def __init__(
        self, encoder_folder: str | Path, *, threads: int = 1, batch_size: int = 32
    ) -> None:
        self._encoder = open_encoder(encoder_folder, threads=threads, batch_size=batch_size)

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Gives one row a row, in order; an empty table gives an empty table with the same columns."""
        missing = [name for name in COLUMNS if name not in batch.column_names]
        if missing:
            raise ValueError(
                f"embedding needs the columns {COLUMNS}; {missing} missing among {batch.column_names}"
            )
        texts = ["" if text is None else text for text in batch.column("text").to_pylist()]
        vectors = self._encoder.encode(texts, "document").astype(np.float16)  # (n, d)
        return pa.table(
            {
                "content_hash": batch.column("content_hash").cast(pa.binary(16)),
                "vector": pa.FixedSizeListArray.from_arrays(
                    pa.array(vectors.ravel()), self._encoder.dimension
                ),
            }
        )
