"""A judge that reads query and product together: a small transformer with one output a level, run by ONNX Runtime.

Made by `jobs.train_judge` from the judgments' train split. Pairs are run at fp32 in batches of about equal length; the
probabilities agree to 1e-5 whatever the neighbours.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from aisle.embed.onnx import open_session
from aisle.embed.tokens import batches_by_length
from aisle.errors import ModelError
from aisle.judging.judge import Verdicts
from aisle.judging.pair_tokens import Pair, PairTokens, pad_pairs

FORMAT_VERSION = 1
MODEL_FILE = "model.onnx"
INT8_FILE = "model.int8.onnx"
TOKENIZER_FILE = "tokenizer.json"
CARD_FILE = "judge.json"


@dataclass(frozen=True, slots=True)
class JudgeCard:
    """What a cross-encoder's folder says about itself."""

    model: str
    """The encoder that it was initialised from."""
    levels: tuple[float, ...]
    """The scale; one logit each, in this order."""
    max_tokens: int
    query_max_tokens: int
    text_fields: tuple[str, ...]
    """What it reads of a product, as `aisle.catalog.text` writes it."""
    text_max_chars: int
    pad_id: int
    typed: bool
    """Whether the graph takes `token_type_ids`."""
    fingerprint: str
    """Of the weights at fp32."""
    training: dict[str, Any] = field(default_factory=dict)
    """How it was made, and its measures on held-back pairs."""
    format_version: int = FORMAT_VERSION

    def write(self, folder: Path) -> None:
        """Writes `judge.json`; last, so that its presence means a complete folder."""
        text = json.dumps(asdict(self), indent=2)
        (folder / CARD_FILE).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def read(cls, folder: Path) -> JudgeCard:
        """Reads it. Raises ModelError where it is missing, damaged or of another format."""
        path = folder / CARD_FILE
        try:
            raw = json.loads(path.read_text(encoding="utf-8"))
            card = cls(
                **raw | {"levels": tuple(raw["levels"]), "text_fields": tuple(raw["text_fields"])}
            )
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise ModelError(
                f"judge {folder}: {CARD_FILE} cannot be read ({error}); make it with python -m jobs.train_judge"
            ) from error
        if card.format_version != FORMAT_VERSION:
            raise ModelError(
                f"judge {folder}: format {card.format_version}, this version reads {FORMAT_VERSION}; train it again"
            )
        return card


class CrossEncoderJudge:
    """Implements `aisle.judging.Judge`; `load` opens one. Safe to call from several threads."""

    def __init__(
        self, card: JudgeCard, session: ort.InferenceSession, tokens: PairTokens, batch_rows: int
    ) -> None:
        self.card = card
        self.levels = card.levels
        self.name = f"cross-encoder:{card.fingerprint}"
        self._session = session
        self._tokens = tokens
        self._batch_rows = batch_rows

    @classmethod
    def load(
        cls, folder: str | Path, *, threads: int = 1, batch_rows: int = 32, int8: bool = False
    ) -> CrossEncoderJudge:
        """Opens a folder made by `jobs.train_judge`.

        `int8` takes the quantised weights: half the time, and a pair's logits then move a little with its neighbours,
        so pairs are run one by one. Raises ModelError where a file is missing or does not fit.
        """
        folder = Path(folder)
        card = JudgeCard.read(folder)
        try:
            tokenizer_json = (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
        except OSError as error:
            raise ModelError(
                f"judge {folder}: {TOKENIZER_FILE} cannot be read: {error}; train it again"
            ) from error
        session = open_session(folder / (INT8_FILE if int8 else MODEL_FILE), threads)
        width = session.get_outputs()[0].shape[-1]
        if width != len(card.levels):
            raise ModelError(
                f"judge {folder}: {CARD_FILE} names {len(card.levels)} levels, the graph gives {width}; train it again"
            )
        tokens = PairTokens(tokenizer_json, card.max_tokens, card.query_max_tokens)
        return cls(card, session, tokens, 1 if int8 else batch_rows)

    def judge(self, queries: Sequence[str], products: Sequence[str]) -> Verdicts:
        """See `Judge`. Raises ModelError where the weights give NaN."""
        logits = self.logits(queries, products)
        exponentials = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        return Verdicts(self.levels, exponentials / exponentials.sum(axis=1, keepdims=True))

    def close(self) -> None:
        """Nothing to do: it holds no process."""

    def logits(self, queries: Sequence[str], products: Sequence[str]) -> NDArray[np.float64]:
        """float64 (n, levels), before the softmax."""
        pairs = [self._tokens.pair(q, p) for q, p in zip(queries, products, strict=True)]
        logits = np.empty((len(pairs), len(self.levels)), np.float64)
        rows = [pair.ids for pair in pairs]
        for numbers in batches_by_length(rows, max_rows=self._batch_rows):
            logits[numbers] = self._run([pairs[i] for i in numbers])
        if not np.isfinite(logits).all():
            raise ModelError(f"judge {self.name}: a pair gave NaN; the weights are damaged")
        return logits

    def _run(self, pairs: Sequence[Pair]) -> NDArray[np.float32]:
        ids, mask, types = pad_pairs(pairs, self.card.pad_id)
        inputs = {"input_ids": ids, "attention_mask": mask}
        if self.card.typed:
            inputs["token_type_ids"] = types
        logits: NDArray[np.float32] = self._session.run(None, inputs)[0]
        return logits
