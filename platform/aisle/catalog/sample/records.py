"""What the sample shop is made of: departments, brands, product types and the lexicon over them.

Departments are written as data (`departments/`), one call of `kind` a product type, because a merchandiser would
read them as a table. Lists are comma-separated strings there: 170 types stay legible.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

Naming = Literal["code", "line", "plain"]
"""How a maker names its models: `TR-450`, `Harbour 300`, or not at all."""

_UNCOUNTABLE = frozenset(
    {
        "ink",
        "paper",
        "shampoo",
        "conditioner",
        "bedding",
        "foundation",
        "mascara",
        "sunscreen",
        "polish",
        "furniture",
        "clothing",
        "cookware",
        "tableware",
        "lighting",
        "sportswear",
        "underwear",
        "audio",
        "cycling",
        "hiking",
        "camping",
        "swimming",
        "fitness",
        "fragrance",
        "storage",
        "shaving",
        "shelving",
        "make-up",
        "filing",
        "writing",
        "watering",
        "cooking",
        "styling",
        "care",
    }
)
_IRREGULAR = {"mouse": "mice", "knife": "knives", "shelf": "shelves", "scarf": "scarves"}


@dataclass(frozen=True, slots=True)
class ProductType:
    """A kind of thing the shop sells.

    `shelf` is the category path below the department; types on one shelf are siblings. `attributes` pairs a key with
    the values it may take. `uses` read after "for", `features` after "with". An accessory names its host type;
    a host names its models as (brand, model), so that accessories can say what they fit.
    """

    name: str
    shelf: tuple[str, ...]
    synonyms: tuple[str, ...]
    price_low: float
    price_high: float
    attributes: tuple[tuple[str, tuple[str, ...]], ...]
    uses: tuple[str, ...]
    features: tuple[str, ...]
    accessory_of: str = ""
    host_models: tuple[tuple[str, str], ...] = ()
    naming: Naming | None = None


@dataclass(frozen=True, slots=True)
class Brand:
    """A maker; `price_level` multiplies a type's usual price."""

    name: str
    price_level: float


@dataclass(frozen=True, slots=True)
class Department:
    """A root of the category tree; `code` starts its product ids, `lines` are words its model names use."""

    name: str
    code: str
    naming: Naming
    brands: tuple[Brand, ...]
    lines: tuple[str, ...]
    types: tuple[ProductType, ...]


def kind(
    name: str,
    shelf: str,
    synonyms: str,
    price: tuple[float, float],
    attributes: Mapping[str, str],
    uses: str,
    features: str,
    accessory_of: str = "",
    host_models: str = "",
    naming: Naming | None = None,
) -> ProductType:
    """A product type from comma-separated lists; `shelf` splits at " > ", a host model is "Brand Model words"."""
    return ProductType(
        name=name,
        shelf=tuple(shelf.split(" > ")),
        synonyms=words(synonyms),
        price_low=price[0],
        price_high=price[1],
        attributes=tuple((key, words(values)) for key, values in attributes.items()),
        uses=words(uses),
        features=words(features),
        accessory_of=accessory_of,
        host_models=tuple(_brand_and_model(text) for text in words(host_models)),
        naming=naming,
    )


def brands(listing: str) -> tuple[Brand, ...]:
    """Brands from "Name 1.2, Other Name 0.8": the last word is the price level."""
    return tuple(
        Brand(text.rsplit(" ", 1)[0], float(text.rsplit(" ", 1)[1])) for text in words(listing)
    )


def words(listing: str) -> tuple[str, ...]:
    """The parts of a comma-separated list, trimmed; an empty string gives none.

    >>> words("red, dark blue")
    ('red', 'dark blue')
    """
    return tuple(part.strip() for part in listing.split(",") if part.strip())


def plural(name: str) -> str:
    """The plural of a product name; names that are plural or uncountable stay as they are.

    >>> plural("bread knife"), plural("running shoes"), plural("yoga mat")
    ('bread knives', 'running shoes', 'yoga mats')
    """
    head, _, last = name.rpartition(" ")
    return f"{head} {_plural_word(last)}".strip()


def is_plural(name: str) -> bool:
    """Whether a name takes "these": it ends like a plural and has no other plural."""
    return name.endswith("s") and plural(name) == name


def _plural_word(word: str) -> str:
    if word in _IRREGULAR:
        return _IRREGULAR[word]
    if word in _UNCOUNTABLE or (word.endswith("s") and not word.endswith("ss")):
        return word
    if word.endswith(("ss", "ch", "sh", "x", "z")):
        return word + "es"
    if word.endswith("y") and word[-2:-1] not in "aeiou":
        return word[:-1] + "ies"
    return word + "s"


def _brand_and_model(text: str) -> tuple[str, str]:
    brand, _, model = text.partition(" ")
    return brand, model
