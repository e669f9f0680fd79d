"""The rewriter over a real vLLM engine. One engine for all tests: it takes half a minute to load."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from aisle.errors import DeadlineExceeded, ModelError, StageError
from aisle.rewrite import BUILTIN_REWRITER, VllmRewriter, parse
from aisle.rewrite.training.measure import generate_answers
from aisle.stages import Deadline, Rewrite

# vLLM's imports use what torch has deprecated.
pytestmark = [
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

QUERIES = [
    "wireles headphones",
    "usb cabel",
    "zorblex xr-5500 case",
    "grey chair cushions",
    "standing desk under 250",
    "yoga mat",
    "3/4 in pipe",
    "kitchhen knife",
]
PATIENT_S = 60.0


@pytest.fixture(scope="module")
def rewriter() -> Iterator[VllmRewriter]:
    pytest.importorskip("vllm", reason="the extra 'rewrite' is not installed")
    built = VllmRewriter("builtin")
    yield built
    built.close()
    built.close()  # a second call does nothing
    with pytest.raises(StageError):
        built.check_health()


@pytest.mark.slow
async def test_equals_greedy_decoding_with_transformers(rewriter: VllmRewriter) -> None:
    from transformers import AutoModelForCausalLM, AutoTokenizer

    model: Any = AutoModelForCausalLM.from_pretrained(BUILTIN_REWRITER).eval()
    tokenizer = AutoTokenizer.from_pretrained(BUILTIN_REWRITER)
    texts = generate_answers(model, tokenizer, QUERIES, max_tokens=64)
    expected = [parse(query, text) for query, text in zip(QUERIES, texts, strict=True)]
    assert not any(parsed.fault in ("not_json", "wrong_shape") for parsed in expected)

    rewrites = await rewriter.rewrite(QUERIES, Deadline.after(PATIENT_S))

    assert rewrites == [parsed.rewrite for parsed in expected]


@pytest.mark.slow
async def test_a_missed_deadline_raises_and_the_engine_answers_afterwards(
    rewriter: VllmRewriter,
) -> None:
    with pytest.raises(DeadlineExceeded, match=r"0 of 3 queries were rewritten in the \d"):
        await rewriter.rewrite(["never asked a", "never asked b", "c"], Deadline.after(0.001))
    with pytest.raises(DeadlineExceeded):
        await rewriter.rewrite(["never asked a"], Deadline.after(-1.0))

    rewriter.check_health()
    answer = await rewriter.rewrite(["never asked a"], Deadline.after(PATIENT_S))

    assert [rewrite.original for rewrite in answer] == ["never asked a"]
    assert rewriter.counts["deadline"] >= 4


@pytest.mark.slow
async def test_what_is_cached_is_answered_past_any_deadline(rewriter: VllmRewriter) -> None:
    known = (await rewriter.rewrite(["yoga mat"], Deadline.after(PATIENT_S)))[0]
    hits = rewriter.cache.hits

    again = await rewriter.rewrite(
        ["  Yoga MAT", "never asked before", "yoga mat"], Deadline.after(0.0)
    )

    assert again[0] == Rewrite("  Yoga MAT", "  Yoga MAT", known.expansions, known.segments)
    assert again[1] == Rewrite.unchanged("never asked before")
    assert again[2] == known
    assert rewriter.cache.hits > hits


@pytest.mark.slow
async def test_answers_many_callers_in_order_and_one_loop_after_another(
    rewriter: VllmRewriter,
) -> None:
    batches = [[f"lamp {i}", f"lamp {i} black", "lamp 0"] for i in range(8)]

    answers = await asyncio.gather(
        *(rewriter.rewrite(batch, Deadline.after(PATIENT_S)) for batch in batches)
    )
    assert [[rewrite.original for rewrite in answer] for answer in answers] == batches

    def in_its_own_loop() -> list[Rewrite]:
        return asyncio.run(rewriter.rewrite(["lamp 9"], Deadline.after(PATIENT_S)))

    assert (await asyncio.to_thread(in_its_own_loop))[0].original == "lamp 9"


@pytest.mark.slow
async def test_queries_that_the_model_is_not_asked_about_come_back_unchanged(
    rewriter: VllmRewriter,
) -> None:
    queries = ["", "   ", "a" * 10_000, "日本" * 60]

    answers = await rewriter.rewrite(queries, Deadline.after(PATIENT_S))

    assert answers == [Rewrite.unchanged(query) for query in queries]
    assert await rewriter.rewrite([], Deadline.after(0.0)) == []


def test_a_missing_vllm_is_named_with_the_extra_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "vllm", None)  # what the import system does for "not there"

    with pytest.raises(ModelError, match=r"could not be imported .* extra 'rewrite'"):
        VllmRewriter(BUILTIN_REWRITER)


def test_a_missing_model_is_refused_before_vllm_is_imported(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"config\.json"):
        VllmRewriter(tmp_path)


@pytest.mark.slow
async def test_samples_several_answers_to_a_query_and_none_to_a_long_one(
    rewriter: VllmRewriter,
) -> None:
    long = " ".join(["word"] * 40)
    drawn = await rewriter.sample(["wireles headphones", long, "usb cabel"], 8, seed=3)

    assert [len(each) for each in drawn] == [8, 0, 8]
    assert all(each.rewrite.original == "usb cabel" for each in drawn[2])
    assert len({each.rewrite for some in drawn for each in some}) > 2
    assert drawn == await rewriter.sample(["wireles headphones", long, "usb cabel"], 8, seed=3)


@pytest.mark.slow
def test_the_engines_process_ends_when_its_parent_is_killed() -> None:
    pytest.importorskip("vllm", reason="the extra 'rewrite' is not installed")
    code = (
        "import time, psutil\n"
        "from aisle.rewrite import VllmRewriter\n"
        "held = VllmRewriter('builtin')\n"
        "children = psutil.Process().children(recursive=True)\n"
        "print(*(c.pid for c in children if 'EngineCore' in ' '.join(c.cmdline())), flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    try:
        assert parent.stdout is not None
        pids: list[str] = []
        while not (pids and all(word.isdigit() for word in pids)):
            line = parent.stdout.readline()
            assert line, "the parent ended before its engine was ready"
            pids = line.split()
        engines = [psutil.Process(int(pid)) for pid in pids]
    finally:
        parent.kill()
        parent.wait()
        if parent.stdout is not None:
            parent.stdout.close()

    assert len(engines) == 1
    assert not psutil.wait_procs(engines, timeout=10)[1]
