"""`jobs.judge` over a small published shop: what it grades, what it writes, and whose measure is whose."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import jobs.judge
import jobs.search_tables
from aisle.config import Settings
from aisle.errors import ConfigError
from aisle.judging import Verdicts
from aisle.judging.graded import GRADED_SCHEMA
from tests.shop import published, sample
from tests.unit.test_evaluate import nothing, serial_table


class OverlapJudge:
    """Grades by the share of the query's words that the product's text holds; enough to agree with people a little."""

    name = "overlap:1"
    levels = (0.0, 1.0, 2.0, 3.0)

    def close(self) -> None:
        pass

    def judge(self, queries: Sequence[str], products: Sequence[str]) -> Verdicts:
        shares = [
            np.mean([word in product.lower() for word in query.lower().split()])
            for query, product in zip(queries, products, strict=True)
        ]
        at = np.rint(np.array(shares).reshape(-1) * 3).astype(int)
        return Verdicts(self.levels, np.eye(4)[at])


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("shop")
    judgments = sample().judgments.select(["query", "product_id", "grade", "split"])
    some = pc.is_in(judgments["query"], pc.unique(judgments["query"])[:60])
    pq.write_table(judgments.filter(some), folder / "judgments.parquet")
    evaluation = {"judgments": str(folder / "judgments.parquet"), "lowest_grade": 0, "depth": 20}
    return published(folder, evaluation=evaluation)


def options(**given: Any) -> argparse.Namespace:
    defaults = {"judge": "folder", "llm": None, "split": "test", "depth": 10, "threads": 1}
    agreement = {"agreement_split": "dev", "agreement_queries": 5}
    return argparse.Namespace(**(defaults | agreement | given))


def test_only_unjudged_hits_are_graded_and_both_measures_are_shown(
    shop: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(jobs.search_tables, "map_table", serial_table)
    monkeypatch.setattr(jobs.judge, "cluster", nothing)
    monkeypatch.setattr(jobs.judge, "_open", lambda *_: OverlapJudge())
    out = tmp_path / "graded.parquet"
    report = jobs.judge.run(shop, options(out=str(out)))
    graded = pq.read_table(out)
    assert graded.schema == GRADED_SCHEMA
    assert graded.num_rows == report["graded_pairs"] > 0
    assert set(graded["judged_by"].to_pylist()) == {"overlap:1"}
    judged = pq.read_table(str(shop.evaluation.judgments))
    known = set(zip(judged["query"].to_pylist(), judged["product_id"].to_pylist(), strict=True))
    new = set(zip(graded["query"].to_pylist(), graded["product_id"].to_pylist(), strict=True))
    assert not new & known
    assert report["people"]["judged@10"] < report["people_and_model"]["judged@10"] == 1.0
    assert report["agreement"]["queries"] <= 5
    assert report["agreement"]["kappa"] > 0  # words in common say something
    again = jobs.judge.run(shop, options(out=str(out), depth=3))
    assert again["people"] == report["people"]
    assert again["graded_pairs"] < report["graded_pairs"]


def test_one_judge_has_to_be_named(shop: Settings) -> None:
    for given in ({"judge": None}, {"llm": "builtin"}):
        with pytest.raises(ConfigError, match="one of --judge DIR and --llm MODEL"):
            jobs.judge._open(shop, options(**given), None)  # type: ignore[arg-type]
