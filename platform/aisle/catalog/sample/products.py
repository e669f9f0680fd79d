"""Makes the shop's products: models of a brand, each in a few colours, sizes or capacities.

Products come in families of variants because real catalogues do: near-duplicates that differ in one value are what
makes a query with a colour or a size hard. An `Item` keeps what a product *is* (type, uses, features), which the
Product contract has no column for and the grades are computed from.
"""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from aisle.catalog.sample.lexicon import COMPATIBLE, Lexicon, make_model
from aisle.catalog.sample.records import Brand, Department, ProductType
from aisle.catalog.sample.wording import Draft, describe, title

CURRENCY = "EUR"
LATEST_UPDATE = datetime(2026, 11, 1, tzinfo=UTC)
"""No product is newer: a sample that looked at the clock would differ every day."""

_UPDATE_SPREAD_S = 365 * 24 * 3600
_AVAILABLE_FRACTION = 0.92
_MAX_VARIANTS = 4
# How much dearer each step along an attribute's values is; values are listed from small to large.
_STEP_PRICE = {
    "storage": 0.14,
    "memory": 0.12,
    "screen_size": 0.22,
    "pack_size": 0.55,
    "capacity": 0.18,
    "pieces": 0.4,
    "weight": 0.25,
    "battery_capacity": 0.3,
    "wattage": 0.1,
}
_SIZE_STEP_PRICE = 0.2
_SAME_PRICE_SIZES = frozenset({"Clothing", "Shoes"})
_ENDINGS = ((0.99, 60), (0.95, 14), (0.49, 9), (0.0, 17))


@dataclass(frozen=True, slots=True)
class Item:
    """A product with what is known of it beyond the contract's columns.

    `uses` and `features` are the ones that its description mentions; `attributes` are the contract's.
    """

    product_id: str
    kind: ProductType
    department: str
    brand: str
    model: str
    attributes: Mapping[str, tuple[str, ...]]
    uses: tuple[str, ...]
    features: tuple[str, ...]
    title: str
    description: str
    price: float
    available: bool
    updated_at: datetime


def make_items(lexicon: Lexicon, n_products: int, seed: int) -> list[Item]:
    """Makes exactly `n_products` items in shelf-mixed order; from 171 up every product type is present."""
    rng = random.Random(f"products {seed}")
    drafts: list[Draft] = []
    for name, count in _counts(lexicon, n_products, rng).items():
        drafts.extend(_fill(lexicon.department_of[name], lexicon.types[name], count, rng))
    rng.shuffle(drafts)
    serial = 100_000
    items = []
    for draft in drafts:
        serial += rng.randrange(1, 40)
        items.append(_finish(draft, serial, rng))
    return items


def _counts(lexicon: Lexicon, n_products: int, rng: random.Random) -> dict[str, int]:
    """Products a type: popular types have about four times as many as rare ones; largest remainders fill up.

    Few products are spread over the departments evenly, so that none stays empty.
    """
    names = list(lexicon.types)
    if n_products < len(names):
        columns = [[kind.name for kind in department.types] for department in lexicon.departments]
        by_turn = [c[i] for i in range(max(map(len, columns))) for c in columns if i < len(c)]
        return dict.fromkeys(by_turn[:n_products], 1)
    weights = [rng.uniform(0.5, 2.0) for _ in names]
    spare = n_products - len(names)
    shares = [spare * weight / sum(weights) for weight in weights]
    counts = [1 + int(share) for share in shares]
    by_remainder = sorted(range(len(names)), key=lambda i: (int(shares[i]) - shares[i], i))
    for i in by_remainder[: n_products - sum(counts)]:
        counts[i] += 1
    return dict(zip(names, counts, strict=True))


def _fill(department: Department, kind: ProductType, count: int, rng: random.Random) -> list[Draft]:
    drafts: list[Draft] = []
    seen: set[tuple[object, ...]] = set()
    for turn in itertools.count():
        room = count - len(drafts)
        if not room:
            break
        if kind.host_models:
            # Every model of a host is stocked as far as `count` reaches: accessories name them all.
            room = min(room, math.ceil(count / len(kind.host_models)))
        for draft in _model_variants(department, kind, turn, rng)[:room]:
            key = (draft.brand, draft.model, *sorted(draft.attributes.items()))
            # A plain type has few combinations: a twin is kept once, and again only when little else is left.
            if key not in seen or rng.random() < 0.1:
                seen.add(key)
                drafts.append(draft)
    return drafts


