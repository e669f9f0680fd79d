"""Builds the sample: products, judged queries and their pools, from one seed.

A pool holds every product of grade 2 and 3 up to the depth at which retrieval is measured, so that a good answer is not
counted as unjudged; of the merely related and of the wrong ones it holds a sample, the wrong ones chosen for the
words they share with the query.
"""

from __future__ import annotations

import math
import random
import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import pyarrow as pa

from aisle.catalog.product import PRODUCT_SCHEMA
from aisle.catalog.sample.grading import grade, related_types
from aisle.catalog.sample.lexicon import Lexicon, build_lexicon
from aisle.catalog.sample.products import CURRENCY, Item, make_items
from aisle.catalog.sample.queries import JudgedQuery, make_queries

MAX_RELEVANT = 200
"""Most products of grade 2 and 3 in a pool: the depth at which retrieval is measured."""

MAX_RELATED = 40
HARD_NEGATIVES = 20
RANDOM_NEGATIVES = 5

_MOST_ALIKE = 3 * HARD_NEGATIVES

JUDGMENT_SCHEMA = pa.schema(
    [
        pa.field("query", pa.string()),
        pa.field("product_id", pa.string()),
        pa.field("grade", pa.int64()),
        pa.field("split", pa.string()),
        pa.field("kind", pa.string()),
    ]
)


@dataclass(frozen=True, slots=True)
class Sample:
    """A made-up shop. `items` are the rows of `products` with their types, `queries` the judged ones with intents.

    `products` follows the Product contract; `judgments` is (query, product_id, grade, split, kind), each query's rows
    together, best grade first.
    """

    products: pa.Table
    judgments: pa.Table
    items: tuple[Item, ...]
    queries: tuple[JudgedQuery, ...]
    lexicon: Lexicon


def build_sample(n_products: int = 6000, seed: int = 7) -> Sample:
    """Builds the shop; the same arguments give equal tables on every machine.

    Raises:
        ValueError: `n_products` is below 1.
    """
    if n_products < 1:
        raise ValueError(f"n_products is {n_products}; a sample needs at least 1 product")
    lexicon = build_lexicon()
    items = make_items(lexicon, n_products, seed)
    queries = make_queries(lexicon, items, seed)
    return Sample(
        products=products_table(items),
        judgments=_judge(lexicon, items, queries, seed),
        items=tuple(items),
        queries=tuple(queries),
        lexicon=lexicon,
    )


def products_table(items: Sequence[Item]) -> pa.Table:
    """The items as rows of the Product contract, in order."""
    rows = [
        {
            "product_id": item.product_id,
            "title": item.title,
            "description": item.description,
            "brand": item.brand,
            "category": [item.department, *item.kind.shelf],
            "price": item.price,
            "currency": CURRENCY,
            "attributes": [(key, list(values)) for key, values in item.attributes.items()],
            "image_url": f"https://images.example.com/products/{item.product_id.lower()}.jpg",
            "available": item.available,
            "updated_at": item.updated_at,
        }
        for item in items
    ]
    return pa.Table.from_pylist(rows, schema=PRODUCT_SCHEMA)


def _judge(
    lexicon: Lexicon, items: Sequence[Item], queries: Sequence[JudgedQuery], seed: int
) -> pa.Table:
    rng = random.Random(f"judgments {seed}")
    by_type: dict[str, list[int]] = defaultdict(list)
    by_brand: dict[str, list[int]] = defaultdict(list)
    for row, item in enumerate(items):
        by_type[item.kind.name].append(row)
        by_brand[item.brand].append(row)
    words = _WordIndex(f"{item.title} {item.description}" for item in items)
    judged: list[dict[str, object]] = []
    for query in queries:
        candidates = (
            [
                row
                for name in sorted(query.intent.types | related_types(query.intent, lexicon))
                for row in by_type[name]
            ]
            if query.intent.types
            else by_brand[query.intent.brand]
        )
        grades = {row: grade(items[row], query.intent, lexicon) for row in candidates}
        pool = _pool(query, grades, words, rng)
        judged.extend(
            {
                "query": query.text,
                "product_id": items[row].product_id,
                "grade": pool[row],
                "split": query.split,
                "kind": query.kind,
            }
            for row in sorted(pool, key=lambda row: (-pool[row], items[row].product_id))
        )
    return pa.Table.from_pylist(judged, schema=JUDGMENT_SCHEMA)


def _pool(
    query: JudgedQuery, grades: dict[int, int], words: _WordIndex, rng: random.Random
) -> dict[int, int]:
    """Row to grade for one query's judged products."""
    exact = [row for row, value in grades.items() if value == 3]
    substitute = [row for row, value in grades.items() if value == 2]
    related = [row for row, value in grades.items() if value == 1]
    chosen = _some(exact, MAX_RELEVANT, rng)
    chosen += _some(substitute, MAX_RELEVANT - len(chosen), rng)
    chosen += _some(related, MAX_RELATED, rng)
    alike = [row for row in words.alike(query.spelt) if grades.get(row, 0) == 0][:_MOST_ALIKE]
    hard = _some(alike, HARD_NEGATIVES, rng)
    chosen += hard
    # A query that shares its words with nothing is judged on random products instead.
    n_random = RANDOM_NEGATIVES + (HARD_NEGATIVES - len(hard)) // 2
    anywhere = [rng.randrange(words.size) for _ in range(n_random)]
    chosen += [row for row in anywhere if grades.get(row, 0) == 0]
    return {row: grades.get(row, 0) for row in chosen}


def _some(rows: list[int], most: int, rng: random.Random) -> list[int]:
    return rows if len(rows) <= most else rng.sample(rows, most)


class _WordIndex:
    """Finds the texts that share the rarest words with a query."""

    def __init__(self, texts: Iterable[str]) -> None:
        self._rows: dict[str, list[int]] = defaultdict(list)
        self.size = 0
        for row, text in enumerate(texts):
            self.size += 1
            for word in set(_words(text)):
                self._rows[word].append(row)

    def alike(self, text: str) -> list[int]:
        """Rows that share a word with the text, by the summed log inverse frequency of what they share."""
        scores: dict[int, float] = defaultdict(float)
        for word in dict.fromkeys(_words(text)):
            rows = self._rows.get(word, ())
            for row in rows:
                scores[row] += math.log(1 + self.size / len(rows))
        return sorted(scores, key=lambda row: (-scores[row], row))


def _words(text: str) -> list[str]:
    """Lower-case words without a plural s."""
    return [word.removesuffix("s") for word in re.findall(r"[a-z0-9]+", text.lower())]
