"""Writes a trained segmenter as the folder that `aisle.rewrite.segmenter` opens: ONNX at int8, tokenizer, card.

The exported graph is compared with torch before it is quantised, on lengths other than the example's; what int8 then
costs is measured by the job on the queries kept for measuring, with the served class itself.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch

from aisle.embed.export import quantise, quiet, write_graph
from aisle.embed.onnx import open_session
from aisle.errors import ModelError
from aisle.rewrite.segmenter import CARD_FILE, FORMAT_VERSION, MODEL_FILE, TOKENIZER_FILE
from aisle.rewrite.training.segmenter import TagModule

_TOLERANCE = 1e-3
"""Largest difference of a tag's score, which are some units wide; 1e-5 is seen."""


def save_segmenter(model: TagModule, tokenizer: Any, card: dict[str, object], folder: Path) -> None:
    """Writes the folder; `card` must hold `tags`. Raises ModelError where the export does not agree with torch."""
    folder.mkdir(parents=True, exist_ok=True)
    exact = folder / "exact.onnx"
    model.eval()
    with quiet():
        write_graph(model, exact, "segmenter", output="scores")
        _require_equal(model, exact)
        quantise(exact, folder / MODEL_FILE)
    exact.unlink()
    (folder / TOKENIZER_FILE).write_text(tokenizer.backend_tokenizer.to_str(), encoding="utf-8")
    content = {"format_version": FORMAT_VERSION, **card}
    (folder / CARD_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def _require_equal(model: TagModule, path: Path) -> None:
    session = open_session(path)
    generator = torch.Generator().manual_seed(1)
    entries = model.encoder.config.vocab_size
    for length in (1, 5, 13, 31):
        ids = torch.randint(0, entries, (1, length), generator=generator)
        mask = torch.ones_like(ids)
        with torch.inference_mode():
            wanted = model(ids, mask).numpy()
        found = session.run(None, {"input_ids": ids.numpy(), "attention_mask": mask.numpy()})[0]
        apart = float(np.abs(found - wanted).max())
        if not apart <= _TOLERANCE:  # NaN too
            raise ModelError(
                f"segmenter: ONNX and torch differ by {apart:.2g} at {length} tokens, allowed is {_TOLERANCE}"
            )
