"""What groups of features are worth, and what leaks would be worth: measured with the recipe that was chosen.

The features hold neither ids nor row order nor how often a product was judged. That is a property of the code, and
this table shows that it matters: it adds those columns on purpose, and says how much a ranker would have cheated.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from aisle.config import RankerConfig
from aisle.index import kernel_title
from aisle.rank.features import FEATURES
from aisle.training.ranker import Choice, compare_recipes
from aisle.training.rows import TrainingRows

_WORD_ORDER = (
    *("first_match", "head_matched", "head_is_query_head", "query_head_in_title"),
    *("query_head_before_connector", "coverage_head", "coverage_start", "longest_run"),
    *("ordered_share", "match_density", "adjacent_share", "last_term_in_title"),
    *("last_term_ends_title",),
)
_FUZZY = ("fuzzy_coverage", "near_terms", "trigram_jaccard", "trigram_share")
_NUMBERS = (
    *("number_coverage", "numbers_in_title", "unit_agreement", "unit_conflict", "title_numbers"),
)
_FIELDS = (
    *("bm25_brand", "bm25_category", "bm25_attributes", "bm25_description", "coverage_brand"),
    *("coverage_attributes", "coverage_description", "description_terms", "brand_agreement"),
    *("brand_conflict", "attribute_agreement", "attribute_conflict"),
)
GROUPS: Mapping[str, tuple[str, ...]] = {
    "cosine": ("cosine", "fused"),
    "BM25": ("bm25", "bm25_share", "bm25_title", "fused"),
    "coverage": (
        *("coverage", "coverage_title", "coverage_title_or_category", "missing_terms"),
        *("title_precision", "missing_idf_max", "rarest_in_title"),
    ),
    "word order": _WORD_ORDER,
    "character n-grams": _FUZZY,
    "numbers and units": _NUMBERS,
    "brand, category, attributes, description": _FIELDS,
    "segments": ("product_coverage", "constraint_coverage"),
    "query alone": tuple(name for name in FEATURES if name.startswith("query_"))[:3]
    + ("query_idf_max", "query_numbers", "query_brandness", "query_attributeness"),
    "all of the second pass": kernel_title.COLUMNS,
}
"""What is left out together."""


def ablate(
    rows: TrainingRows,
    chosen: Choice,
    config: RankerConfig,
    *,
    lowest_grade: float,
    seed: int = 0,
    threads: int = 1,
) -> list[dict[str, object]]:
    """One row a group: both ndcg@10 without it, and what it adds. A plain column has nothing to leave out."""
    if chosen.recipe is None:
        return []
    fixed = config.model_copy(
        update={"recipe": chosen.recipe.name, "rounds": max(chosen.rounds, 1)}
    )

    def measured(these: TrainingRows) -> tuple[float, float]:
        tried = compare_recipes(
            these, fixed, lowest_grade=lowest_grade, seed=seed, threads=threads, steps=1
        )
        found = next(each for each in tried if each.recipe is not None)
        return float(found.measures.pairs.mean()), float(found.measures.whole.mean())

    table: list[dict[str, object]] = []
    pairs, whole = measured(rows)
    variants = {f"without {name}": _without(rows, names) for name, names in GROUPS.items()}
    variants["plus the product id"] = _plus(rows, _id_order(rows))
    variants["plus how often it was judged"] = _plus(rows, _times_judged(rows))
    table.append({"features": "all", "ndcg@10_pairs": round(pairs, 4), "ndcg@10": round(whole, 4)})
    for name, these in variants.items():
        its_pairs, its_whole = measured(these)
        table.append(
            {
                "features": name,
                "ndcg@10_pairs": round(its_pairs, 4),
                "ndcg@10": round(its_whole, 4),
                "change_pairs": round(its_pairs - pairs, 4),
                "change": round(its_whole - whole, 4),
            }
        )
    return table


def _without(rows: TrainingRows, names: tuple[str, ...]) -> TrainingRows:
    features = rows.features.copy()
    features[:, [FEATURES.index(name) for name in names]] = 0.0
    return replace(rows, features=features)


def _plus(rows: TrainingRows, column: np.ndarray) -> TrainingRows:
    """The rows with one more column."""
    features = np.column_stack([rows.features, column.astype(np.float32)])
    return replace(rows, features=features)


def _id_order(rows: TrainingRows) -> np.ndarray:
    return np.unique(rows.product_ids, return_inverse=True)[1]


def _times_judged(rows: TrainingRows) -> np.ndarray:
    """How many judged pairs of these queries hold the product, the row's own included: a leak by construction."""
    _, place = np.unique(rows.product_ids, return_inverse=True)
    counts = np.bincount(place, weights=rows.seen)
    return np.asarray(counts[place])
