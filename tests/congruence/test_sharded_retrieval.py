"""However a catalogue is cut, retrieval answers alike: one segment, several segments, several shards.

Exact dense search (flat), the sample shop, judged and generated queries. Candidates must be the same products in the
same order; only products whose scores agree within 1e-6 may change places.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from aisle.catalog.sample import Sample, build_sample
from aisle.config import RetrievalConfig
from aisle.index.plan import shard_numbers
from aisle.index.statistics import Statistics
from aisle.retrieve.candidates import Candidates
from aisle.retrieve.local import describe_in_shards, search_shards
from aisle.retrieve.merge import fuse, merge
from aisle.retrieve.query import RetrievalQuery
from aisle.retrieve.shard import Shard
from tests.segments import NONE_DEAD, query_of, segment_of

DEPTH = 100
TIE = 1e-6
SHARDS = 4


@dataclass(frozen=True)
class Cut:
    """One way to cut the catalogue."""

    shards: list[Shard]
    statistics: Statistics

    def found(self, query: RetrievalQuery) -> Candidates:
        found = merge(search_shards(self.shards, [query]), DEPTH, DEPTH)
        return describe_in_shards(self.shards, [query], [found])[0]


@pytest.fixture(scope="module")
def sample() -> Sample:
    return build_sample(1500)


@pytest.fixture(scope="module")
def cuts(sample: Sample, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Cut]:
    folder: Path = tmp_path_factory.mktemp("cuts")
    products = sample.products
    # A product that changed: its old row lies dead in the first of three segments.
    stale = products.slice(10, 40).set_column(
        products.schema.get_field_index("title"),
        "title",
        pa.array([f"old {title}" for title in products["title"].slice(10, 40).to_pylist()]),
    )
    number = shard_numbers(products["product_id"], SHARDS)
    plans = {
        "whole": [[(products, [])]],
        "segments": [
            [
                (products.slice(0, 900), []),
                (products.slice(900, 599), []),
                (products.slice(1499), []),
            ]
        ],
        "tombstones": [
            [
                (pa.concat_tables([products.slice(50, 700), stale]), stale["product_id"]),
                (products.slice(750), []),
                (products.slice(0, 50), []),
            ]
        ],
        "shards": [[(products.filter(pa.array(number == s)), [])] for s in range(SHARDS)],
    }
    made = {}
    for name, shards in plans.items():
        opened: list[list[tuple[Any, Any]]] = []
        for s, parts in enumerate(shards):
            segments = []
            for i, (rows, dead_ids) in enumerate(parts):
                segment = segment_of(rows.sort_by("product_id"), folder / f"{name}{s}{i}")
                ids = np.array([str(each).encode() for each in dead_ids], dtype=np.bytes_)
                dead = np.sort(segment.find(ids)) if len(ids) else NONE_DEAD
                segments.append((segment, dead))
            opened.append(segments)
        statistics = Statistics.collect(
            (segment.forward, dead) for segments in opened for segment, dead in segments
        )
        made[name] = Cut([Shard(s, parts, 0.5) for s, parts in enumerate(opened)], statistics)
    return made


FILTERS: dict[str, dict[str, Any] | None] = {
    "no filter": None,
    "available under 80": {"available": True, "price": {"lt": 80}},
    "narrow": {"price": {"gte": 20, "lte": 24}},
}


def texts_of(sample: Sample) -> list[str]:
    queries = list(dict.fromkeys(sample.judgments["query"].to_pylist()))[:100]
    assert len(queries) == 100
    return [*queries, "zzzz unknown", "!!!", "a", " ".join(queries[:15])]


@pytest.mark.parametrize("fusion", ["weighted", "rrf"])
@pytest.mark.parametrize("filters", FILTERS.values(), ids=FILTERS.keys())
@pytest.mark.parametrize("cut", ["segments", "tombstones", "shards"])
def test_a_cut_catalogue_answers_as_the_whole_one(
    cut: str,
    filters: dict[str, Any] | None,
    fusion: str,
    sample: Sample,
    cuts: dict[str, Cut],
) -> None:
    config = RetrievalConfig.model_validate({"fusion": fusion})
    for text in texts_of(sample):
        answers = []
        for name in ("whole", cut):
            query = query_of(text, cuts[name].statistics, filters=filters, depth=DEPTH)
            answers.append(fuse(cuts[name].found(query), config))
        (whole, expected), (cut_up, got) = answers
        assert len(whole) == len(cut_up), text
        assert got == pytest.approx(expected, abs=TIE), text
        differ = np.flatnonzero(whole.product_ids != cut_up.product_ids)
        for i in differ:  # a swap: the same product stands where the score is the same
            at = np.flatnonzero(cut_up.product_ids == whole.product_ids[i])
            assert len(at) == 1, (text, whole.product_ids[i])
            assert got[at[0]] == pytest.approx(expected[i], abs=TIE), text
        at, other = np.argsort(whole.product_ids), np.argsort(cut_up.product_ids)
        assert np.array_equal(whole.features[at], cut_up.features[other]), text
        assert np.array_equal(whole.from_dense[at], cut_up.from_dense[other]), text
        assert np.array_equal(whole.from_lexical[at], cut_up.from_lexical[other]), text


def test_statistics_do_not_depend_on_the_cut(cuts: dict[str, Cut]) -> None:
    whole = cuts["whole"].statistics
    for cut in cuts.values():
        assert cut.statistics.index_of == whole.index_of
        assert np.array_equal(cut.statistics.document_frequency, whole.document_frequency)
        assert np.array_equal(cut.statistics.mean_lengths, whole.mean_lengths)


def test_approximate_indexes_find_nearly_what_exact_search_finds(
    sample: Sample, cuts: dict[str, Cut], tmp_path: Path
) -> None:
    # Lowest mean recall@100 of the dense side against flat, over 40 queries.
    floors = {"sq8": 0.99, "hnsw": 0.98, "ivf": 0.85}
    exact, texts = cuts["whole"], texts_of(sample)[:40]
    for kind, floor in floors.items():
        segment = segment_of(sample.products.sort_by("product_id"), tmp_path / kind, kind)
        shard = Shard(0, [(segment, NONE_DEAD)], 0.5)
        recalls = []
        for text in texts:
            query = query_of(text, exact.statistics, depth=DEPTH)
            best = exact.found(query)
            found = merge([shard.search(query)], DEPTH, DEPTH)
            wanted = set(best.product_ids[best.from_dense].tolist())
            got = set(found.product_ids[found.from_dense].tolist())
            recalls.append(len(wanted & got) / len(wanted))
        assert np.mean(recalls) >= floor, kind
