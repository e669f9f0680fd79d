"""Splits a query into typed segments with a small token classifier in ONNX Runtime, about a millisecond a query.

The folder is made by `jobs.train_segmenter`: `model.onnx` gives a score for each piece and tag, `tokenizer.json` cuts
words into pieces, `segmenter.json` names the tags. Only a word's first piece is read. Among the taggings that BIO
allows, an `I-` only behind a tag of its type, the best is found exactly (Viterbi); so segments are whole by design.
Queries are answered one at a time: with int8 activations an answer would otherwise depend on its neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from aisle.embed.onnx import open_session
from aisle.errors import ModelError
from aisle.rewrite.entities import entities
from aisle.rewrite.types import NO_ENTITY
from aisle.stages import Segment

CARD_FILE = "segmenter.json"
MODEL_FILE = "model.onnx"
TOKENIZER_FILE = "tokenizer.json"
FORMAT_VERSION = 1
MAX_PIECES = 64
"""Longer queries are cut; words past the cut are of no type."""

_NEXT = "make it again with python -m jobs.train_segmenter, or set rewriter.segmenter: off"
_NEVER = np.float32(-1e9)


class OnnxSegmenter:
    """Tags words of queries. Deterministic; safe to call from several threads."""

    def __init__(
        self, session: ort.InferenceSession, tokenizer: Tokenizer, tags: Sequence[str]
    ) -> None:
        self._session = session
        self._tokenizer = tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(MAX_PIECES)
        self.tags = tuple(tags)
        self._moves = allowed_moves(self.tags)

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1) -> OnnxSegmenter:
        """Opens a folder; raises ModelError where a file is missing or is not a segmenter's."""
        try:
            card = json.loads((folder / CARD_FILE).read_text(encoding="utf-8"))
            version, tags = card["format_version"], [str(tag) for tag in card["tags"]]
            text = (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
        except (OSError, ValueError, KeyError) as error:
            raise ModelError(
                f"segmenter {folder}: {type(error).__name__}: {error}; {_NEXT}"
            ) from error
        if version != FORMAT_VERSION:
            raise ModelError(
                f"segmenter {folder}: format {version}, this version reads {FORMAT_VERSION}; {_NEXT}"
            )
        try:
            tokenizer = Tokenizer.from_str(text)
        except Exception as error:  # tokenizers raises nothing more special
            raise ModelError(f"segmenter {folder}: {TOKENIZER_FILE}: {error}; {_NEXT}") from error
        return cls(open_session(folder / MODEL_FILE, threads), tokenizer, tags)

    def segment(self, query: str) -> tuple[Segment, ...]:
        """Segments that cover the query's words in order; words of no entity are of type `other`."""
        words = query.lower().split()
        return as_segments(words, self.tag(words))

    def tag(self, words: Sequence[str]) -> list[str]:
        """One BIO tag a word."""
        if not words:
            return []
        encoding = self._tokenizer.encode(list(words), is_pretokenized=True)
        ids = np.array([encoding.ids], dtype=np.int64)
        scores = self._session.run(None, {"input_ids": ids, "attention_mask": np.ones_like(ids)})[
            0
        ][0]
        first = first_pieces(encoding.word_ids, len(words))
        seen = first >= 0
        of_words = np.zeros((len(words), len(self.tags)), dtype=np.float32)
        of_words[seen] = scores[first[seen]]
        if not seen.all():
            of_words[~seen, self.tags.index("O")] = 1.0
        return [self.tags[i] for i in best_path(of_words, *self._moves)]


def first_pieces(word_ids: Sequence[int | None], words: int) -> NDArray[np.int64]:
    """Where each word's first piece stands, -1 for a word that was cut off or has no piece: int64 (words,)."""
    first = np.full(words, -1, dtype=np.int64)
    for at, word in enumerate(word_ids):
        if word is not None and first[word] < 0:
            first[word] = at
    return first


def allowed_moves(tags: Sequence[str]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """What beginning with a tag (t,) and going from one to the next (t, t) cost: 0, or never."""
    kinds = [tag.partition("-") for tag in tags]
    begin = np.array([_NEVER if mark == "I" else 0 for mark, _, _ in kinds], dtype=np.float32)
    moves = np.zeros((len(tags), len(tags)), dtype=np.float32)
    for i, (mark, _, kind) in enumerate(kinds):
        for j, (next_mark, _, next_kind) in enumerate(kinds):
            if next_mark == "I" and (mark == "O" or kind != next_kind):
                moves[i, j] = _NEVER
    return begin, moves


def best_path(
    scores: NDArray[np.float32], begin: NDArray[np.float32], moves: NDArray[np.float32]
) -> list[int]:
    """The allowed tagging with the highest sum of scores (n, t), n at least 1; ties go to the lower tag."""
    total = scores[0] + begin
    came_from = []
    for row in scores[1:]:
        through = total[:, None] + moves
        best = through.argmax(axis=0)
        came_from.append(best)
        total = through[best, np.arange(len(total))] + row
    path = [int(total.argmax())]
    for best in reversed(came_from):
        path.append(int(best[path[-1]]))
    return path[::-1]


def as_segments(words: Sequence[str], tags: Sequence[str]) -> tuple[Segment, ...]:
    """Segments of tagged words; neighbouring words of no entity are one segment.

    >>> as_segments(["red", "usb", "cable"], ["B-color", "B-core_product_type", "I-core_product_type"])[1].text
    'usb cable'
    """
    found, at = [], 0
    for begin, end, kind in entities(tags):
        if at < begin:
            found.append(Segment(" ".join(words[at:begin]), NO_ENTITY))
        found.append(Segment(" ".join(words[begin:end]), kind))
        at = end
    if at < len(words):
        found.append(Segment(" ".join(words[at:]), NO_ENTITY))
    return tuple(found)
