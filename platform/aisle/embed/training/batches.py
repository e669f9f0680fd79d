"""Which texts make a step: queries with a relevant product and a hard negative each, neighbours among queries together.

A batch depends on the seed and its number alone, so a run that was interrupted goes on with the batches that it would
have had. Every product of a batch is a negative of every query that it is not judged for; queries that resemble each
other therefore share a batch, in small groups, or most of those negatives would be too easy to teach anything.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aisle.catalog.sample.typing_errors import misspell
from aisle.embed.training.material import Material
from aisle.embed.training.phrases import title_phrase


@dataclass(frozen=True)
class BatchPlan:
    """What a batch is made of."""

    queries: int = 128
    """Queries a step."""
    phrase_fraction: float = 0.15
    """Share of the queries that are made from titles of products drawn at random."""
    misspelt_fraction: float = 0.25
    """Share of the queries that get a typing error."""
    hard_fraction: float = 0.3
    """Share of the judged queries that bring a hard negative: a product of a lower grade, or a mined one."""
    group: int = 2
    """Queries that resemble each other in a group."""
    seed: int = 7


@dataclass(frozen=True)
class Batch:
    """Texts of a step. `gains` float32 (q, n), `left_out` bool (q, n); see `aisle.embed.training.loss`."""

    queries: tuple[str, ...]
    rows: NDArray[np.int64]
    """Rows of the catalogue, distinct: (n,)."""
    gains: NDArray[np.float32]
    left_out: NDArray[np.bool_]


class Batches:
    """Draws batch after batch; `neighbours` int64 (q, m) lists queries that resemble each query, or is empty."""

    def __init__(
        self, material: Material, plan: BatchPlan, neighbours: NDArray[np.int64] | None = None
    ) -> None:
        self._material = material
        self._plan = plan
        self._usable = np.flatnonzero(material.has_positive)
        self._neighbours = neighbours
        self._gain_of = [
            dict(zip(rows.tolist(), gains.tolist(), strict=True))
            for rows, gains in zip(material.judged, material.gains, strict=True)
        ]
        self._from_titles = round(plan.queries * plan.phrase_fraction)
        self._from_judgments = max(1, plan.queries - self._from_titles)

    def after(self, step: int) -> Iterator[Batch]:
        """Endless batches from number `step` on."""
        a_pass = max(1, len(self._usable) // self._from_judgments)
        order: list[int] = []
        of_pass = -1
        while True:
            number, within = divmod(step, a_pass)
            if number != of_pass:
                order, of_pass = self._order(number), number
            at = within * self._from_judgments
            yield self._batch(order[at : at + self._from_judgments], step)
            step += 1

    def _order(self, number: int) -> list[int]:
        """All usable queries once, in groups of neighbours, the groups in random order."""
        rng = np.random.default_rng([self._plan.seed, number])
        shuffled: list[int] = rng.permutation(self._usable).tolist()
        if self._neighbours is None or self._plan.group <= 1:
            return shuffled
        left = dict.fromkeys(shuffled)
        order: list[int] = []
        for query in shuffled:
            if query not in left:
                continue
            near = [n for n in self._neighbours[query].tolist() if n in left and n != query]
            group = [query, *near[: self._plan.group - 1]]
            for each in group:
                del left[each]
            order += group
        return order

    def _batch(self, chosen: list[int], step: int) -> Batch:
        material, plan = self._material, self._plan
        rng = random.Random(f"batch {plan.seed} {step}")
        texts = [material.queries[query] for query in chosen]
        rows: dict[int, int] = {}  # row -> column, in order of appearance
        for query in chosen:
            rows.setdefault(self._positive(query, rng), len(rows))
            if rng.random() < plan.hard_fraction:
                hard = self._hard(query, rng)
                if hard is not None:
                    rows.setdefault(hard, len(rows))
        phrases: list[int] = []  # column of the title that each phrase comes from
        for _ in range(self._from_titles):
            row = rng.randrange(len(material.documents))
            title = material.titles[row].strip()
            if title:
                phrases.append(rows.setdefault(row, len(rows)))
                texts.append(title_phrase(title, rng))
        columns = np.array(list(rows), dtype=np.int64)
        gains = np.zeros((len(texts), len(columns)), dtype=np.float32)
        for i, query in enumerate(chosen):
            known = self._gain_of[query]
            for row in known.keys() & rows.keys():
                gains[i, rows[row]] = known[row]
        for i, column in enumerate(phrases, start=len(chosen)):
            gains[i, column] = 1.0
        typed = tuple(
            misspell(text, rng) if rng.random() < plan.misspelt_fraction else text for text in texts
        )
        return Batch(typed, columns, gains, self._twins(columns, gains))

    def _positive(self, query: int, rng: random.Random) -> int:
        gains = self._material.gains[query]
        return int(rng.choices(self._material.judged[query].tolist(), gains.tolist())[0])

    def _hard(self, query: int, rng: random.Random) -> int | None:
        """A judged product below the query's best, or a mined one, whichever there is; evenly where there are both."""
        gains = self._material.gains[query]
        lower = self._material.judged[query][gains < gains.max()].tolist()
        mined = self._material.mined[query].tolist()
        pools = [pool for pool in (lower, mined) if pool]
        return int(rng.choice(rng.choice(pools))) if pools else None

    def _twins(self, columns: NDArray[np.int64], gains: NDArray[np.float32]) -> NDArray[np.bool_]:
        """Products whose text equals that of one with a gain, though they are not judged for the query themselves."""
        texts = [self._material.documents[row] for row in columns.tolist()]
        number: dict[str, int] = {}
        same = np.array([number.setdefault(text, len(number)) for text in texts])
        best = np.zeros((len(gains), len(number)), dtype=np.float32)
        for column, text in enumerate(same):
            best[:, text] = np.maximum(best[:, text], gains[:, column])
        twins: NDArray[np.bool_] = (best[:, same] > 0) & (gains == 0)
        return twins
