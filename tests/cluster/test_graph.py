"""The whole product on a real cluster: nightly job through its door, both topologies over HTTP, batch beside online.

One catalogue, one snapshot and one engine serve all tests of this file, because starting them is what costs; tests
that need another configuration redeploy and say so.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
import urllib.error
import urllib.parse
import urllib.request
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from aisle.local import local_pipeline
from aisle.schema import SearchRequest
from aisle.snapshot import Library, LoadedSnapshot
from aisle.stages import Deadline
from aisle.store import Store
from deployments.telemetry import METRICS
from jobs.serving import post
from tests.published import Shop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

QUERIES = [
    "wireless headphones",
    "red dress",
    "office chair",
    "laptop sleeve",
    "garden hose 20 m",
    "submarine",
]


@pytest.fixture(scope="module")
def fused(shop: Shop) -> str:
    """The fused application with its rewriter, deployed by `serve deploy`."""
    return shop.deploy()


@pytest.fixture(scope="module")
def answers(fused: str) -> list[dict[str, Any]]:
    """What fused answers, kept for comparison with the topology that replaces it."""
    return [
        post(f"{fused}/v1/search", {"query": q, "k": 30, "rewrite": "off", "timeout_ms": 5000})
        for q in QUERIES
    ]


def hits(answer: dict[str, Any]) -> list[tuple[str, float, float]]:
    return [(hit["product_id"], hit["score"], hit["relevance"]) for hit in answer["hits"]]


def test_a_submitted_job_publishes_a_judged_snapshot(shop):
    assert shop.submitted.returncode == 0, shop.submitted.stdout + shop.submitted.stderr
    last = json.loads([x for x in shop.submitted.stdout.splitlines() if x.startswith('{"job"')][-1])
    assert last["ok"]
    assert last["published"]
    assert last["counts"]["products"] == 1200
    assert last["report"]["systems"][0]["ndcg@10"] > 0.3


def test_fused_answers_exactly_as_the_pipeline(shop, answers):
    library = Library(Store.open(shop.settings.store))
    snapshot = LoadedSnapshot.load(library, library.manifest(library.current()), shop.settings)
    requests = [SearchRequest(query=query, k=30, rewrite="off") for query in QUERIES]
    expected = asyncio.run(
        local_pipeline(snapshot, shop.settings).search(requests, Deadline.after(30))
    )
    for answer, wanted in zip(answers, expected, strict=True):
        assert hits(answer) == [(hit.product_id, hit.score, hit.relevance) for hit in wanted.hits]
        assert answer["total"] == wanted.total
        assert answer["snapshot"] == snapshot.snapshot_id
        assert answer["degraded"] == []


def test_the_rewriter_repairs_a_query_and_every_stage_reports_its_time(fused):
    answer = post(f"{fused}/v1/search", {"query": "offfice chair", "timeout_ms": 5000})
    assert answer["degraded"] == []
    assert answer["rewrite"]["query"] == "office chair"
    assert answer["rewrite"]["applied"]
    plain = post(
        f"{fused}/v1/search", {"query": "offfice chair", "rewrite": "off", "timeout_ms": 5000}
    )
    assert hits(plain) != hits(answer)
    assert set(answer["timings_ms"]) == {
        "rewrite",
        "choose",
        "encode",
        "retrieve",
        "rank",
        "filter",
        "page",
        "total",
    }
    assert all(ms > 0 for ms in answer["timings_ms"].values())


def test_batch_search_equals_online(shop, answers, tmp_path):
    pq.write_table(pa.table({"query": QUERIES}), tmp_path / "in.parquet")
    last, done = shop.run(
        "batch_search",
        "--queries",
        str(tmp_path / "in.parquet"),
        "--k",
        "30",
        "--out",
        str(tmp_path / "out.parquet"),
        "--set",
        "rewriter.mode=off",
    )
    assert done.returncode == 0, done.stderr
    assert last["rows_out"] > 0
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    for query, answer in zip(QUERIES, answers, strict=True):
        batch = [row for row in rows if row["query"] == query and row["kept"]]
        assert [row["product_id"] for row in batch] == [hit[0] for hit in hits(answer)]
        assert [row["score"] for row in batch] == pytest.approx(
            [hit[1] for hit in hits(answer)], abs=1e-5
        )


def test_get_and_post_agree_and_filters_facets_and_sort_hold(fused):
    body = {
        "query": "headphones",
        "k": 10,
        "rewrite": "off",
        "facets": ["category"],
        "sort": "price",
        "filters": {"price": {"lt": 100}, "available": True},
    }
    posted = post(f"{fused}/v1/search", body)
    url = f"{fused}/v1/search?q=headphones&k=10&rewrite=off&facets=category&sort=price&filters="
    with urllib.request.urlopen(url + urllib.parse.quote(json.dumps(body["filters"]))) as response:
        got = json.load(response)
    assert hits(got) == hits(posted)
    prices = [hit["product"]["price"] for hit in posted["hits"]]
    assert prices == sorted(prices)
    assert all(price < 100 for price in prices)
    departments = [
        each["count"] for each in posted["facets"]["category"] if "/" not in each["value"]
    ]
    assert sum(departments) == posted["total"]


BAD = {
    "malformed JSON": (b'{"query": ', 400, "not valid JSON"),
    "empty query": (b'{"query": ""}', 400, "query"),
    "blank query": (b'{"query": "   "}', 400, "empty"),
    "a query of 10,000 characters": (json.dumps({"query": "x" * 10_000}).encode(), 400, "512"),
    "k of nought": (b'{"query": "a", "k": 0}', 400, "k"),
    "k of 1001": (b'{"query": "a", "k": 1001}', 400, "1000"),
    "too deep a page": (b'{"query": "a", "k": 100, "offset": 9950}', 400, "10000"),
    "unknown field": (b'{"query": "a", "size": 3}', 400, "size"),
    "unknown filter": (b'{"query": "a", "filters": {"colour": "red"}}', 400, "attributes.<name>"),
    "price as a word": (b'{"query": "a", "filters": {"price": "cheap"}}', 400, "price"),
    "unknown sort": (b'{"query": "a", "sort": "best"}', 400, "newest"),
    "not an object": (b"[1, 2]", 400, "object"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_input_gets_a_problem_that_says_what_is_allowed(fused, name):
    body, status, says = BAD[name]
    request = urllib.request.Request(
        f"{fused}/v1/search", data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(request)
    problem = json.load(caught.value)
    assert caught.value.code == status
    assert caught.value.headers["Content-Type"] == "application/problem+json"
    assert problem["status"] == status
    assert says in problem["detail"]


def test_unknown_paths_are_problems_and_the_contract_is_described(fused):
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(f"{fused}/v2/search")
    assert json.load(caught.value)["status"] == 404
    with urllib.request.urlopen(f"{fused}/openapi.json") as response:
        paths = json.load(response)["paths"]
    assert {"/v1/search", "/v1/snapshot", "/healthz", "/readyz"} <= paths.keys()
    for path in ("/healthz", "/readyz", "/v1/snapshot"):
        with urllib.request.urlopen(fused + path) as response:
            assert response.status == 200


def test_prometheus_finds_every_metric_with_a_value_and_the_log_names_the_request(shop, fused):
    post(f"{fused}/v1/search", {"query": "office chair", "filters": {"price": {"lt": 0}}})
    refused = urllib.request.Request(
        f"{fused}/v1/search",
        data=b'{"query": "headphones", "timeout_ms": 0.001}',
        headers={"Content-Type": "application/json", "X-Request-Id": "too-late-1"},
    )
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(refused)
    caught.value.close()
    assert caught.value.code == 503
    # Nothing here leaves a stage out; how that is counted is tests/serve/test_telemetry.py's.
    wanted = {
        name
        for key, metric in METRICS.items()
        for name in metric.exported(key)
        if key != "aisle_degraded_total"
    }
    deadline = time.monotonic() + 60  # states are read every 5 s, nodes report every 10 s
    values: dict[str, list[float]] = {}
    while wanted - values.keys() and time.monotonic() < deadline:
        time.sleep(1.0)
        with urllib.request.urlopen(shop.cluster.metrics_url) as response:
            scraped = response.read().decode()
        values = {}
        for name, value in re.findall(r"^(ray_aisle_\w+)\{.*\} (\S+)$", scraped, re.MULTILINE):
            values.setdefault(name, []).append(float(value))
    assert wanted - values.keys() == set()
    assert sum(values["ray_aisle_answers_total"]) >= len(QUERIES)
    assert max(values["ray_aisle_request_seconds_count"]) >= len(QUERIES)
    assert sum(values["ray_aisle_empty_pages_total"]) >= 1
    assert sum(values["ray_aisle_refused_total"]) >= 1
    assert 0 < max(values["ray_aisle_snapshot_age_seconds"]) < 3600
    assert max(values["ray_aisle_rollout_behind"]) == 0
    judged = sum(values["ray_aisle_judged_products_total"])
    assert 0 < sum(values["ray_aisle_kept_products_total"]) <= judged
    lines = [
        json.loads(line)
        for path in (shop.cluster.temp_dir / "session_latest/logs").glob("worker-*.err")
        for line in path.read_text(encoding="utf-8", errors="replace").splitlines()
        if "too-late-1" in line
    ]
    assert [(line["reason"], line["deployment"]) for line in lines] == [("deadline", "Gateway")]
    assert lines[0]["snapshot"]


def test_split_answers_exactly_as_fused(shop, answers):
    """Last, because it replaces the application."""
    url = shop.deploy("serving.topology=split", "rewriter.mode=off")
    for query, wanted in zip(QUERIES, answers, strict=True):
        answer = post(f"{url}/v1/search", {"query": query, "k": 30, "timeout_ms": 5000})
        assert answer["degraded"] == []
        assert hits(answer) == hits(wanted)
        assert answer["total"] == wanted["total"]


def test_a_pair_scores_as_it_does_in_a_search(shop, answers, tmp_path):
    pairs = [
        (q, hit[0]) for q, answer in zip(QUERIES, answers, strict=True) for hit in hits(answer)[:5]
    ]
    pairs.append((QUERIES[0], "no such product"))
    table = pa.table({"query": [q for q, _ in pairs], "product_id": [p for _, p in pairs]})
    pq.write_table(table, tmp_path / "in.parquet")
    _, done = shop.run(
        "batch_search",
        "--pairs",
        str(tmp_path / "in.parquet"),
        "--out",
        str(tmp_path / "out.parquet"),
        "--set",
        "rewriter.mode=off",
    )
    assert done.returncode == 0, done.stderr
    rows = pq.read_table(tmp_path / "out.parquet").to_pylist()
    assert [(row["query"], row["product_id"]) for row in rows] == pairs
    score_of = {
        (q, hit[0]): hit[1] for q, a in zip(QUERIES, answers, strict=True) for hit in hits(a)
    }
    for row in rows[:-1]:
        assert row["score"] == pytest.approx(score_of[row["query"], row["product_id"]], abs=1e-5)
    assert not rows[-1]["kept"]
