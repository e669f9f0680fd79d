"""Step 3, embed: texts without a vector, part by part, in workers that each hold one encoder."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from aisle.embed import open_encoder, prepare_encoder
from aisle.embed.stage import EmbedBatch
from aisle.errors import ModelError
from aisle.nightly.run import Item, Mapper, Progress, Run

STEP = "embed"


@dataclass(frozen=True)
class MakeEmbedPart:
    """Builds the worker where it runs: opening the encoder is dear, so one serves many parts."""

    run: Run
    vectors: str

    def __call__(self) -> EmbedPart:
        """Prepares and opens the encoder; ModelError where it is not the one the run began with."""
        config = self.run.settings
        # Another node has its own work folder: what the driver prepared there is prepared again, once a node.
        folder = prepare_encoder(config.encoder, Path(config.work_dir))
        found = open_encoder(folder).fingerprint
        if found != self.vectors:
            raise ModelError(
                f"encoder.model {config.encoder.model}: here it gives vectors {found}, the run began with "
                f"{self.vectors}; every node must find the same model"
            )
        encode = EmbedBatch(
            folder, threads=config.ray.embed_threads, batch_size=config.encoder.batch_rows
        )
        return EmbedPart(self.run, encode)


@dataclass(frozen=True)
class EmbedPart:
    """Worker: embeds one part of texts and writes content hash -> vector."""

    run: Run
    encode: Callable[[pa.Table], pa.Table]
    """Maps texts to vectors as `EmbedBatch` does."""

    def __call__(self, item: Item) -> Item:
        """Embeds `item`'s file."""
        started_s = time.perf_counter()
        vectors = self.encode(self.run.read_table(item["file"]))
        file = self.run.write_table(f"{STEP}/{item['part']}.parquet", vectors)
        result: Item = {
            "part": item["part"],
            "shard": item["shard"],
            "file": file.name,
            "rows": vectors.num_rows,
        }
        if gpus := self.run.settings.ray.embed_gpus:
            result["gpu_s"] = round(gpus * (time.perf_counter() - started_s), 4)
        return self.run.finish(STEP, item["part"], result, [file])


def embed(
    run: Run,
    mapper: Mapper,
    row_results: list[Item],
    vectors: str,
    progress: Progress | None = None,
) -> list[Item]:
    """Embeds every pending part of every shard; `vectors` is the fingerprint that the encoder must have."""
    items = [part for each in row_results for part in each["pending"]]
    make = MakeEmbedPart(run, vectors)
    return run.each(mapper, make, items, step=STEP, actors=True, progress=progress)
