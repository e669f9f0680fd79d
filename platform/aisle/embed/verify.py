"""Compares an exported graph with the torch module that it came from, on shapes that the exporter never saw.

An export can be wrong without an error, typically on texts longer than the example, so nothing is served unproven.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from aisle.embed.onnx import open_session
from aisle.errors import ModelError

if TYPE_CHECKING:
    from aisle.embed.sentence import SentenceModule

logger = logging.getLogger(__name__)

TOLERANCE = 1e-5
"""Largest difference of a vector's component between graph and torch; measured for MiniLM-L6: 2.5e-7."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Ids and mask int64 (n, t) and the vectors float32 (n, d) that torch gives for them."""

    ids: NDArray[np.int64]
    mask: NDArray[np.int64]
    vectors: NDArray[np.float32]


def torch_samples(module: SentenceModule, pad_id: int, max_tokens: int, model: str) -> list[Sample]:
    """Runs torch on the inputs of `sample_inputs`; raises ModelError where the model cannot read them."""
    import torch

    samples = []
    for ids, mask in sample_inputs(module.vocabulary_size, pad_id, max_tokens):
        try:
            with torch.no_grad():
                vectors = module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
        except (RuntimeError, IndexError) as error:
            raise ModelError(
                f"model {model} fails on inputs of shape {ids.shape}: {error}; lower max_tokens"
            ) from error
        samples.append(Sample(ids, mask, vectors))
    return samples


def sample_inputs(
    vocabulary_size: int, pad_id: int, max_tokens: int
) -> list[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Random ids and masks of batches 1 to 5 and lengths 3 to `max_tokens`, rows of unequal length in each batch."""
    rng = np.random.default_rng(0)
    lengths = (3, max_tokens, min(17, max_tokens), max(3, max_tokens // 2), min(31, max_tokens))
    cases = []
    for n, t in enumerate(lengths, start=1):
        ids = rng.integers(0, vocabulary_size, (n, t))
        ids[ids == pad_id] = (pad_id + 1) % vocabulary_size
        filled = np.maximum(1, t - np.arange(n) * max(1, t // 6))  # tokens a row
        mask = (np.arange(t) < filled[:, None]).astype(np.int64)
        ids[mask == 0] = pad_id
        cases.append((ids, mask))
    return cases


def require_equal(path: Path, samples: list[Sample], model: str) -> None:
    """Raises ModelError where the graph at `path` differs from torch by more than `TOLERANCE`, or gives NaN."""
    session = open_session(path)
    for sample in samples:
        got = session.run(None, {"input_ids": sample.ids, "attention_mask": sample.mask})[0]
        worst = float(np.abs(got - sample.vectors).max())
        if not worst <= TOLERANCE:  # also where it is NaN
            raise ModelError(
                f"model {model}: the ONNX graph differs from torch by {worst:.2g} on inputs of shape "
                f"{sample.ids.shape}, allowed is {TOLERANCE:.0e}; use runtime: torch"
            )


def report_int8(path: Path, samples: list[Sample], model: str) -> None:
    """Logs the cosine of int8 to fp32 on random tokens, rows alone as they are served; a warning where it is low."""
    session = open_session(path)
    cosines = []
    for sample in samples:
        for i, t in enumerate(sample.mask.sum(1)):
            row = {
                "input_ids": sample.ids[i : i + 1, :t],
                "attention_mask": sample.mask[i : i + 1, :t],
            }
            cosines.append(float(session.run(None, row)[0][0] @ sample.vectors[i]))
    level = logging.WARNING if np.mean(cosines) < 0.95 else logging.INFO
    logger.log(
        level,
        "encoder %s int8: cosine to fp32 mean %.4f, least %.4f",
        model,
        np.mean(cosines),
        min(cosines),
    )