def _model_variants(
    department: Department, kind: ProductType, turn: int, rng: random.Random
) -> list[Draft]:
    brand, model = _maker(department, kind, turn, rng)
    base = {key: _values(key, options, rng) for key, options in kind.attributes}
    uses = tuple(rng.sample(kind.uses, rng.choice((1, 1, 2))))
    features = tuple(rng.sample(kind.features, min(len(kind.features), rng.choice((1, 2, 2, 3)))))
    # A host's model keeps one price level however often it is stocked.
    priced_by = random.Random(f"price {brand.name} {model}") if kind.host_models else rng
    usual = _usual_price(kind, brand.price_level, priced_by)
    varying = [key for key, options in kind.attributes if len(options) > 1 and key != COMPATIBLE]
    rng.shuffle(varying)
    variants: dict[tuple[object, ...], Draft] = {}
    for _ in range(rng.randint(1, _MAX_VARIANTS)):
        attributes = dict(base)
        for key in varying[:2]:
            attributes[key] = (rng.choice(dict(kind.attributes)[key]),)
        factor = _price_factor(department, kind, attributes)
        variants[tuple(attributes.items())] = Draft(
            department=department,
            kind=kind,
            brand=brand.name,
            model=model,
            attributes=attributes,
            uses=uses,
            features=features,
            price=_shelf_price(usual * factor, rng),
        )
    return list(variants.values())


def _maker(
    department: Department, kind: ProductType, turn: int, rng: random.Random
) -> tuple[Brand, str]:
    if kind.host_models:
        name, model = kind.host_models[turn % len(kind.host_models)]
        return next(brand for brand in department.brands if brand.name == name), model
    return rng.choice(department.brands), make_model(department, kind, rng)


def _values(key: str, options: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    if key == COMPATIBLE:
        chosen = set(rng.sample(options, min(len(options), rng.choice((1, 1, 2, 3)))))
        return tuple(option for option in options if option in chosen)
    return (rng.choice(options),)


def _usual_price(kind: ProductType, level: float, rng: random.Random) -> float:
    """A price that leans to the lower end on a log scale, moved by the brand's level and kept near the range."""
    low, high = math.log(kind.price_low), math.log(kind.price_high)
    price = math.exp(rng.triangular(low, high, low + 0.35 * (high - low))) * math.pow(level, 0.7)
    return min(max(price, 0.8 * kind.price_low), 1.2 * kind.price_high)


def _price_factor(
    department: Department, kind: ProductType, attributes: Mapping[str, tuple[str, ...]]
) -> float:
    factor = 1.0
    for key, options in kind.attributes:
        step = _STEP_PRICE.get(key, 0.0)
        if key == "size" and department.name not in _SAME_PRICE_SIZES:
            step = _SIZE_STEP_PRICE
        middle = (len(options) - 1) / 2
        if step:
            factor *= 1 + step * (options.index(attributes[key][0]) - middle) / max(1.0, middle)
    return min(max(factor, 0.5), 1.8)


def _shelf_price(price: float, rng: random.Random) -> float:
    ending = rng.choices([e for e, _ in _ENDINGS], [w for _, w in _ENDINGS])[0]
    return round(max(1.0, math.floor(price)) + ending, 2)


def _finish(draft: Draft, serial: int, rng: random.Random) -> Item:
    return Item(
        product_id=f"{draft.department.code}-{serial}",
        kind=draft.kind,
        department=draft.department.name,
        brand=draft.brand,
        model=draft.model,
        attributes=draft.attributes,
        uses=draft.uses,
        features=draft.features,
        title=title(draft, rng),
        description=describe(draft, rng),
        price=draft.price,
        available=rng.random() < _AVAILABLE_FRACTION,
        updated_at=LATEST_UPDATE - timedelta(seconds=rng.randrange(_UPDATE_SPREAD_S)),
    )
