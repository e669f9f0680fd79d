"""Types of a query's segments: QueryNER's seventeen, the rewriter's own, and how essential each is.

QueryNER (Palen-Michel et al., 2024) segments whole queries into broad types; a segmenter trained on it answers in its
names. The ranker's features and the rewriting model speak the shorter list of `SEGMENT_TYPES`; `general_type` maps one
to the other. `ESSENTIAL` says what may be left out first when a query finds too little.
"""

from __future__ import annotations

QUERYNER_TYPES: tuple[str, ...] = (
    "core_product_type",
    "creator",
    "product_name",
    "product_number",
    "modifier",
    "material",
    "color",
    "shape",
    "UoM",
    "quantity",
    "department",
    "occasion",
    "content",
    "condition",
    "origin",
    "price",
    "time",
)

NO_ENTITY = "other"
"""A word that belongs to none: "for", "with"."""

_GENERAL = {
    "core_product_type": "product",
    "creator": "brand",
    "product_name": "model",
    "product_number": "model",
    "modifier": "attribute",
    "material": "material",
    "color": "colour",
    "shape": "attribute",
    "UoM": "size",
    "quantity": "size",
    "department": "department",
    "occasion": "use",
    "content": "attribute",
    "condition": "attribute",
    "origin": "attribute",
    "price": "price",
    "time": "other",
}

_LEAST_ESSENTIAL_FIRST: tuple[tuple[str, ...], ...] = (
    (NO_ENTITY,),
    ("price",),
    ("time",),
    ("occasion", "use"),
    ("department",),
    ("condition",),
    ("quantity",),
    ("origin",),
    ("modifier", "attribute"),
    ("shape",),
    ("color", "colour"),
    ("material",),
    ("UoM", "size"),
    ("content",),
    ("product_number",),
    ("product_name", "model"),
    ("creator", "brand"),
    ("core_product_type", "product"),
)

ESSENTIAL: dict[str, int] = {
    name: rank for rank, names in enumerate(_LEAST_ESSENTIAL_FIRST) for name in names
}
"""Type -> how essential, 0 least. QueryNER proposes dropping by type and leaves the order open; this one is ours."""

PRODUCT_RANK = ESSENTIAL["core_product_type"]


def general_type(name: str) -> str:
    """QueryNER's type in the ranker's vocabulary; any other name as it is.

    >>> general_type("creator"), general_type("brand")
    ('brand', 'brand')
    """
    return _GENERAL.get(name, name)
