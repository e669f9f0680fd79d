"""A product as one text, for the encoder: chosen fields in a chosen order, most telling first, cut at a length.

The brand is left out where the title already holds it: repeating it moves every vector of a brand together. Attributes
read as a shopper would say them, "color red, blue; material steel".
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Sequence

import pyarrow as pa

from aisle.errors import ConfigError

FIELDS = ("title", "brand", "category", "attributes", "description")
BETWEEN_FIELDS = ". "

_NAME_MARKS = re.compile(r"[_.\s]+")


def product_text(
    table: pa.Table, fields: Sequence[str] = FIELDS, max_chars: int = 1000
) -> list[str]:
    """Gives one text a product, in order, of at most `max_chars` characters, cut between words.

    A product with nothing in the chosen fields gives an empty text. Raises ConfigError for an unknown field.
    """
    unknown = [name for name in fields if name not in FIELDS]
    if unknown:
        raise ConfigError(
            f"catalog.text_fields: got {unknown[0]!r}, allowed: {', '.join(FIELDS)}; change the list"
        )
    parts = [_READERS[name](table) for name in fields]
    joined = (_joined(row) for row in zip(*parts, strict=True)) if parts else ("",) * len(table)
    return [text if len(text) <= max_chars else _cut(text, max_chars) for text in joined]


def _joined(parts: tuple[str, ...]) -> str:
    # A part that ends a sentence needs no second full stop.
    shown = [part for part in parts if part]
    ended = [p[:-1] if p.endswith(".") else p for p in shown[:-1]]
    return BETWEEN_FIELDS.join([*ended, *shown[-1:]])


def _cut(text: str, max_chars: int) -> str:
    head = text[: max_chars + 1]
    end = head.rfind(" ")
    return head[:end].rstrip() if end > 0 else text[:max_chars]


def _texts(name: str) -> Callable[[pa.Table], list[str]]:
    def read(table: pa.Table) -> list[str]:
        return [" ".join(text.split()) if text else "" for text in table[name].to_pylist()]

    return read


def _brands(table: pa.Table) -> list[str]:
    pairs = zip(_texts("brand")(table), _texts("title")(table), strict=True)
    return ["" if brand and _holds(title, brand) else brand for brand, title in pairs]


def _holds(title: str, brand: str) -> bool:
    """Whether the brand stands in the title as words of its own, in whatever case."""
    title, brand = title.casefold(), brand.casefold()
    start = title.find(brand)
    while start >= 0:
        end = start + len(brand)
        if not (title[start - 1 : start].isalnum() or title[end : end + 1].isalnum()):
            return True
        start = title.find(brand, start + 1)
    return False


def _categories(table: pa.Table) -> list[str]:
    return [" > ".join(levels) if levels else "" for levels in table["category"].to_pylist()]


def _attributes(table: pa.Table) -> list[str]:
    # Whole columns at once: turning each row's map into Python objects would take most of the time.
    texts: list[str] = []
    spoken: dict[str, str] = {}
    for chunk in table["attributes"].chunks:
        starts, flat = chunk.items.offsets.to_pylist(), chunk.items.values.to_pylist()
        pairs: list[str] = []
        for index, name in enumerate(chunk.keys.to_pylist()):
            head = spoken.get(name) or spoken.setdefault(name, _NAME_MARKS.sub(" ", name).strip())
            listed = ", ".join(flat[starts[index] : starts[index + 1]])
            pairs.append(f"{head} {listed}" if listed else "")
        bounds = itertools.pairwise(chunk.offsets.to_pylist())
        texts += ["; ".join(filter(None, pairs[a:b])) for a, b in bounds]
    return texts


_READERS: dict[str, Callable[[pa.Table], list[str]]] = {
    "title": _texts("title"),
    "brand": _brands,
    "category": _categories,
    "attributes": _attributes,
    "description": _texts("description"),
}
