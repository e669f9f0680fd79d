"""Judgments say how well a product answers a query, one grade a (query, product) pair.

Rows lie flat, sorted by query (first appearance) and then by product id, so that a stable sort by score breaks ties by
product id and a query is a slice. A grade that was given twice becomes the mean, and the pairs whose grades disagreed
are counted: raters differ, and the last one is no wiser than the first.

The lowest grade belongs to the whole set, not to a split or a query: a gain must not change with the sample.

Grades that a model gave (`judged_by`) are refused unless they are asked for, and never count where a person graded.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from aisle.errors import JudgmentError
from aisle.evaluation.columns import (
    check_columns,
    is_numeric,
    one_split_a_query,
    without_overruled,
)
from aisle.evaluation.gains import Gains, checked_gains, exponential_gains, gains_by_table
from aisle.evaluation.table import read_parquet

logger = logging.getLogger(__name__)

PEOPLE = "people"
"""In the column `judged_by`: a person's grade, as is every grade of a file without that column."""


def normalize_query(query: str) -> str:
    """The key by which queries match: lower case, white space collapsed.

    >>> normalize_query("  HP   Laptop ")
    'hp laptop'
    """
    return " ".join(query.lower().split())


@dataclass(frozen=True, slots=True)
class JudgmentCounts:
    """What was read and what was set aside, for the report."""

    rows: int = 0
    """Rows of the source."""
    pairs: int = 0
    """Distinct (query, product) pairs after normalising the query."""
    repeated_pairs: int = 0
    """Pairs that were graded more than once."""
    contradictory_pairs: int = 0
    """Repeated pairs whose grades differ; their mean is used."""
    queries_in_two_splits: int = 0
    """Queries whose rows lie in several splits; they stay in the one held back, their other rows are set aside."""
    unknown_products: int = 0
    """Distinct products that the catalogue does not hold."""
    unknown_pairs: int = 0
    """Pairs set aside because of such a product."""
    all_lowest_queries: int = 0
    """Queries set aside because every grade is the lowest: no ranking of them is better than another."""


