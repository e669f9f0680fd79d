"""Words that the encoder's tokenizer holds whole: they are words of the language, whether or not the shop sells them.

A tokenizer of 30,000 pieces keeps frequent words in one piece and spells the rest: "cupboard" is a piece, "cuboard" is
three. So an unknown word that is a piece is probably no typing error, and the dense side knows its meaning.
"""

from __future__ import annotations

import json
from pathlib import Path

_WORD_BEGINS = ("Ġ", "▁")
"""How byte-level BPE and SentencePiece mark a piece that begins a word; WordPiece marks those that do not, with ##."""
_SHORTEST = 3


def understood_words(tokenizer_json: Path) -> frozenset[str]:
    """Lower-case words of letters that are one piece; empty where there is no such file, as for hashing."""
    if not tokenizer_json.is_file():
        return frozenset()
    vocabulary = json.loads(tokenizer_json.read_text(encoding="utf-8"))["model"].get("vocab", {})
    # A dict of pieces, or for SentencePiece's unigrams a list of (piece, log probability).
    pieces = [each if isinstance(each, str) else str(each[0]) for each in vocabulary]
    if any(piece.startswith(_WORD_BEGINS) for piece in pieces):
        pieces = [piece[1:] for piece in pieces if piece.startswith(_WORD_BEGINS)]
    words = (piece.lower() for piece in pieces)
    return frozenset(word for word in words if len(word) >= _SHORTEST and word.isalpha())
