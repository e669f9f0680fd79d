"""What a query wants and how well a product answers it, from 0 to 3.

Grades come from what products are, never from their words, so that a word match alone earns nothing: 3 is what was
asked for, 2 misses one wish that a shopper would forgo, 1 is related (a hard wish missed, a sibling type, an
accessory), 0 is wrong. Two and above need the right type of product. The scale is that of the usual four-level
judgments: exact, substitute, complement and irrelevant (Reddy et al. 2022, Shopping Queries Dataset).
"""

from __future__ import annotations

from dataclasses import dataclass

from aisle.catalog.sample.lexicon import Lexicon
from aisle.catalog.sample.products import Item

PRICE_TOLERANCE_FRACTION = 0.15
"""A price above the limit by at most this share is a soft miss: shoppers look at it, and some buy."""

_SOFT_KEYS = frozenset(
    {
        "color",
        "ink_color",
        "material",
        "wattage",
        "capacity",
        "storage",
        "memory",
        "battery_life",
        "pack_size",
        "filling",
        "finish",
        "scent",
        "motif",
        "shape",
        "style",
        "fit",
        "thickness",
        "resolution",
        "pieces",
        "ruling",
    }
)
"""Attributes that a shopper may forgo; any other (a size, what it fits, for whom) is a hard wish."""


@dataclass(frozen=True, slots=True)
class Intent:
    """What a query asks for.

    `types` are the product types that answer it. Without types, a brand alone asks for all of that brand, and nothing
    at all means that the shop sells no answer. `price_below` is in the shop's currency.
    """

    types: frozenset[str] = frozenset()
    brand: str = ""
    model: str = ""
    attributes: tuple[tuple[str, str], ...] = ()
    use: str = ""
    price_below: float | None = None


def grade(item: Item, intent: Intent, lexicon: Lexicon) -> int:
    """Judges one product: 0 to 3, by the rules in the module's head."""
    if not intent.types:
        return 3 if intent.brand and item.brand == intent.brand else 0
    hard, soft = _misses(item, intent)
    if item.kind.name in intent.types:
        if hard + soft == 0:
            return 3
        if hard == 0 and soft == 1:
            return 2
        return 1 if hard + soft == 1 or (hard == 0 and soft == 2) else 0
    return 1 if hard + soft == 0 and item.kind.name in related_types(intent, lexicon) else 0


def related_types(intent: Intent, lexicon: Lexicon) -> frozenset[str]:
    """The types that stand beside the wanted ones: same shelf, or an accessory of them."""
    near = {
        other
        for name in intent.types
        for other in (*lexicon.siblings(name), *lexicon.accessories_of[name])
    }
    return frozenset(near - intent.types)


def _misses(item: Item, intent: Intent) -> tuple[int, int]:
    """Hard and soft wishes that the item does not meet."""
    hard = int(bool(intent.brand) and item.brand != intent.brand)
    hard += int(bool(intent.model) and item.model != intent.model)
    soft = int(bool(intent.use) and intent.use not in item.uses)
    for key, value in intent.attributes:
        if value not in item.attributes.get(key, ()):
            soft, hard = (soft + 1, hard) if key in _SOFT_KEYS else (soft, hard + 1)
    if intent.price_below is not None and item.price >= intent.price_below:
        near = item.price < intent.price_below * (1 + PRICE_TOLERANCE_FRACTION)
        soft, hard = (soft + 1, hard) if near else (soft, hard + 1)
    return hard, soft