@dataclass(frozen=True, slots=True)
class Judgments:
    """Graded pairs of a set of queries. Build with `from_columns` or `read`.

    `offsets` int64 (q + 1,) delimits the rows of each query; `product_ids` object (n,) of str, ascending inside a
    query; `grades` float64 (n,). `texts` holds each query as first written, which is what to send to a search.
    """

    queries: tuple[str, ...]
    texts: tuple[str, ...]
    offsets: NDArray[np.int64]
    product_ids: NDArray[np.object_]
    grades: NDArray[np.float64]
    splits: tuple[str, ...] | None
    lowest_grade: float
    relevant_from: float
    counts: JudgmentCounts
    gains: Gains = ()
    """The set's own gains by grade; empty for 2^(grade - lowest) - 1."""
    model_graded: NDArray[np.bool_] | None = None
    """Mask bool (n,): a model gave the grade, no person did; None where people gave all."""

    @classmethod
    def read(
        cls,
        url: str,
        *,
        relevant_from: float,
        lowest_grade: float | None = None,
        gains: Mapping[float, float] | None = None,
        accept_judges: bool = False,
    ) -> Judgments:
        """Reads Parquet with `query, product_id, grade` and optionally `split, judged_by` from any fsspec URL.

        Raises JudgmentError where the file cannot be read, lacks a column, holds no row, or a value is missing.
        """
        table = read_parquet(
            url, required=("query", "product_id", "grade"), optional=("split", "judged_by")
        )
        return cls.from_table(
            table,
            url,
            relevant_from=relevant_from,
            lowest_grade=lowest_grade,
            gains=gains,
            accept_judges=accept_judges,
        )

    @classmethod
    def from_table(
        cls,
        table: pa.Table,
        url: str,
        *,
        relevant_from: float,
        lowest_grade: float | None = None,
        gains: Mapping[float, float] | None = None,
        accept_judges: bool = False,
    ) -> Judgments:
        """Builds from a table with the columns that `read` reads; `url` is for messages.

        Raises JudgmentError as `read`, and where a model gave grades and `accept_judges` is not set.
        """
        grade = table.column("grade")
        if not is_numeric(grade.type):
            raise JudgmentError(
                f"{url}: column grade is {grade.type}, expected a number; map labels to numbers first"
            )
        split = table.column("split").to_pylist() if "split" in table.column_names else None
        people = None
        if "judged_by" in table.column_names:
            people = _by_people(table.column("judged_by"), url, accept_judges)
        try:
            return cls.from_columns(
                table.column("query").to_pylist(),
                pc.cast(table.column("product_id"), pa.string()).to_pylist(),
                pc.cast(grade, pa.float64()).to_numpy(zero_copy_only=False),
                split=split,
                relevant_from=relevant_from,
                lowest_grade=lowest_grade,
                gains=gains,
                people=people,
            )
        except JudgmentError as error:
            raise JudgmentError(f"{url}: {error}") from error

    @classmethod
    def from_columns(
        cls,
        query: Sequence[str],
        product_id: Sequence[str],
        grade: NDArray[np.float64] | Sequence[float],
        *,
        relevant_from: float,
        split: Sequence[str] | None = None,
        lowest_grade: float | None = None,
        gains: Mapping[float, float] | None = None,
        people: NDArray[np.bool_] | None = None,
    ) -> Judgments:
        """Builds from columns of equal length; `lowest_grade` is the smallest grade unless given.

        `gains` are the set's own by grade, exponential ones where there are none; `people` bool (n,) says which grades
        a person gave, all where it is None. A model's grade of a pair that a person graded is set aside.

        Two spellings of one query may lie in two splits. Such a query would be trained on and tested: it stays in the
        split that is held back (see HELD_BACK), with that split's rows alone, and is counted. Raises JudgmentError on
        no row, on a missing value (with its row) and on a grade under `lowest_grade`.
        """
        grades = np.asarray(grade, dtype=np.float64)
        check_columns(query, product_id, grades)
        lowest = float(grades.min()) if lowest_grade is None else float(lowest_grade)
        if grades.min() < lowest:
            raise JudgmentError(
                f"row {int(grades.argmin())}: grade {grades.min():g} lies under the set's lowest grade "
                f"{lowest:g}; correct lowest_grade"
            )
        codes: dict[str, int] = {}
        texts: list[str] = []
        query_index = np.empty(len(grades), dtype=np.int64)
        for row, text in enumerate(query):
            key = normalize_query(text)
            if key not in codes:
                codes[key] = len(codes)
                texts.append(text)
            query_index[row] = codes[key]
        queries = tuple(codes)
        products = np.asarray(product_id, dtype=np.str_)
        splits, spread = None, 0
        if split is not None:
            splits, keep, spread = one_split_a_query(queries, query_index, split)
            query_index, products, grades = query_index[keep], products[keep], grades[keep]
            people = None if people is None else people[keep]

        ids, product_index = np.unique(products, return_inverse=True)
        rows = query_index * len(ids) + product_index
        if people is not None:
            keep = without_overruled(rows, people)
            rows, grades, people = rows[keep], grades[keep], people[keep]
        pairs, inverse, count = np.unique(rows, return_inverse=True, return_counts=True)
        means = np.bincount(inverse, weights=grades) / count
        low = np.full(len(pairs), np.inf)
        high = np.full(len(pairs), -np.inf)
        np.minimum.at(low, inverse, grades)
        np.maximum.at(high, inverse, grades)
        counts = JudgmentCounts(
            rows=len(query),
            pairs=len(pairs),
            repeated_pairs=int((count > 1).sum()),
            contradictory_pairs=int((high > low).sum()),
            queries_in_two_splits=spread,
        )
        if counts.contradictory_pairs:
            logger.warning("pairs with contradictory grades: %d", counts.contradictory_pairs)
        # Where grades agree the grade itself is kept: a mean of equal numbers may differ in its last bit.
        return cls(
            queries=queries,
            texts=tuple(texts),
            offsets=np.searchsorted(pairs, np.arange(len(queries) + 1) * len(ids)).astype(np.int64),
            product_ids=ids[pairs % len(ids)].astype(object),
            grades=np.where(high > low, means, low),
            splits=splits,
            lowest_grade=lowest,
            relevant_from=float(relevant_from),
            counts=counts,
            gains=checked_gains(gains or {}, grades),
            model_graded=None if people is None else ~people[np.unique(rows, return_index=True)[1]],
        )

    def __len__(self) -> int:
        """Number of pairs."""
        return len(self.grades)

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.object_], NDArray[np.float64]]]:
        """Each query with its product ids, ascending, and their grades."""
        for i, query in enumerate(self.queries):
            rows = slice(self.offsets[i], self.offsets[i + 1])
            yield query, self.product_ids[rows], self.grades[rows]

    @property
    def query_index(self) -> NDArray[np.int64]:
        """int64 (n,): the position in `queries` of each pair's query."""
        return np.repeat(np.arange(len(self.queries)), np.diff(self.offsets))

    @property
    def relevant(self) -> NDArray[np.bool_]:
        """Mask bool (n,): the grade reaches `relevant_from`."""
        return self.grades >= self.relevant_from

    def gain(self, grades: NDArray[np.floating]) -> NDArray[np.float64]:
        """What each grade is worth in nDCG: the set's own gains, else exponential ones; 0 where it is NaN."""
        if self.gains:
            return gains_by_table(grades, self.gains)
        return exponential_gains(grades, self.lowest_grade)

    def by_people(self) -> Judgments:
        """Only the pairs that people graded; the same where they graded all. JudgmentError where none is left."""
        if self.model_graded is None:
            return self
        if self.model_graded.all():
            raise JudgmentError(
                f"a model gave all {len(self)} grades; judgments by people are needed beside them"
            )
        return replace(self._take_pairs(~self.model_graded), model_graded=None)

    def split(self, name: str) -> Judgments:
        """The queries of one split. Raises JudgmentError where there is none of that name."""
        if self.splits is None:
            raise JudgmentError(
                f"split {name!r} wanted, but the judgments have no split; add a column split or use with_split"
            )
        keep = np.array([s == name for s in self.splits], dtype=np.bool_)
        if not keep.any():
            known = ", ".join(sorted(set(self.splits)))
            raise JudgmentError(f"no query in split {name!r}; the judgments have: {known}")
        return self._take_queries(keep)

    def sampled(self, n: int) -> Judgments:
        """At most n of the queries, chosen by a hash of their text: the same ones for every run and order."""
        if len(self.queries) <= n:
            return self
        order = np.argsort([_unit_hash(query, 0) for query in self.queries], kind="stable")
        keep = np.zeros(len(self.queries), np.bool_)
        keep[order[:n]] = True
        return self._take_queries(keep)

    def with_split(self, fractions: Mapping[str, float], *, seed: int = 0) -> Judgments:
        """Assigns every query to a split by a hash of its text, so that a query stays where it is as the set grows.

        `fractions` sum to 1. Raises JudgmentError where a split would stay empty: the set is too small.
        """
        total = sum(fractions.values())
        if abs(total - 1.0) > 1e-9:
            raise JudgmentError(f"split fractions sum to {total:g}, expected 1: {dict(fractions)}")
        names = list(fractions)
        edges = np.cumsum(list(fractions.values()))[:-1]
        places = [_unit_hash(query, seed) for query in self.queries]
        splits = tuple(names[i] for i in np.searchsorted(edges, places, side="right"))
        empty = [name for name in names if name not in splits]
        if empty:
            raise JudgmentError(
                f"{len(self.queries)} queries are too few to split: {', '.join(empty)} stays empty; "
                "judge more queries or use fewer splits"
            )
        return replace(self, splits=splits)

    def known_in(self, product_ids: Collection[str]) -> Judgments:
        """Sets aside the pairs whose product is not in `product_ids`, counted; queries left empty go too.

        Raises JudgmentError where no judged product is known: then the ids are of another catalogue.
        """
        known = product_ids if isinstance(product_ids, (set, frozenset)) else set(product_ids)
        keep = np.array([product in known for product in self.product_ids], dtype=np.bool_)
        unknown = self.product_ids[~keep]
        if not keep.any():
            raise JudgmentError(
                f"none of the {len(set(unknown))} judged products is in the catalogue of {len(known)}, "
                f"for example {unknown[0]!r}; check that both use the same product_id"
            )
        counts = replace(
            self.counts,
            unknown_products=len(set(unknown)),
            unknown_pairs=len(unknown),
        )
        if len(unknown):
            logger.warning("judged pairs of unknown products: %d", len(unknown))
        return replace(self._take_pairs(keep), counts=counts)

    def measurable(self) -> Judgments:
        """Sets aside the queries whose grades are all lowest, counted. Raises JudgmentError where none is left."""
        above = self.grades > self.lowest_grade
        keep = np.bincount(self.query_index, weights=above, minlength=len(self.queries)) > 0
        if not keep.any():
            raise JudgmentError(
                f"every grade of {len(self.queries)} queries is the lowest ({self.lowest_grade:g}): "
                "nothing can be measured; give a lower lowest_grade if the set has one"
            )
        return replace(
            self._take_queries(keep),
            counts=replace(self.counts, all_lowest_queries=int((~keep).sum())),
        )

    def _take_queries(self, keep: NDArray[np.bool_]) -> Judgments:
        return self._take_pairs(keep[self.query_index])

    def _take_pairs(self, keep: NDArray[np.bool_]) -> Judgments:
        sizes = np.bincount(self.query_index, weights=keep, minlength=len(self.queries))
        left = np.flatnonzero(sizes)
        return replace(
            self,
            queries=tuple(self.queries[i] for i in left),
            texts=tuple(self.texts[i] for i in left),
            splits=None if self.splits is None else tuple(self.splits[i] for i in left),
            offsets=np.concatenate([[0], np.cumsum(sizes[left])]).astype(np.int64),
            product_ids=self.product_ids[keep],
            grades=self.grades[keep],
            model_graded=None if self.model_graded is None else self.model_graded[keep],
        )


def _by_people(
    judged_by: pa.ChunkedArray, url: str, accept_judges: bool
) -> NDArray[np.bool_] | None:
    """Mask bool (n,): a person's grade; an empty cell is one. None where people gave all."""
    names = pc.fill_null(judged_by.cast(pa.string()), PEOPLE)
    people: NDArray[np.bool_] = np.asarray(pc.equal(names, PEOPLE).to_numpy(zero_copy_only=False))
    if people.all():
        return None
    if not accept_judges:
        judges = sorted(set(pc.unique(names).to_pylist()) - {PEOPLE})
        raise JudgmentError(
            f"{url}: {int((~people).sum())} of {len(people)} grades are by {', '.join(judges)}, not by people; measure "
            "on people's grades, or ask for both with --with-judge, which shows the two apart"
        )
    return people


def _unit_hash(query: str, seed: int) -> float:
    digest = hashlib.sha256(f"{seed}:{query}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64
