"""Which words an encoder's tokenizer holds whole."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from aisle.rewrite.understood import understood_words


@pytest.mark.parametrize(
    "vocab",
    [
        pytest.param({"[CLS]": 0, "cupboard": 1, "##board": 2, "in": 3, "4x4": 4}, id="WordPiece"),
        pytest.param({"Ġcupboard": 0, "board": 1, "Ġin": 2, "Ġ4x4": 3}, id="byte-level BPE"),
        pytest.param([["<unk>", 0.0], ["▁Cupboard", -9.1], ["board", -8.0]], id="unigrams"),
    ],
)
def test_only_whole_words_count(tmp_path: Path, vocab: Any) -> None:
    path = tmp_path / "tokenizer.json"
    path.write_text(json.dumps({"model": {"vocab": vocab}}))
    assert understood_words(path) == {"cupboard"}


def test_an_encoder_without_a_tokenizer_understands_no_word(tmp_path: Path) -> None:
    assert understood_words(tmp_path / "tokenizer.json") == frozenset()
