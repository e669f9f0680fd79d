"""Step 1, read: source files to products, dealt to their shards; bad rows aside with their reasons."""

from __future__ import annotations

from dataclasses import asdict, dataclass

import numpy as np
import pyarrow as pa

from aisle.catalog.reader import read_unit, source_fingerprint
from aisle.catalog.sources import ReadUnit, plan_units
from aisle.config import CatalogConfig
from aisle.errors import CatalogError, QuarantineExceeded
from aisle.index.plan import shard_numbers
from aisle.nightly.run import Item, Mapper, Progress, Ready, Run
from aisle.store import StoredFile

STEP = "read"
BATCH_ROWS = 50_000


@dataclass(frozen=True)
class ReadPart:
    """Worker: reads one unit of the source and writes its rows, a file a shard."""

    run: Run

    def __call__(self, item: Item) -> Item:
        """Reads `item`'s unit; CatalogError where the file is not the one that was planned."""
        catalog, shards = self.run.settings.catalog, self.run.settings.index.shards
        unit = ReadUnit(**item["unit"])
        part = item["part"]
        counts = {"rows": 0, "products": 0, "rejected": 0}
        files: dict[str, list[str]] = {}
        rejected: list[str] = []
        wrote: list[StoredFile] = []
        batches = read_unit(
            unit,
            catalog.columns,
            BATCH_ROWS,
            catalog.source.storage_options,
            delimiter=catalog.source.delimiter,
            where=catalog.source.where,
        )
        for number, batch in enumerate(batches):
            counts["rows"] += batch.products.num_rows + batch.rejected.num_rows
            counts["products"] += batch.products.num_rows
            counts["rejected"] += batch.rejected.num_rows
            owner = shard_numbers(batch.products["product_id"], shards)
            for shard in np.unique(owner):
                name = f"{STEP}/{part}/{shard:04d}-{number:05d}.parquet"
                wrote.append(
                    self.run.write_table(name, batch.products.filter(pa.array(owner == shard)))
                )
                files.setdefault(str(shard), []).append(wrote[-1].name)
            if batch.rejected.num_rows:
                name = f"{STEP}/{part}/rejected-{number:05d}.parquet"
                wrote.append(self.run.write_table(name, batch.rejected))
                rejected.append(wrote[-1].name)
        after = source_fingerprint(unit, catalog.source.storage_options)
        if after != item["fingerprint"]:
            raise CatalogError(
                f"{unit.url}: changed while it was read ({item['fingerprint']} -> {after}); nothing was published, "
                "start the job again once the file is complete"
            )
        result = {"part": part, **counts, "files": files, "rejected_files": rejected}
        return self.run.finish(STEP, part, result, wrote)


def plan(catalog: CatalogConfig) -> list[Item]:
    """The parts of reading, each with the state in which its file was found.

    Raises:
        CatalogError: the source is missing or cannot be looked up.
    """
    options = catalog.source.storage_options
    states: dict[str, str] = {}
    items = []
    for order, unit in enumerate(plan_units(catalog.source, options)):
        if unit.url not in states:
            states[unit.url] = source_fingerprint(unit, options)
        items.append(
            {
                "part": f"unit-{order:05d}",
                "unit": asdict(unit),
                "fingerprint": states[unit.url],
            }
        )
    return items


def read(
    run: Run, mapper: Mapper, items: list[Item], progress: Progress | None = None
) -> list[Item]:
    """Reads the whole source.

    Raises:
        CatalogError: the source is unreadable, changed while read, or has no valid row.
        QuarantineExceeded: more bad rows than the config allows.
    """
    catalog = run.settings.catalog
    results = run.each(mapper, Ready(ReadPart(run)), items, step=STEP, progress=progress)
    rows = sum(each["rows"] for each in results)
    rejected = sum(each["rejected"] for each in results)
    if rows == rejected:
        raise CatalogError(
            f"{catalog.source.url}: {rows} rows, none is a valid product{_example(run, results)}; check the file and "
            "catalog.columns"
        )
    if rejected > catalog.quarantine_max_fraction * rows:
        raise QuarantineExceeded(
            f"{rejected} of {rows} rows were rejected ({rejected / rows:.1%}), allowed is "
            f"catalog.quarantine_max_fraction={catalog.quarantine_max_fraction:.1%}{_example(run, results)}; "
            f"rows and reasons: {run.store.url}/{run.folder}/{STEP}/"
        )
    return results


def _example(run: Run, results: list[Item]) -> str:
    """The first reason, to save a look into the quarantine."""
    for each in results:
        for path in each["rejected_files"]:
            row = run.read_table(path).slice(0, 1).to_pylist()[0]
            return f"; for instance {row['source']} row {row['row']}: {row['reason']}"
    return ""
