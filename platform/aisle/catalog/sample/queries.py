"""The judged queries: ten kinds, each drawn so that the shop has an answer (or, for `none`, has none).

A query's wishes are taken from a product that exists, so a filter-like query is never accidentally empty; its text is
worded as shoppers type, lower case and short.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aisle.catalog.sample.grading import Intent
from aisle.catalog.sample.lexicon import COMPATIBLE, Lexicon
from aisle.catalog.sample.phrases import said, stands_before
from aisle.catalog.sample.products import Item
from aisle.catalog.sample.records import ProductType, plural
from aisle.catalog.sample.rewrites import price_phrase
from aisle.catalog.sample.typing_errors import misspell
from aisle.catalog.sample.unsold import UNSOLD

QUERIES_PER_KIND = {
    "head": 42,
    "synonym": 42,
    "typo": 42,
    "attribute": 54,
    "price": 30,
    "brand": 30,
    "navigational": 30,
    "broad": 30,
    "none": len(UNSOLD),
    "accessory": 32,
}
SPLIT_FRACTIONS = (("train", 0.5), ("dev", 0.2), ("test", 0.3))

_ATTEMPTS = 40


@dataclass(frozen=True, slots=True)
class JudgedQuery:
    """A query with what it means. `spelt` is `text` without its typing errors."""

    text: str
    spelt: str
    kind: str
    intent: Intent
    split: str = "train"


def make_queries(lexicon: Lexicon, items: Sequence[Item], seed: int) -> list[JudgedQuery]:
    """Makes the queries in the order of their kinds; texts are unique after lower-casing.

    A kind gives fewer than `QUERIES_PER_KIND` where a small catalogue runs out of different ones.
    """
    rng = random.Random(f"queries {seed}")
    shop = _Shop(lexicon, items, rng)
    queries: list[JudgedQuery] = []
    taken: set[str] = set()
    for kind, wanted in QUERIES_PER_KIND.items():
        made: list[JudgedQuery] = []
        if kind == "accessory" and not shop.accessories:
            continue
        for _ in range(_ATTEMPTS * wanted):
            if len(made) == wanted:
                break
            text, intent = _MAKERS[kind](shop)
            spelt = _normal(text)
            typed = misspell(spelt, rng) if kind == "typo" else spelt
            if typed not in taken and (kind != "typo" or typed != spelt):
                taken.add(typed)
                made.append(JudgedQuery(typed, spelt, kind, intent))
        queries.extend(_split(made, rng))
    return queries


def _split(queries: list[JudgedQuery], rng: random.Random) -> list[JudgedQuery]:
    """Deals one kind's queries into train, dev and test; from three queries up each split gets one."""
    order = list(range(len(queries)))
    rng.shuffle(order)
    n_dev = max(1, round(SPLIT_FRACTIONS[1][1] * len(order)))
    n_test = max(1, round(SPLIT_FRACTIONS[2][1] * len(order)))
    names = ["dev"] * n_dev + ["test"] * n_test
    split = dict(zip(order, names, strict=False))
    return [
        JudgedQuery(q.text, q.spelt, q.kind, q.intent, split.get(i, "train"))
        for i, q in enumerate(queries)
    ]


class _Shop:
    """What the makers draw from."""

    def __init__(self, lexicon: Lexicon, items: Sequence[Item], rng: random.Random) -> None:
        self.lexicon = lexicon
        self.items = items
        self.rng = rng
        self.accessories = [item for item in items if item.kind.accessory_of]
        self.with_model = [item for item in items if item.model]
        self.by_type: dict[str, list[Item]] = defaultdict(list)
        for item in items:
            self.by_type[item.kind.name].append(item)
        self.types = [lexicon.types[name] for name in self.by_type]
        # A shelf of one type is that type's head query in other words.
        self.shelved = [kind for kind in self.types if lexicon.siblings(kind.name)]

    def item(self) -> Item:
        """A product of a random type: by product, popular types would crowd out the others."""
        return self.rng.choice(self.by_type[self.rng.choice(self.types).name])

    def name(self, kind: ProductType) -> str:
        """What a shopper calls the type: mostly its name, one or many."""
        name = kind.name if self.rng.random() < 0.75 else self.rng.choice(kind.synonyms)
        return plural(name) if self.rng.random() < 0.4 else name


def _normal(text: str) -> str:
    return " ".join(text.lower().split())


def _only(kind: ProductType) -> frozenset[str]:
    return frozenset({kind.name})


def _head(shop: _Shop) -> tuple[str, Intent]:
    kind = shop.rng.choice(shop.types)
    return shop.rng.choice((kind.name, plural(kind.name))), Intent(_only(kind))


