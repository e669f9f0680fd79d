"""Training examples for the query rewriter: a query as typed, as meant, its other phrasings and its parts.

Examples are drawn from the lexicon alone, so any number can be made without a catalogue. They share that lexicon with
the sample's judged queries: a rewriter trained on them is at home there, and only other data tell how it generalises.
The expansions of a phrase
are always the same ones: a mapping that varied at random could not be learnt.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from aisle.catalog.sample.lexicon import COMPATIBLE, Lexicon, build_lexicon, make_model
from aisle.catalog.sample.phrases import said, segment_type, stands_before
from aisle.catalog.sample.records import Department, ProductType, plural
from aisle.catalog.sample.typing_errors import misspell

NOISY_FRACTION = 0.55
"""Share of the examples whose typed form carries an error."""

MAX_EXPANSIONS = 2

Part = tuple[str, str]
"""A piece of a query with its segment type."""


@dataclass(frozen=True, slots=True)
class RewriteExample:
    """One query: as typed, as meant, at most two other phrasings, and segments that spell `corrected` in order."""

    noisy: str
    corrected: str
    expansions: tuple[str, ...]
    segments: tuple[tuple[str, str], ...]


def generate_queries(n: int, seed: int) -> Iterator[RewriteExample]:
    """Yields `n` examples, the same ones for the same seed; about 55 % are misspelt, the others equal `corrected`.

    Everything is lower case with single spaces. Segment texts joined by spaces are `corrected`; neighbours differ in
    type. The first examples do not depend on `n`.
    """
    lexicon = build_lexicon()
    rng = random.Random(seed)
    types = tuple(lexicon.types.values())
    patterns = [pattern for pattern, _ in _PATTERNS]
    weights = [weight for _, weight in _PATTERNS]
    for _ in range(n):
        query = _Draft(lexicon, rng.choice(types), rng)
        rng.choices(patterns, weights)[0](query)
        yield query.finish()


class _Draft:
    """A query under construction about one product type."""

    def __init__(self, lexicon: Lexicon, kind: ProductType, rng: random.Random) -> None:
        self.lexicon = lexicon
        self.kind = kind
        self.rng = rng
        self.department: Department = lexicon.department_of[kind.name]
        self.parts: list[Part] = []
        self.product_at: int | None = None
        self.expansions: tuple[str, ...] = ()

    def add(self, text: str, segment: str) -> None:
        self.parts.append((text.lower(), segment))

    def product(self) -> None:
        names = (self.kind.name, *self.kind.synonyms)
        # The plain name is asked for about as often as all of its synonyms together.
        name = names[0] if self.rng.random() < 0.5 else self.rng.choice(names[1:])
        others = tuple(other for other in names if other != name)[:MAX_EXPANSIONS]
        form = plural if self.rng.random() < 0.35 else str
        self.product_at = len(self.parts)
        self.expansions = tuple(form(other).lower() for other in others)
        self.add(form(name), "product")

    def brand(self) -> None:
        self.add(self.rng.choice(self.department.brands).name, "brand")

    def model(self) -> None:
        if self.kind.host_models:
            brand, model = self.rng.choice(self.kind.host_models)
            self.add(brand, "brand")
            self.add(model, "model")
            return
        self.brand()
        model = make_model(self.department, self.kind, self.rng)
        if model:
            self.add(model, "model")

    def value(self, wanted: Callable[[str], bool]) -> Part | None:
        """A random value of an attribute that `wanted` accepts; None where the type has none."""
        keys = [pair for pair in self.kind.attributes if pair[0] != COMPATIBLE and wanted(pair[0])]
        if not keys:
            return None
        key, values = self.rng.choice(keys)
        return said(key, self.rng.choice(values)), segment_type(key)

    def described(self, wanted: Callable[[str], bool]) -> None:
        """The product with a value before it."""
        value = self.value(lambda key: wanted(key) and stands_before(key))
        if value:
            self.add(*value)
        self.product()

    def use(self) -> None:
        self.add("for", "other")
        self.add(self.rng.choice(self.kind.uses), "use")

    def price(self) -> None:
        low, high = self.kind.price_low, self.kind.price_high
        limit = low + (high - low) * self.rng.random() ** 2
        step = 5 if limit < 50 else 10 if limit < 200 else 50
        self.add(price_phrase(max(step, round(limit / step) * step), self.rng), "price")

    def finish(self) -> RewriteExample:
        corrected = " ".join(text for text, _ in self.parts)
        noisy = misspell(corrected, self.rng) if self.rng.random() < NOISY_FRACTION else corrected
        return RewriteExample(noisy, corrected, self._phrasings(), _merge(self.parts))

    def _phrasings(self) -> tuple[str, ...]:
        if self.product_at is None:
            return ()
        before = [text for text, _ in self.parts[: self.product_at]]
        after = [text for text, _ in self.parts[self.product_at + 1 :]]
        return tuple(" ".join([*before, other, *after]) for other in self.expansions)


def price_phrase(limit: int, rng: random.Random) -> str:
    """An upper price limit as shoppers type it."""
    return rng.choice(
        (
            f"under {limit}",
            f"under {limit} euros",
            f"below {limit}",
            f"less than {limit} euros",
            f"up to {limit} eur",
            f"cheaper than {limit}",
        )
    )


def _merge(parts: list[Part]) -> tuple[Part, ...]:
    merged: list[Part] = []
    for text, segment in parts:
        if merged and merged[-1][1] == segment:
            merged[-1] = (f"{merged[-1][0]} {text}", segment)
        else:
            merged.append((text, segment))
    return tuple(merged)


def _is_color(key: str) -> bool:
    return segment_type(key) == "colour"


def _product_alone(query: _Draft) -> None:
    query.product()


def _brand_product(query: _Draft) -> None:
    query.brand()
    query.product()


def _color_product(query: _Draft) -> None:
    query.described(_is_color)


def _material_product(query: _Draft) -> None:
    query.described(lambda key: key == "material")


def _attribute_product(query: _Draft) -> None:
    query.described(lambda key: key not in ("color", "material"))


def _product_value(query: _Draft) -> None:
    query.product()
    value = query.value(lambda key: key != "gender")
    if value:
        query.add(*value)


def _color_product_size(query: _Draft) -> None:
    query.described(_is_color)
    value = query.value(lambda key: segment_type(key) == "size")
    if value:
        query.add(*value)


def _material_and_color(query: _Draft) -> None:
    color = query.value(_is_color)
    if color:
        query.add(*color)
    query.described(lambda key: key == "material")


def _brand_color_product(query: _Draft) -> None:
    query.brand()
    query.described(_is_color)


def _product_use(query: _Draft) -> None:
    query.product()
    query.use()


def _attribute_use(query: _Draft) -> None:
    query.described(lambda key: key != "gender")
    query.use()


def _product_price(query: _Draft) -> None:
    query.product()
    query.price()


def _brand_product_price(query: _Draft) -> None:
    query.brand()
    query.product()
    query.price()


def _value_price(query: _Draft) -> None:
    query.described(lambda key: key != "gender")
    query.price()


def _product_feature(query: _Draft) -> None:
    query.product()
    query.add("with", "other")
    feature = query.rng.choice(query.kind.features)
    query.add(feature.removeprefix("a ").removeprefix("an "), "attribute")


def _model(query: _Draft) -> None:
    query.model()
    if query.rng.random() < 0.5:
        query.product()


def _brand_alone(query: _Draft) -> None:
    query.brand()


def _accessory(query: _Draft) -> None:
    hosted = [kind for kind in query.lexicon.types.values() if kind.accessory_of]
    query.kind = query.rng.choice(hosted)
    query.department = query.lexicon.department_of[query.kind.name]
    query.product()
    query.add("for", "other")
    host = query.lexicon.types[query.kind.accessory_of]
    if host.host_models and query.rng.random() < 0.7:
        brand, model = query.rng.choice(host.host_models)
        query.add(brand, "brand")
        query.add(model, "model")
    else:
        query.add(host.name, "product")


def _shelf(query: _Draft) -> None:
    name = query.kind.shelf[-1] if query.rng.random() < 0.8 else query.department.name
    query.add(name, "department")


def _chatty(query: _Draft) -> None:
    opening = query.rng.choice(("best", "new", "buy", "cheap", "good", "top rated"))
    query.add(opening, "price" if opening == "cheap" else "other")
    query.described(lambda key: key != "gender")


_PATTERNS: tuple[tuple[Callable[[_Draft], None], int], ...] = (
    (_product_alone, 16),
    (_brand_product, 12),
    (_color_product, 9),
    (_material_product, 6),
    (_attribute_product, 8),
    (_product_value, 7),
    (_color_product_size, 4),
    (_material_and_color, 4),
    (_brand_color_product, 4),
    (_product_use, 8),
    (_attribute_use, 3),
    (_product_price, 6),
    (_brand_product_price, 2),
    (_value_price, 2),
    (_product_feature, 3),
    (_model, 6),
    (_brand_alone, 2),
    (_accessory, 5),
    (_shelf, 3),
    (_chatty, 4),
)
