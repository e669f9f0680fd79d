"""Texts of named products, straight from the catalogue's source: a judge can be trained before the first snapshot."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc

from aisle.catalog import plan_units, read_unit
from aisle.catalog.text import product_text
from aisle.config import CatalogConfig


def product_texts(
    catalog: CatalogConfig,
    product_ids: Collection[str],
    fields: Sequence[str],
    max_chars: int,
) -> dict[str, str]:
    """The text of each wanted product that the source holds; of rows with one id the last counts.

    Raises CatalogError where the source cannot be read or lacks a configured column.
    """
    wanted = pa.array(sorted(product_ids), pa.string())
    found: dict[str, str] = {}
    source = catalog.source
    for unit in plan_units(source, source.storage_options):
        for batch in read_unit(
            unit,
            catalog.columns,
            storage_options=source.storage_options,
            delimiter=source.delimiter,
            where=source.where,
        ):
            table = batch.products.filter(pc.is_in(batch.products["product_id"], wanted))
            texts = product_text(table, fields, max_chars)
            found.update(zip(table["product_id"].to_pylist(), texts, strict=True))
    return found
