"""Any number of shards answers as one does; exact search, so equal means equal."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from aisle.schema import SearchRequest
from aisle.stages import Deadline
from tests.shop import open_pipeline, queries, run_night, settings_for

REQUESTS: list[dict[str, Any]] = [
    {},
    {"k": 100, "offset": 50},
    {"filters": {"price": {"gte": 20, "lt": 60}}},
    {"filters": {"available": True}, "sort": "price", "facets": ("brand", "category")},
    {"explain": True, "k": 10},
]


@pytest.mark.parametrize("shards", [3, 7])
@pytest.mark.parametrize(
    "retrieval",
    [
        {"dense_depth": 1000, "lexical_depth": 1000, "rank_depth": 1000},
        {"dense_depth": 20, "lexical_depth": 20, "rank_depth": 25},
        {"dense_depth": 40, "lexical_depth": 40, "fusion": "rrf"},
        {"dense_depth": 0, "dense_weight": 0.0},
    ],
    ids=["everything", "shallow", "reciprocal ranks", "words"],
)
async def test_shards_answer_as_a_single_index(
    source: Path, tmp_path_factory: pytest.TempPathFactory, shards: int, retrieval: dict[str, Any]
) -> None:
    base = tmp_path_factory.getbasetemp() / "shards"  # one build for all depths
    answers = []
    for number in (1, shards):
        settings = settings_for(
            base / str(number), source, index={"shards": number}, retrieval=retrieval
        )
        if not (base / str(number) / "store" / "CURRENT").exists():
            run_night(settings)
        asked = [
            SearchRequest(query=text, **REQUESTS[i % len(REQUESTS)])
            for i, text in enumerate(queries(25))
        ]
        answers.append(await open_pipeline(settings).search(asked, Deadline.after(60)))
    for one, many in zip(*answers, strict=True):
        assert replace(one, snapshot="", timings_ms={}) == replace(many, snapshot="", timings_ms={})