def _synonym(shop: _Shop) -> tuple[str, Intent]:
    item = shop.item()
    name = shop.rng.choice(item.kind.synonyms)
    name = plural(name) if shop.rng.random() < 0.4 else name
    color = item.attributes.get("color")
    if color and shop.rng.random() < 0.25:
        wish = (("color", color[0]),)
        return f"{color[0]} {name}", Intent(_only(item.kind), attributes=wish)
    return name, Intent(_only(item.kind))


def _typo(shop: _Shop) -> tuple[str, Intent]:
    return shop.rng.choice((_head, _head, _synonym, _attribute, _brand))(shop)


def _attribute(shop: _Shop) -> tuple[str, Intent]:
    item = shop.item()
    keys = [key for key in item.attributes if key != COMPATIBLE]
    if not keys or shop.rng.random() < 0.15:
        use = shop.rng.choice(item.uses)
        return f"{shop.name(item.kind)} for {use}", Intent(_only(item.kind), use=use)
    chosen = shop.rng.sample(keys, min(len(keys), shop.rng.choice((1, 1, 2))))
    wishes = tuple((key, item.attributes[key][0]) for key in chosen)
    before = [said(*wish) for wish in wishes if stands_before(wish[0])]
    after = [said(*wish) for wish in wishes if not stands_before(wish[0])]
    text = " ".join([*before, shop.name(item.kind), *after])
    return text, Intent(_only(item.kind), attributes=wishes)


def _price(shop: _Shop) -> tuple[str, Intent]:
    item = shop.item()
    ordered = sorted(other.price for other in shop.by_type[item.kind.name])
    usual = ordered[int(len(ordered) * shop.rng.uniform(0.25, 0.7))]
    step = 5 if usual < 60 else 10 if usual < 200 else 50
    limit = max(step, round(usual / step) * step)
    limit = limit if limit > ordered[0] else limit + step
    text = shop.name(item.kind)
    wish: tuple[tuple[str, str], ...] = ()
    color = item.attributes.get("color")
    if color and item.price < limit and shop.rng.random() < 0.3:
        wish, text = (("color", color[0]),), f"{color[0]} {text}"
    intent = Intent(_only(item.kind), attributes=wish, price_below=float(limit))
    return f"{text} {price_phrase(limit, shop.rng)}", intent


def _brand(shop: _Shop) -> tuple[str, Intent]:
    item = shop.item()
    return f"{item.brand} {shop.name(item.kind)}", Intent(_only(item.kind), brand=item.brand)


def _navigational(shop: _Shop) -> tuple[str, Intent]:
    if shop.rng.random() < 0.25:
        brand = shop.rng.choice(shop.items).brand
        return brand, Intent(brand=brand)
    item = shop.rng.choice(shop.with_model)
    intent = Intent(_only(item.kind), brand=item.brand, model=item.model)
    # A line's name is used for several types, so only a maker's own code stands without the product's name.
    coded = bool(item.kind.host_models) or item.model.isupper()
    if coded and shop.rng.random() < 0.6:
        return f"{item.brand} {item.model}", intent
    return f"{item.brand} {item.model} {item.kind.name}", intent


def _broad(shop: _Shop) -> tuple[str, Intent]:
    kind = shop.rng.choice(shop.shelved)
    item = shop.rng.choice(shop.by_type[kind.name])
    shelf = kind.shelf[-1]
    types = frozenset({kind.name, *shop.lexicon.siblings(kind.name)})
    if shop.rng.random() < 0.2:
        return f"{item.brand} {shelf}", Intent(types, brand=item.brand)
    if shop.rng.random() < 0.2:
        limit = max(20, round(item.price * 1.3 / 10) * 10)
        return f"{shelf} {price_phrase(limit, shop.rng)}", Intent(types, price_below=float(limit))
    return shelf, Intent(types)


def _accessory(shop: _Shop) -> tuple[str, Intent]:
    item = shop.rng.choice(shop.accessories)
    fits = item.attributes.get(COMPATIBLE)
    if fits and shop.rng.random() < 0.7:
        device = shop.rng.choice(fits)
        text = shop.rng.choice(
            (f"{shop.name(item.kind)} for {device}", f"{device} {item.kind.name}")
        )
        return text, Intent(_only(item.kind), attributes=((COMPATIBLE, device),))
    host = item.kind.accessory_of
    said_twice = set(host.split()) & set(item.kind.name.split())
    text = shop.name(item.kind)
    if not said_twice and shop.rng.random() < 0.5:
        text = f"{text} for {host}"
    return text, Intent(_only(item.kind))


def _none(shop: _Shop) -> tuple[str, Intent]:
    return shop.rng.choice(UNSOLD), Intent()


_MAKERS: dict[str, Callable[[_Shop], tuple[str, Intent]]] = {
    "head": _head,
    "synonym": _synonym,
    "typo": _typo,
    "attribute": _attribute,
    "price": _price,
    "brand": _brand,
    "navigational": _navigational,
    "broad": _broad,
    "none": _none,
    "accessory": _accessory,
}
