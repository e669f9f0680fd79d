"""How attribute values are said: in a title, in a query, and as what type of query segment."""

from __future__ import annotations

from aisle.catalog.sample.lexicon import COMPATIBLE

SEGMENT_TYPES: tuple[str, ...] = (
    "product",
    "brand",
    "colour",
    "size",
    "material",
    "attribute",
    "use",
    "price",
    "department",
    "model",
    "other",
)
"""The types of a query's segments, fixed: a rewriter is trained on these names."""

_SIZE_KEYS = frozenset(
    {"size", "screen_size", "length", "wheel_size", "width", "blade_length", "cutting_width"}
)
_POSSESSIVE = {"women": "women's", "men": "men's"}


def segment_type(key: str) -> str:
    """The segment type of an attribute's value; `compatible_with` is a brand and a model, not one type."""
    if key in ("color", "ink_color", "shade"):
        return "colour"
    if key == "material":
        return "material"
    return "size" if key in _SIZE_KEYS else "attribute"


def said(key: str, value: str) -> str:
    """A value as written beside a product name.

    >>> said("gender", "women"), said("age", "3+ years"), said("wattage", "65 W")
    ("women's", 'for ages 3+', '65 W')
    """
    if key == "gender":
        return _POSSESSIVE.get(value, value)
    if key == "age":
        return f"for ages {value.removesuffix(' years')}"
    if key == COMPATIBLE or key in ("skin_type", "hair_type"):
        return f"for {value}"
    if key == "filling":
        return f"{value} filled"
    return value


def stands_before(key: str) -> bool:
    """Whether a value reads naturally before the product name ("red mug") and not only after it."""
    return key not in (COMPATIBLE, "age", "skin_type", "hair_type", "size", "pack_size")
