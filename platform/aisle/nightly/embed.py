"""Step 3, embed: texts without a vector, part by part, in workers that each hold one encoder."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from aisle.embed.stage import EmbedBatch
from aisle.nightly.run import Item, Mapper, Run

STEP = "embed"


@dataclass(frozen=True)
class MakeEmbedPart:
    """Builds the worker where it runs: opening the encoder is dear, so one serves many parts."""

    run: Run
    encoder_folder: str

    def __call__(self) -> EmbedPart:
        config = self.run.settings
        encode = EmbedBatch(
            Path(self.encoder_folder), threads=config.ray.embed_threads, batch_size=config.encoder.batch_rows
        )
        return EmbedPart(self.run, encode)


@dataclass(frozen=True)
class EmbedPart:
    """Worker: embeds one part of texts and writes content hash -> vector."""

    run: Run
    encode: EmbedBatch

    def __call__(self, item: Item) -> Item:
        vectors = self.encode(self.run.read_table(item["file"]))
        path = self.run.write_table(f"{STEP}/{item['part']}.parquet", vectors)
        result = {"part": item["part"], "shard": item["shard"], "file": path, "rows": vectors.num_rows}
        return self.run.finish(STEP, item["part"], result)


def embed(
    run: Run, mapper: Mapper, row_results: list[Item], encoder_folder: Path, **progress: object
) -> list[Item]:
    """Embeds every pending part of every shard."""
    items = [part for each in row_results for part in each["pending"]]
    make = MakeEmbedPart(run, str(encoder_folder))
    return run.each(mapper, make, items, step=STEP, actors=True, **progress)  # type: ignore[arg-type]
