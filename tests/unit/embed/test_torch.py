from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aisle.embed import OnnxEncoder, TorchEncoder
from aisle.errors import ModelError

pytest.importorskip("torch", reason="model tests need the extra `models`")

TEXTS = ["red steel bottle", "", "wireless mouse " * 40, "é, unknownword", "hp laptop sleeves"]
SMALL: dict[str, Any] = {"max_tokens": 40, "query_max_tokens": 12}

POOLINGS = {
    "mean": ("mean_tokens", "mean"),
    "cls": ("cls_token", "cls"),
    "last token": ("lasttoken", "last"),
    "max": ("max_tokens", "max"),
    "mean, new spelling": ("mean", "mean"),
    "no sentence-transformers files": (None, "mean"),
}


@pytest.mark.parametrize(("pooling", "expected"), POOLINGS.values(), ids=POOLINGS.keys())
def test_pooling_follows_the_sentence_transformers_files(
    pooling: str | None,
    expected: str,
    make_model: Callable[..., Path],
    reference: Callable[..., Any],
) -> None:
    model = make_model(pooling, seed=1)
    encoder = TorchEncoder(str(model), device="cpu", **SMALL)
    np.testing.assert_allclose(
        encoder.encode(TEXTS), reference(model, TEXTS, pooling=expected, max_tokens=40), atol=1e-5
    )


def test_torch_encoder_agrees_with_onnx_at_fp32(tiny: tuple[Path, Path]) -> None:
    model, folder = tiny
    encoder = TorchEncoder(str(model), device="cpu", batch_tokens=64, **SMALL)
    onnx = OnnxEncoder.load(folder)
    np.testing.assert_allclose(encoder.encode(TEXTS), onnx.encode(TEXTS), atol=1e-5)
    assert (encoder.fingerprint, encoder.dimension) == (onnx.fingerprint, onnx.dimension)
    assert encoder.encode([]).shape == (0, 32)


def test_torch_encoder_at_half_precision_on_a_cpu_is_near_and_named_apart(
    tiny: tuple[Path, Path],
) -> None:
    exact = TorchEncoder(str(tiny[0]), device="cpu", **SMALL)
    half = TorchEncoder(str(tiny[0]), device="cpu", precision="fp16", **SMALL)
    np.testing.assert_allclose(half.encode(TEXTS), exact.encode(TEXTS), atol=5e-3)
    assert half.fingerprint != exact.fingerprint


def test_torch_encoder_without_the_asked_device_says_so(tiny: tuple[Path, Path]) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device, so nothing is missing")
    with pytest.raises(ModelError, match="no CUDA device"):
        TorchEncoder(str(tiny[0]), device="cuda")
