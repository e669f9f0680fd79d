from aisle.catalog.convert.attributes import attribute_array, attribute_column, scalar_text
from aisle.catalog.convert.batch import NESTED_SUFFIX, SourceBatch, shown, text_array
from aisle.catalog.convert.markup import strip_markup

__all__ = [
    "NESTED_SUFFIX",
    "SourceBatch",
    "attribute_array",
    "attribute_column",
    "scalar_text",
    "shown",
    "strip_markup",
    "text_array",
]
