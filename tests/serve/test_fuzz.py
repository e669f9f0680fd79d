"""What no caller should be able to do over HTTP: get a 500, or an answer that the published OpenAPI does not describe.

Requests are generated from the service's own OpenAPI, right and wrong ones, and from what people and crawlers type.
"""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import schemathesis
from fastapi import FastAPI
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import positive_data_acceptance

from aisle.config import AdmissionConfig
from aisle.schema import MAX_QUERY_CHARS
from deployments.admission import admitting
from tests.serve.conftest import Served

EXAMPLES = 60
fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


@pytest.fixture(scope="module")
def api(routes: FastAPI, served: Served) -> Any:
    served.app = admitting(routes, AdmissionConfig(), 1)
    return schemathesis.openapi.from_url(f"{served.url}/openapi.json")


@pytest.mark.parametrize(
    ("path", "method", "mode"),
    [
        ("/v1/search", "POST", GenerationMode.POSITIVE),
        ("/v1/search", "POST", GenerationMode.NEGATIVE),
        ("/v1/search", "GET", GenerationMode.POSITIVE),
        ("/v1/search", "GET", GenerationMode.NEGATIVE),
        ("/v1/snapshot", "GET", GenerationMode.POSITIVE),
        ("/healthz", "GET", GenerationMode.POSITIVE),
        ("/readyz", "GET", GenerationMode.POSITIVE),
    ],
)
def test_every_answer_is_one_that_the_openapi_describes(api, path, method, mode):
    operation = api[path][method]

    @fuzzed
    @given(case=operation.as_strategy(generation_mode=mode))
    def answers_as_described(case: schemathesis.Case) -> None:
        # JSON Schema cannot say that offset + k is bounded, nor of a URL's parameter that it holds JSON; and a
        # `timeout_ms` too short for anything is refused with 503.
        excluded: list[Any] = [positive_data_acceptance, not_a_server_error]
        response = case.call(timeout=60)
        if response.status_code == 413:  # a refusal in any schema's eyes but this tool's
            return
        case.validate_response(response, excluded_checks=excluded)
        hasty = "timeout_ms" in f"{case.query!r} {case.body!r}"
        assert response.status_code < 500 or (response.status_code == 503 and hasty)

    answers_as_described()


TYPED = st.text(min_size=1, max_size=MAX_QUERY_CHARS).filter(lambda text: bool(text.strip()))
TEXTS = st.text(min_size=1, max_size=30)
SOME = st.one_of(TEXTS, st.lists(TEXTS, min_size=1, max_size=5))
PRICE = st.floats(allow_nan=False, allow_infinity=False)
RANGES = st.fixed_dictionaries({}, optional={"gte": PRICE, "lt": PRICE}).filter(bool)
FILTERS = st.fixed_dictionaries(
    {},
    optional={
        "brand": SOME,
        "category": SOME,
        "available": st.booleans(),
        "price": RANGES,
        "attributes.colour": SOME,
    },
)


@fuzzed
@given(
    query=TYPED, filters=FILTERS, sort=st.sampled_from(["relevance", "price", "-price", "newest"])
)
def test_whatever_people_type_and_filter_gets_an_answer(api, served, query, filters, sort):
    """Control characters, other scripts, prices beyond any product: an empty page at worst, and it says why."""
    body = {"query": query, "filters": filters, "sort": sort, "facets": ["brand"], "k": 5}
    response = httpx.post(f"{served.url}/v1/search", json=body, timeout=60)
    assert response.status_code == 200, response.text
    page = response.json()
    assert len(page["hits"]) == min(5, page["total"])
    assert bool(page["hits"]) != bool(page["empty_reason"])


@fuzzed
@given(body=st.binary(max_size=200))
def test_bytes_that_are_no_request_are_refused_as_such(api, served, body):
    response = httpx.post(
        f"{served.url}/v1/search",
        content=body,
        headers={"content-type": "application/json"},
        timeout=60,
    )
    assert response.status_code == 400, response.text
    assert response.json()["title"]
