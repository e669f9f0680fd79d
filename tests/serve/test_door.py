"""The door over HTTP: sizes, keys, limits and other sites' pages, with a clock of the test's own."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from aisle.config import AdmissionConfig, load
from deployments import admission
from deployments.admission import Door, admitting
from tests.serve.conftest import Served

KEY = "0123456789abcdef"
SEARCH = {"query": "shoes", "k": 3}

Opened = Callable[..., httpx.Client]


@pytest.fixture
def opened(routes: FastAPI, served: Served) -> Iterator[Opened]:
    """A client of the application behind a door with these settings; `clock` is its time."""
    clients: list[httpx.Client] = []

    def open_door(clock: list[float] | None = None, **fields: Any) -> httpx.Client:
        guarded = admitting(routes, AdmissionConfig.model_validate(fields), 1)
        if clock is not None:
            door = next(each for each in guarded.user_middleware if each.cls is Door)
            door.kwargs["clock"] = lambda: clock[0]
        served.app = guarded
        clients.append(httpx.Client(base_url=served.url, timeout=60.0))
        return clients[-1]

    yield open_door
    for client in clients:
        client.close()


def problem(response: Any, status: int) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    return body


def test_an_open_door_lets_a_search_through_with_its_body(opened):
    client = opened()
    response = client.post("/v1/search", json=SEARCH)
    assert response.status_code == 200
    assert len(response.json()["hits"]) == 3
    assert client.get("/v1/search", params={"q": "shoes", "k": 3}).status_code == 200


def test_beyond_a_callers_limit_it_is_429_with_the_seconds_to_wait(opened):
    clock = [0.0]
    client = opened(clock, client_rate_per_s=0.25, client_burst=2)
    codes = [client.post("/v1/search", json=SEARCH).status_code for _ in range(2)]
    refused = client.post("/v1/search", json=SEARCH)
    assert codes == [200, 200]
    assert "0.25 searches a second" in problem(refused, 429)["detail"]
    assert refused.headers["Retry-After"] == "4"
    clock[0] = 4.0
    assert client.post("/v1/search", json=SEARCH).status_code == 200


def test_beyond_everybodys_limit_it_is_503_with_the_seconds_to_wait(opened):
    client = opened([0.0], rate_per_s=2, burst=1)
    assert client.get("/v1/search", params={"q": "shoes"}).status_code == 200
    refused = client.get("/v1/search", params={"q": "shoes"})
    assert "2 searches a second" in problem(refused, 503)["detail"]
    assert refused.headers["Retry-After"] == "1"


def test_health_and_the_snapshot_cost_nothing_of_the_limits(opened):
    client = opened([0.0], rate_per_s=1, burst=1, client_rate_per_s=1, client_burst=1)
    for path in ("/healthz", "/readyz", "/v1/snapshot", "/openapi.json") * 3:
        assert client.get(path).status_code == 200
    assert client.post("/v1/search", json=SEARCH).status_code == 200


def test_callers_are_told_apart_by_the_address_that_a_trusted_proxy_saw(opened):
    client = opened([0.0], client_rate_per_s=1, client_burst=1, forwarded_for_hops=1)

    def ask(forwarded: str) -> int:
        headers = {"X-Forwarded-For": forwarded}
        return client.post("/v1/search", json=SEARCH, headers=headers).status_code

    assert [ask("203.0.113.1"), ask("203.0.113.2")] == [200, 200]
    assert ask("6.6.6.6, 203.0.113.1") == 429  # an invented entry is no new caller


def test_with_keys_nobody_without_one_gets_below_v1(opened, monkeypatch):
    monkeypatch.setenv("SHOP_KEYS", f"shop={KEY}")
    client = opened(keys_env="SHOP_KEYS")
    for headers in (
        {},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Basic {KEY}"},
        {"X-Api-Key": f"{KEY}0"},
        {"X-Api-Key": ""},
    ):
        refused = client.post("/v1/search", json=SEARCH, headers=headers)
        assert problem(refused, 401)["title"] == "Not authorised"
        assert refused.headers["WWW-Authenticate"] == "Bearer"
        assert client.get("/v1/snapshot", headers=headers).status_code == 401
    for headers in ({"Authorization": f"Bearer {KEY}"}, {"X-Api-Key": KEY}):
        assert client.post("/v1/search", json=SEARCH, headers=headers).status_code == 200
    assert client.get("/healthz").status_code == 200


def test_with_keys_the_limit_is_the_keys_wherever_it_calls_from(opened, monkeypatch):
    monkeypatch.setenv("SHOP_KEYS", f"shop={KEY},app=fedcba9876543210")
    client = opened([0.0], keys_env="SHOP_KEYS", client_rate_per_s=1, client_burst=1)

    def ask(key: str) -> int:
        return client.post("/v1/search", json=SEARCH, headers={"X-Api-Key": key}).status_code

    assert [ask(KEY), ask(KEY), ask("fedcba9876543210")] == [200, 429, 200]


def test_no_key_is_ever_logged(opened, monkeypatch, caplog):
    monkeypatch.setenv("SHOP_KEYS", f"shop={KEY}")
    client = opened([0.0], keys_env="SHOP_KEYS", client_rate_per_s=1, client_burst=1)
    with caplog.at_level(logging.DEBUG):
        for given in (KEY, KEY, "a-wrong-key-that-was-typed"):
            client.post("/v1/search", json=SEARCH, headers={"X-Api-Key": given})
    refusals = [each for each in caplog.records if each.name == admission.__name__]
    assert [vars(each)["reason"] for each in refusals] == ["client", "key"]
    text = " ".join(str(vars(each)) for each in caplog.records)
    assert KEY not in text
    assert "a-wrong-key" not in text


def test_a_body_that_is_too_long_is_refused_whether_it_says_so_or_not(opened):
    client = opened(max_body_bytes=1024)
    long = b'{"query": "' + b"x" * 2000 + b'"}'
    says = client.post("/v1/search", content=long)
    assert "2013 bytes" in problem(says, 413)["detail"]

    def chunks() -> Iterator[bytes]:  # sent without a Content-Length
        for start in range(0, len(long), 100):
            yield long[start : start + 100]

    problem(client.post("/v1/search", content=chunks()), 413)
    short = b'{"query": "shoes", "k": 3}'
    whole = client.post(
        "/v1/search",
        content=iter([short[:5], short[5:]]),
        headers={"Content-Type": "application/json"},
    )
    assert whole.status_code == 200
    assert len(whole.json()["hits"]) == 3


def test_headers_and_a_url_that_are_too_long_are_refused(opened):
    client = opened(max_header_bytes=1024)
    problem(client.get("/healthz", headers={"X-Long": "x" * 2000}), 431)
    problem(client.get("/v1/search", params={"q": "x" * 2000}), 431)
    assert client.get("/healthz").status_code == 200


def test_other_sites_pages_may_not_call_unless_they_are_named(opened):
    origin = {"Origin": "https://shop.example"}
    asks = {**origin, "Access-Control-Request-Method": "POST"}
    closed = opened()
    assert (
        "access-control-allow-origin"
        not in closed.post("/v1/search", json=SEARCH, headers=origin).headers
    )
    assert closed.options("/v1/search", headers=asks).status_code == 405
    client = opened(cors_origins=["https://shop.example"])
    allowed = client.options("/v1/search", headers=asks)
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == "https://shop.example"
    other = client.post("/v1/search", json=SEARCH, headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_page_of_an_allowed_site_can_read_a_refusal(opened):
    client = opened([0.0], cors_origins=["https://shop.example"], rate_per_s=1, burst=1)
    origin = {"Origin": "https://shop.example"}
    client.post("/v1/search", json=SEARCH, headers=origin)
    refused = client.post("/v1/search", json=SEARCH, headers=origin)
    assert refused.status_code == 503
    assert refused.headers["access-control-allow-origin"] == "https://shop.example"


def test_the_door_is_put_before_a_copy_and_the_application_stays_as_it_was(routes):
    before = list(routes.user_middleware)
    guarded = admitting(routes, AdmissionConfig(), 1)
    assert guarded is not routes
    assert routes.user_middleware == before
    assert [each.cls for each in guarded.user_middleware] == [Door]
    assert guarded.routes == routes.routes


def test_settings_below_a_folder_stay_what_they_are(tmp_path: Path):
    """A relative keys_file is resolved once, where the command starts, like every other path."""
    config = Path(__file__).parents[2] / "configs" / "local.yaml"
    loaded = load(config, ["admission.keys_file=secrets/keys"])
    assert loaded.admission.keys_file == str(Path("secrets/keys").absolute())
