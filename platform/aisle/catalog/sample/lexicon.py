"""The shop's vocabulary in one place: departments, product types, brands, models and attribute values.

It is fixed (no seed): products, judged queries and the rewriter's training queries are all drawn from this one lexicon,
so a word that a query uses is a word that the catalogue can answer.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache

from aisle.catalog.sample.departments import DEPARTMENTS
from aisle.catalog.sample.records import Department, ProductType

COMPATIBLE = "compatible_with"
"""The attribute of an accessory whose values are its host's models, "Brand Model"."""

_CODE_LETTERS = "BCDFGHKLMPRSTVX"


@dataclass(frozen=True, slots=True)
class Lexicon:
    """What the sample shop can talk about.

    `types` and `department_of` are keyed by type name, in the departments' order; `accessories_of` gives the names
    of the types that accompany a host type.
    """

    departments: tuple[Department, ...]
    types: Mapping[str, ProductType]
    department_of: Mapping[str, Department]
    accessories_of: Mapping[str, tuple[str, ...]]
    brands: tuple[str, ...]
    attribute_values: Mapping[str, tuple[str, ...]]

    def synonyms(self, type_name: str) -> tuple[str, ...]:
        """The other names of a product type."""
        return self.types[type_name].synonyms

    def siblings(self, type_name: str) -> tuple[str, ...]:
        """The other types on the same shelf of the same department."""
        shelf = self.types[type_name].shelf
        return tuple(
            other.name
            for other in self.department_of[type_name].types
            if other.shelf == shelf and other.name != type_name
        )


@cache
def build_lexicon() -> Lexicon:
    """The lexicon; an accessory's empty `compatible_with` is filled with its host's models."""
    hosts = {kind.name: kind for department in DEPARTMENTS for kind in department.types}
    departments = tuple(
        replace(d, types=tuple(_with_models(kind, hosts) for kind in d.types)) for d in DEPARTMENTS
    )
    types = {kind.name: kind for d in departments for kind in d.types}
    values: dict[str, dict[str, None]] = {}
    for kind in types.values():
        for key, options in kind.attributes:
            values.setdefault(key, {}).update(dict.fromkeys(options))
    return Lexicon(
        departments=departments,
        types=types,
        department_of={kind.name: d for d in departments for kind in d.types},
        accessories_of={
            name: tuple(kind.name for kind in types.values() if kind.accessory_of == name)
            for name in types
        },
        brands=tuple(dict.fromkeys(brand.name for d in departments for brand in d.brands)),
        attribute_values={key: tuple(options) for key, options in values.items()},
    )


def make_model(department: Department, kind: ProductType, rng: random.Random) -> str:
    """A model name as this type's makers give them; empty where they give none."""
    naming = kind.naming or department.naming
    if naming == "plain":
        return ""
    if naming == "code":
        letters = "".join(rng.choice(_CODE_LETTERS) for _ in range(rng.choice((1, 2, 2))))
        separator = rng.choice(("-", "-", " ", ""))
        number = rng.choice((rng.randrange(10, 100) * 10, rng.randrange(100, 990)))
        return f"{letters}{separator}{number}"
    line = rng.choice(department.lines)
    suffix = rng.random()
    if suffix < 0.25:
        return f"{line} {rng.choice((2, 3, 100, 200, 300, 500))}"
    if suffix < 0.4:
        return f"{line} {rng.choice(('Pro', 'Plus', 'Lite', 'Eco', 'Max'))}"
    return line


def _with_models(kind: ProductType, hosts: Mapping[str, ProductType]) -> ProductType:
    if not any(key == COMPATIBLE for key, _ in kind.attributes):
        return kind
    models = hosts[kind.accessory_of].host_models
    if not models:
        raise ValueError(f"{kind.name}: {kind.accessory_of} names no models to be compatible with")
    fits = tuple(f"{brand} {model}" for brand, model in models)
    return replace(
        kind,
        attributes=tuple(
            (key, fits if key == COMPATIBLE else options) for key, options in kind.attributes
        ),
    )
