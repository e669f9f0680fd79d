"""The rewriter's real engine dies, and is replaced by another model's, while requests arrive.

Answers go on without it and say so; what says nothing is right. One deployment serves both tests, which print how long
rewriting was away.
"""

from __future__ import annotations

import os
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from typing import Any, TypeVar

import httpx
import psutil
import pyarrow.parquet as pq
import pytest

from aisle.rewrite import BUILTIN_REWRITER
from jobs.open_loop import Sample
from jobs.swap import failures
from tests.graph import loaded, replicas, tally, wait_until
from tests.published import Shop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(600)]

T = TypeVar("T")

RATE_PER_S = 10.0
N_QUERIES = 60
"""More than are asked before an engine dies: the others are in nobody's cache when it does."""
WRONG, RIGHT = "offfice chair", "office chair"
Answer = tuple[str | None, tuple[tuple[str, float, float | None], ...]]
"""What was made of the query, none where nothing was, and the hits in order."""


@dataclass(frozen=True)
class Graph:
    """The deployed application and the requests that are sent to it."""

    shop: Shop
    url: str
    queries: list[str]

    def loaded(self, act: Callable[[], T]) -> tuple[list[Sample], T]:
        return loaded(self.url, [_body(each) for each in self.queries], RATE_PER_S, act)

    def ask(self, query: str, explain: bool = False) -> dict[str, Any]:
        body = {**_body(query), "explain": explain}
        response = httpx.post(f"{self.url}/v1/search", json=body, timeout=30)
        assert response.status_code == 200, response.text
        answer: dict[str, Any] = response.json()
        return answer

    def whole(self, query: str) -> dict[str, Any]:
        """The answer with nothing left out, asked for until it comes: a busy machine may be too slow for the budget."""

        def answered() -> dict[str, Any]:
            answer = self.ask(query)
            return {} if answer["degraded"] else answer

        return wait_until(f"a whole answer to {query}", answered)[0]

    @cached_property
    def expected(self) -> list[Answer]:
        """The right answer to each request; asked for after an engine's death, so that none is in its cache before."""
        with ThreadPoolExecutor(4) as askers:
            return [_answer(each) for each in askers.map(self.whole, self.queries)]

    def repairs(self, query: str, snapshot: str | None = None) -> bool:
        """Whether the model repairs a query now, for one snapshot if it is named; spelling repair may agree with it."""
        answer = self.ask(query, explain=True)
        assert answer["rewrite"]["query"] == RIGHT
        readings = [(each["source"], each["query"]) for each in answer["rewrite"]["candidates"]]
        assert bool(answer["degraded"]) is (("model", RIGHT) not in readings)
        return not answer["degraded"] and snapshot in (None, answer["snapshot"])

    def engines(self) -> set[int]:
        """Processes that vLLM computes in, below the rewriter's replica."""
        found = set()
        for replica in replicas(self.shop.cluster, "Rewriter").values():
            for child in psutil.Process(replica).children(recursive=True):
                try:
                    if "EngineCore" in " ".join(child.cmdline()):
                        found.add(child.pid)
                except psutil.Error:  # gone since it was listed
                    continue
        return found

    def right(self, samples: Sequence[Sample]) -> None:
        """Every request was answered: right, or without rewriting and saying so."""
        assert failures(samples) == {}
        left_out = {part for each in samples for part in each.body["degraded"]}
        assert left_out <= {"rewrite"}
        wrong = [
            (self.queries[each.number % len(self.queries)], each.body["rewrite"])
            for each in samples
            if not each.body["degraded"]
            and _answer(each.body) != self.expected[each.number % len(self.queries)]
        ]
        assert wrong == []


@pytest.fixture(scope="module")
def graph(shop: Shop) -> Graph:
    """The requests are the sample's own, misspelt ones among them.

    Short ones, and twice the shipped budget: a busy machine too has to get to what is right.
    """
    url = shop.deploy("rewriter.budget_ms=500", "serving.poll_interval_s=1")
    judged = pq.read_table(str(shop.settings.evaluation.judgments), columns=["query"])
    texts = sorted({each for each in judged["query"].to_pylist() if len(each.split()) <= 3})
    step = len(texts) // N_QUERIES
    return Graph(shop, url, texts[::step])


