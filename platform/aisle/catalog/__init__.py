from aisle.catalog.deduplicate import deduplicate
from aisle.catalog.mapping import MAPPED_SCHEMA, REJECTED_SCHEMA, Mapped, map_rows
from aisle.catalog.product import POSITION, PRODUCT_SCHEMA, content_hashes, row_hashes
from aisle.catalog.reader import read_unit, source_fingerprint
from aisle.catalog.rules import ColumnMap
from aisle.catalog.sources import ReadUnit, plan_units
from aisle.catalog.text import product_text

__all__ = [
    "MAPPED_SCHEMA",
    "POSITION",
    "PRODUCT_SCHEMA",
    "REJECTED_SCHEMA",
    "ColumnMap",
    "Mapped",
    "ReadUnit",
    "content_hashes",
    "deduplicate",
    "map_rows",
    "plan_units",
    "product_text",
    "read_unit",
    "row_hashes",
    "source_fingerprint",
]
