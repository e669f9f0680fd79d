"""From scores to segments: the best allowed tagging, and words that a model never saw."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest

from aisle.errors import ModelError
from aisle.rewrite.segmenter import (
    CARD_FILE,
    OnnxSegmenter,
    allowed_moves,
    as_segments,
    best_path,
    first_pieces,
)
from aisle.stages import Segment

TAGS = ("O", "B-a", "I-a", "B-b", "I-b")


def allowed(path: tuple[int, ...]) -> bool:
    """BIO by its definition, not by the table under test."""
    before = "O"
    for each in path:
        tag = TAGS[each]
        if tag[0] == "I" and (before == "O" or before[2:] != tag[2:]):
            return False
        before = tag
    return True


@pytest.mark.parametrize("words", [1, 2, 3, 5])
def test_the_best_path_is_the_best_of_all_allowed_ones(words: int) -> None:
    rng = np.random.default_rng(words)
    for _ in range(20):
        scores = rng.normal(size=(words, len(TAGS))).astype(np.float32)
        paths = itertools.product(range(len(TAGS)), repeat=words)
        best = max(
            (path for path in paths if allowed(path)),
            key=lambda path: sum(scores[i, tag] for i, tag in enumerate(path)),
        )
        assert tuple(best_path(scores, *allowed_moves(TAGS))) == best


def test_first_pieces_of_words_that_are_cut_off_or_have_none() -> None:
    word_ids = [None, 0, 0, 2, None]
    assert first_pieces(word_ids, 4).tolist() == [1, -1, 3, -1]


def test_segments_cover_the_words_in_order() -> None:
    words = ["red", "cover", "for", "dog", "crates", "under", "20"]
    tags = ["B-color", "B-core_product_type", "O", "B-modifier", "I-modifier", "B-price", "I-price"]
    assert as_segments(words, tags) == (
        Segment("red", "color"),
        Segment("cover", "core_product_type"),
        Segment("for", "other"),
        Segment("dog crates", "modifier"),
        Segment("under 20", "price"),
    )
    assert as_segments([], []) == ()


@pytest.mark.parametrize(
    "card", [None, "{", "{}", json.dumps({"format_version": 99, "tags": ["O"]})]
)
def test_a_folder_that_is_no_segmenter_is_refused_with_what_to_do(
    tmp_path: Path, card: str | None
) -> None:
    (tmp_path / "tokenizer.json").write_text('{"model": {"type": "WordPiece"}}')
    if card is not None:
        (tmp_path / CARD_FILE).write_text(card)
    with pytest.raises(ModelError, match=r"jobs\.train_segmenter"):
        OnnxSegmenter.load(tmp_path)
