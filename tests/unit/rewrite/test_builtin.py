"""The shipped weights, run by transformers on CPU: no engine, no grammar to hold the answers in shape."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from aisle.rewrite import BUILTIN_REWRITER, Parsed, parse
from aisle.rewrite.prompt import FORMAT_VERSION
from aisle.rewrite.training.measure import generate_answers

# Written down once from the sample shop's vocabulary, with errors that a person would make.
REPAIRS = {
    "laptop chargar": "laptop charger",
    "kitchhen knife": "kitchen knife",
    "yoga matt": "yoga mat",
    "desk lmap": "desk lamp",
    "coffe table": "coffee table",
    "electric kettel": "electric kettle",
    "office chiar": "office chair",
    "hiking bots": "hiking boots",
}
# Brands, codes and measures that no sample product has.
UNKNOWN = [
    "zorblex",
    "xr-5500",
    "12v quandrel",
    "3/4 in brimsok",
    'vextol 55"',
    "flumm drandok 250",
]


@pytest.fixture(scope="module")
def answers() -> dict[str, Parsed]:
    transformers = pytest.importorskip("transformers", reason="the extra 'models' is not installed")
    torch.set_num_threads(1)
    model: Any = transformers.AutoModelForCausalLM.from_pretrained(
        BUILTIN_REWRITER, dtype=torch.float32
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(BUILTIN_REWRITER)
    queries = [*REPAIRS, *REPAIRS.values(), *UNKNOWN]
    texts = generate_answers(model, tokenizer, queries)
    return {query: parse(query, text) for query, text in zip(queries, texts, strict=True)}


@pytest.mark.parametrize(("typed", "meant"), REPAIRS.items())
def test_repairs_a_misspelt_query_and_leaves_the_right_one(
    answers: dict[str, Parsed], typed: str, meant: str
) -> None:
    assert answers[typed].rewrite.query == meant
    assert answers[meant].rewrite.query == meant


@pytest.mark.parametrize("query", UNKNOWN)
def test_leaves_unknown_words_and_their_meaning_alone(
    answers: dict[str, Parsed], query: str
) -> None:
    assert not answers[query].rewrite.changed


def test_the_model_is_small_and_says_how_it_was_made() -> None:
    size_bytes = sum(path.stat().st_size for path in BUILTIN_REWRITER.iterdir())
    card = json.loads((BUILTIN_REWRITER / "rewriter.json").read_text())

    assert size_bytes < 12 * 2**20
    assert card["format_version"] == FORMAT_VERSION
    assert card["made_by"].startswith("python -m jobs.train_rewriter")
    assert set(card["measures"]) >= {"repair", "copy", "segments", "valid_json"}


def test_the_folder_holds_only_what_loads_or_explains_it() -> None:
    assert {path.name for path in Path(BUILTIN_REWRITER).iterdir()} == {
        "config.json",
        "generation_config.json",
        "model.safetensors",
        "rewriter.json",
        "tokenizer.json",
        "tokenizer_config.json",
    }
