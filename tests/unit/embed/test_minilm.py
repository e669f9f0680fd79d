from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aisle.embed import OnnxEncoder, resolve_model

pytestmark = pytest.mark.slow  # exports the default model

TEXTS = [
    "stainless steel water bottle 750 ml",
    "laptop sleeve 15 inch",
    "",
    "soft cotton towel " * 400,
    "Gießkanne 10 L für den Garten – 如雨露 🌱",
    "usb c charger",
    "Cordless drill, 18 V, two batteries and a charger in a case, for wood and metal",
]


@pytest.fixture(scope="module")
def encoder(minilm: Path) -> OnnxEncoder:
    return OnnxEncoder.load(minilm)


@pytest.fixture(scope="module")
def expected(reference: Callable[..., Any]) -> Any:
    return reference(resolve_model("sentence-transformers/all-MiniLM-L6-v2"), TEXTS, max_tokens=128)


def test_documents_equal_transformers_in_their_order(encoder: OnnxEncoder, expected: Any) -> None:
    vectors = encoder.encode(TEXTS)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(encoder.encode(TEXTS[::-1]), expected[::-1], atol=1e-5)


def test_int8_queries_stay_near_fp32_documents(encoder: OnnxEncoder, expected: Any) -> None:
    short = [
        i for i, text in enumerate(TEXTS) if len(text) < 100
    ]  # others are cut at 32 tokens as queries
    cosines = (encoder.encode([TEXTS[i] for i in short], "query") * expected[short]).sum(1)
    assert cosines.mean() >= 0.98


def test_a_query_finds_the_product_it_means(encoder: OnnxEncoder) -> None:
    scores = encoder.encode(["notebook case", "drinking flask"], "query") @ encoder.encode(TEXTS).T
    assert scores.argmax(1).tolist() == [1, 0]


def test_no_text_gives_no_row(encoder: OnnxEncoder) -> None:
    assert encoder.encode([]).shape == (0, 384)
    assert encoder.encode([], "query").shape == (0, 384)


def test_a_very_long_text_counts_up_to_its_limit_only(encoder: OnnxEncoder) -> None:
    cut, longer = encoder.encode(["soft cotton towel " * 100, "soft cotton towel " * 5000])
    np.testing.assert_allclose(cut, longer, atol=1e-5)


def test_text_that_utf8_cannot_hold_is_encoded_all_the_same(encoder: OnnxEncoder) -> None:
    assert np.isfinite(encoder.encode(["red \ud800 shoes"], "query")).all()
