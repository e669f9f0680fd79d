"""`jobs.evaluate` and `jobs.judge` over a small published shop, with Ray's part done in this process."""

from __future__ import annotations

import argparse
import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

import jobs.evaluate
import jobs.search_tables
from aisle.config import Settings
from aisle.errors import JudgmentError
from aisle.evaluation.query_set import DEFINITIONS
from aisle.evaluation.segments import DEFINITIONS as SEGMENTS
from aisle.judging.graded import graded_table
from aisle.judging.judge import Verdicts
from tests.shop import published, sample

HOSTILE = "<script>alert(1)</script> mug"


def serial_table(
    table: pa.Table,
    steps: Sequence[tuple[Callable[[], Callable[[pa.Table], pa.Table]], int]],
    *,
    batch_rows: int,
    step: str,
) -> pa.Table:
    """What `map_table` does, one batch after another."""
    for make, _ in steps:
        call = make()
        parts = [call(table.slice(at, batch_rows)) for at in range(0, table.num_rows, batch_rows)]
        table = pa.concat_tables(parts)
    return table


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """300 products, the judged queries of the test split, and a query with markup whose product is not there."""
    folder = tmp_path_factory.mktemp("shop")
    judgments = sample().judgments.select(["query", "product_id", "grade", "split"])
    test = judgments.filter(pc.equal(judgments["split"], "test"))
    few = test.filter(pc.is_in(test["query"], pc.unique(test["query"])[:12]))
    odd = {"query": [HOSTILE] * 2, "product_id": ["absent", few["product_id"][0].as_py()]}
    rows = pa.table({**odd, "grade": [3, 0], "split": ["test"] * 2}).cast(few.schema)
    pq.write_table(pa.concat_tables([few, rows]), folder / "judgments.parquet")
    evaluation = {
        "judgments": str(folder / "judgments.parquet"),
        "relevant_from": 2,
        "lowest_grade": 0,
        "depth": 50,
    }
    return published(folder, evaluation=evaluation)


@contextlib.contextmanager
def nothing(_: Any) -> Iterator[None]:
    """In place of a cluster."""
    yield


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jobs.search_tables, "map_table", serial_table)
    monkeypatch.setattr(jobs.evaluate, "cluster", nothing)


def evaluate(settings: list[Settings], **options: str) -> dict[str, Any]:
    names = ("split", "snapshot", "html", "out", "against", "with_judge")
    given = {name: options.get(name) for name in names}
    return jobs.evaluate.run(settings, argparse.Namespace(**given))


def test_a_report_pins_its_set_and_has_every_stage_and_segment(
    shop: Settings, tmp_path: Path
) -> None:
    out, html = str(tmp_path / "report.json"), str(tmp_path / "report.html")
    line = evaluate([shop], out=out, html=html)
    (brief,) = line["sets"]
    assert [each["system"] for each in brief["systems"]] == [
        *("lexical", "dense", "hybrid"),
        *("+ rewrite", "+ ranker", "+ filter"),
    ]
    pins = brief["query_set"]
    assert (pins["split"], pins["depth"], pins["graded_by"]) == ("test", 50, "people")
    assert brief["judgments"]["unknown_pairs"] == 1
    assert set(brief["segments"]) == set(SEGMENTS)
    assert brief["segments"]["typing errors"]["queries"] > 0
    assert "ndcg@10_gain" in brief["systems"][1]
    assert "pairs_brier_skill_interval" in brief["systems"][-1]
    assert "per_query" not in brief
    (full,) = json.loads(Path(out).read_text())["sets"]
    queries = [each["query"] for each in full["worst"]["queries"]]
    assert HOSTILE in queries
    odd = full["worst"]["queries"][queries.index(HOSTILE)]
    assert odd["value"] == 0.0
    assert odd["missed"][0]["product_id"] == "absent"
    assert odd["missed"][0]["title"] is None
    assert all(hit["title"] for hit in odd["hits"])
    page = Path(html).read_text(encoding="utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "http://" not in page
    assert "https://" not in page
    for name in (*DEFINITIONS, *SEGMENTS, pins["content"]):
        assert name in page


def test_two_reports_compare_only_on_one_set(shop: Settings, tmp_path: Path) -> None:
    out = str(tmp_path / "report.json")
    evaluate([shop], out=out)
    (again,) = evaluate([shop], against=out)["sets"]
    assert again["against"]["gains"]["ndcg@10"] == [0.0, 0.0, 0.0]
    other = shop.model_copy(
        update={"evaluation": shop.evaluation.model_copy(update={"relevant_from": 3.0})}
    )
    with pytest.raises(JudgmentError, match=r"another query set: .*relevant_from 2.0 there, 3.0"):
        evaluate([other], against=out)
    with pytest.raises(JudgmentError, match="is no report that jobs.evaluate --out wrote"):
        evaluate([shop], against=str(tmp_path / "absent.json"))


def test_several_environments_make_one_report(shop: Settings, tmp_path: Path) -> None:
    second = shop.model_copy(update={"name": "second"})
    html = tmp_path / "report.html"
    line = evaluate([shop, second], html=str(html))
    assert [each["query_set"]["name"] for each in line["sets"]] == ["test", "second"]
    assert html.read_text(encoding="utf-8").count('<a href="#set-') == 2


def test_judgments_of_another_catalogue_are_refused(shop: Settings, tmp_path: Path) -> None:
    url = str(tmp_path / "judgments.parquet")
    pq.write_table(pa.table({"query": ["mug"], "product_id": ["other"], "grade": [3]}), url)
    change = {"judgments": url, "split": None}
    other = shop.model_copy(update={"evaluation": shop.evaluation.model_copy(update=change)})
    with pytest.raises(JudgmentError, match="none of the 1 judged pairs names a product"):
        evaluate([other])


def test_a_models_grades_stand_beside_peoples(shop: Settings, tmp_path: Path) -> None:
    (before,) = evaluate([shop])["sets"]
    asked = [HOSTILE] * 300
    products = sample().products["product_id"].to_pylist()[:300]

    certain = Verdicts((0.0, 1.0, 2.0, 3.0), np.tile([0.0, 0.0, 0.0, 1.0], (300, 1)))
    pq.write_table(
        graded_table(asked, products, certain, "cross-encoder:f"), tmp_path / "graded.parquet"
    )
    (after,) = evaluate([shop], with_judge=str(tmp_path / "graded.parquet"))["sets"]
    assert after["query_set"] == before["query_set"]
    for one, two in zip(before["systems"], after["systems"], strict=True):
        assert one["ndcg@10"] == two["ndcg@10"]  # people's own value does not move
        assert two["judged@10_with_model"] > two["judged@10"]
    assert "ndcg@10_with_model" not in before["systems"][0]
