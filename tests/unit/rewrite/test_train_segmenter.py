"""Training a segmenter: a toy language is learnt, and the exported folder answers as torch does."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import pytest

from aisle.errors import ModelError
from aisle.rewrite.entities import entity_score
from aisle.rewrite.segmenter import CARD_FILE, OnnxSegmenter
from aisle.rewrite.training.tagged import TaggedQuery
from tests.unit.embed.conftest import make_model as make_model  # a fixture

COLOURS, PRODUCTS = ("red", "blue", "steel"), ("bottle", "laptop", "mouse", "sleeve")


def toy(n: int, seed: int) -> list[TaggedQuery]:
    """Colour words and product words in any order, runs of one kind being one entity."""
    rng = random.Random(seed)
    queries = []
    for _ in range(n):
        words, tags, before = [], [], ""
        for _ in range(rng.randint(1, 4)):
            kind, among = rng.choice((("color", COLOURS), ("core_product_type", PRODUCTS)))
            words.append(rng.choice(among))
            tags.append(f"{'I' if kind == before else 'B'}-{kind}")
            before = kind
        queries.append(TaggedQuery(tuple(words), tuple(tags)))
    return queries


def test_too_few_queries_are_refused(make_model: Any) -> None:
    segmenter = pytest.importorskip("aisle.rewrite.training.segmenter")
    with pytest.raises(ModelError, match="give at least 13"):
        segmenter.train_segmenter(segmenter.SegmenterPlan(), Path("x"), toy(5, 0), lambda _: None)


@pytest.mark.slow
def test_a_toy_language_is_learnt_and_served_as_trained(make_model: Any, tmp_path: Path) -> None:
    pytest.importorskip("torch", reason="training needs the extra `models`")
    pytest.importorskip("onnxscript", reason="exporting needs the extra `models`")
    from aisle.rewrite.training.segmenter import SegmenterPlan, train_segmenter
    from aisle.rewrite.training.segmenter_folder import save_segmenter

    epochs: list[Any] = []
    # Word embeddings are random and stay so; telling B from I takes the tiny model two dozen rounds.
    plan = SegmenterPlan(
        epochs=28,
        batch=16,
        rate=3e-3,
        head_rate=1e-2,
        warm_up_steps=5,
        dropout=0.0,
        label_smoothing=0.0,
    )
    model, tokenizer, tags, kept = train_segmenter(
        plan, make_model(None), toy(600, 1), epochs.append
    )
    assert tags == ("O", "B-color", "I-color", "B-core_product_type", "I-core_product_type")
    assert [each.epoch for each in epochs] == list(range(1, len(epochs) + 1))
    assert kept.held_out.f1 == max(each.held_out.f1 for each in epochs)
    save_segmenter(model, tokenizer, {"tags": list(tags)}, tmp_path / "segmenter")
    assert json.loads((tmp_path / "segmenter" / CARD_FILE).read_text())["tags"] == list(tags)
    served = OnnxSegmenter.load(tmp_path / "segmenter")
    unseen = toy(100, 2)
    found = [served.tag(query.words) for query in unseen]
    score = entity_score([(q.tags, f) for q, f in zip(unseen, found, strict=True)])
    assert score.f1 > 0.9  # after one epoch it is below .3
    assert [(s.text, s.type) for s in served.segment("Red steel  laptop")] == [
        ("red steel", "color"),
        ("laptop", "core_product_type"),
    ]
    assert served.segment("  ") == ()
    assert len(served.tag(["red"] * 100)) == 100  # past the cut
