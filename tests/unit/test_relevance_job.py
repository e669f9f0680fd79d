"""`jobs.relevance` puts the jobs in their order and measures them; the jobs themselves are tested elsewhere."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aisle.config import Settings, load
from aisle.errors import ConfigError
from jobs.relevance import chosen, measured, steps_of, text_table

CONFIGS = Path(__file__).parents[2] / "configs"


@pytest.fixture
def benchmark(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("AISLE_DATA", "/data")
    monkeypatch.setenv("AISLE_HOME", "/home")
    return load(CONFIGS / "benchmarks" / "homedepot.yaml")


def test_models_are_trained_after_the_night_that_they_need_and_where_the_config_looks(
    benchmark: Settings,
) -> None:
    steps = steps_of(benchmark, 40, 2)
    jobs = [step.job for step in steps]
    assert jobs == [
        *("reindex", "train_encoder", "reindex"),
        *("train_ranker", "train_relevance", "reindex", "evaluate"),
    ]
    assert f"encoder.model={benchmark.encoder.base}" in steps[0].arguments
    assert steps[1].arguments[:4] == ("--out", benchmark.encoder.model, "--minutes", "40")
    assert steps[4].arguments[:2] == ("--ranker", benchmark.ranker.model)
    assert steps[5].arguments == ("--force",)  # the config as it is


def test_what_the_config_does_not_name_is_not_trained(benchmark: Settings) -> None:
    sections = {"ranker": {"model": "fused"}, "relevance": {"model": "cosine"}}
    plain = Settings.model_validate({**benchmark.model_dump(), **sections})
    assert [step.job for step in steps_of(plain, 0, 1)] == ["reindex", "reindex", "evaluate"]


def test_a_rewriter_learns_from_the_tuned_encoder_and_is_published_before_the_ranker_learns(
    benchmark: Settings,
) -> None:
    rewriter = {"mode": "vllm", "model": "/models/rewriter", "missing": "off"}
    own = Settings.model_validate({**benchmark.model_dump(), "rewriter": rewriter})
    steps = steps_of(own, 40, 2)
    assert [step.name for step in steps[2:6]] == [
        *("encoder's night", "rewriter", "rewriter's night", "ranker"),
    ]
    assert steps[3].arguments == ("--out", "/models/rewriter", "--threads", "2")


def test_a_part_of_the_steps_can_be_chosen_by_name(benchmark: Settings) -> None:
    steps = steps_of(benchmark, 40, 2)
    assert [step.name for step in chosen(steps, "ranker", "relevance")] == ["ranker", "relevance"]
    with pytest.raises(ConfigError, match="its steps are base night, encoder,"):
        chosen(steps, "rank", None)


def test_a_step_is_timed_its_memory_sampled_and_its_last_line_read() -> None:
    code = "import time; held = bytearray(80_000_000); time.sleep(1.2); print('x'); print('{\"ok\": true}')"
    row = measured([sys.executable, "-c", code])
    assert row["result"] == {"ok": True}
    assert row["seconds"] >= 1.2
    assert 80e6 < row["peak_bytes"] < 400e6

    failed = measured([sys.executable, "-c", "raise SystemExit(3)"])
    assert failed["result"] == {"ok": False, "message": "exit status 3 without a last line"}
    table = text_table([{"step": "one", **row}, {"step": "two", **failed}])
    assert table.splitlines()[-1].startswith("all")