def test_a_killed_engine_costs_rewriting_alone_until_another_has_started(graph, say):
    def kill() -> float:
        (engine,) = graph.engines()
        os.kill(engine, signal.SIGKILL)
        took_s = wait_until("rewriting works again", lambda: graph.repairs(WRONG))[1]
        assert engine not in graph.engines()
        return took_s

    samples, took_s = graph.loaded(kill)
    say(f"engine killed: rewriting again after {took_s:.1f} s; {tally(samples)}")
    graph.right(samples)
    assert [each for each in samples if each.body["degraded"]]


@dataclass(frozen=True)
class Nights:
    """A night with another model, and the way back from it; seconds."""

    first: str
    second: str
    to_ready_s: float
    """From the first answer of the new snapshot to its first repair."""
    back_command_s: float
    back_s: float
    """From the command's end to the first answer of the old snapshot."""
    back_again_s: float
    """From that answer to the first repair of a query that was never asked."""
    back_at_s: float
    """When that answer came, on `time.monotonic`."""


def test_another_model_starts_beside_the_first_which_answers_at_once_after_a_rollback(
    graph, tmp_path, say
):
    shop = graph.shop
    model = tmp_path / "rewriter"
    shutil.copytree(BUILTIN_REWRITER, model)
    with (model / "rewriter.json").open("a") as file:
        file.write("\n")  # another fingerprint, the same behaviour
    first = graph.whole(WRONG)["snapshot"]
    before = graph.engines()

    def live(snapshot: str) -> bool:
        return graph.ask(RIGHT)["snapshot"] == snapshot

    def there_and_back() -> Nights:
        night, done = shop.run(
            "reindex",
            *("--set", f"rewriter.model={model}"),
            *("--set", "evaluation.judgments=null"),  # its evaluation would start a third engine
        )
        assert night["published"], done.stderr
        second = night["snapshot"]
        wait_until("the new snapshot is live", lambda: live(second))
        _, to_ready_s = wait_until("it is rewritten for", lambda: graph.repairs(WRONG, second))
        assert graph.engines() > before
        started = time.monotonic()
        rollback, done = shop.run("rollback")
        assert rollback["snapshot"] == first, done.stderr
        command_s = time.monotonic() - started
        _, back_s = wait_until("the old snapshot is live", lambda: live(first))
        at_s = time.monotonic()
        _, again_s = wait_until("it is rewritten for", lambda: graph.repairs("oficce chair", first))
        assert graph.engines() > before
        return Nights(first, second, to_ready_s, command_s, back_s, again_s, at_s)

    samples, nights = graph.loaded(there_and_back)
    say(
        f"another model: rewriting again {nights.to_ready_s:.1f} s after the switch; rollback "
        f"{nights.back_command_s:.1f} s, live {nights.back_s:.1f} s after it, rewriting "
        f"{nights.back_again_s:.1f} s after that; {tally(samples)}"
    )
    graph.right(samples)
    by_time = sorted(samples, key=lambda each: each.sent_s)
    new = [each for each in by_time if each.body["snapshot"] == nights.second]
    back = [each for each in by_time if each.sent_s > nights.back_at_s]
    assert new[0].body["degraded"] == ["rewrite"]
    assert {each.body["snapshot"] for each in back} == {nights.first}
    assert [each for each in back if each.body["degraded"]] == []


def _body(query: str) -> dict[str, Any]:
    return {"query": query, "timeout_ms": 5000}


def _answer(answer: dict[str, Any]) -> Answer:
    hits = tuple((hit["product_id"], hit["score"], hit["relevance"]) for hit in answer["hits"])
    return answer["rewrite"] and answer["rewrite"]["query"], hits
