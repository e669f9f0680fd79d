"""Encodes text with torch, for GPUs and for models that no ONNX graph can hold.

Half precision is a CUDA matter: it is twice as fast there and slower than float32 on most CPUs. `precision` is a
property of the vectors, hence of the fingerprint, and not of the machine: a CPU asked for fp16 computes in float32
with weights rounded to half, which agrees with a GPU to about 1e-3.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from numpy.typing import NDArray

from aisle.embed.cache import build_once
from aisle.embed.recipe import Recipe, check_prefixes, read_recipe, source_sha256
from aisle.embed.resolve import UNUSED_FILES, resolve_model
from aisle.embed.spec import (
    SPEC_FILE,
    EncoderSpec,
    Precision,
    Side,
    check_max_tokens,
    document_fingerprint,
    model_name,
    parse_precision,
    spec_key,
)
from aisle.embed.tokens import TextTokens, batches_by_length, pad
from aisle.errors import ModelError
from aisle.stages import TextKind

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

MODEL_FOLDER = "model"
"""Where an encoder folder of runtime torch keeps the model's own files."""


class TorchEncoder:
    """An encoder over a transformers model on CUDA or CPU. Safe to call from several threads.

    Queries are encoded one by one like in the ONNX encoder, so a query's vector never depends on its batch; documents
    go in groups of about equal length holding at most `batch_tokens` tokens.
    """

    def __init__(
        self,
        model: str,
        *,
        device: str = "auto",
        precision: Literal["auto", "fp32", "fp16"] = "auto",
        max_tokens: int = 128,
        query_max_tokens: int = 32,
        query_prefix: str = "",
        document_prefix: str = "",
        batch_tokens: int = 16_384,
        cache_dir: Path | None = None,
    ) -> None:
        """Loads the model; `device` is auto (CUDA where there is one), cpu or cuda[:n].

        `precision` auto means fp16 on CUDA and fp32 on a CPU. Raises ModelError where the model cannot be loaded.
        """
        try:
            import torch

            from aisle.embed.sentence import load_sentence_module, load_tokenizer
        except ImportError as error:
            raise ModelError(
                f"runtime torch needs {error.name}: pip install 'aisle[models]'"
            ) from error
        recipe = read_recipe(resolve_model(model, cache_dir))
        check_prefixes(recipe, query_prefix, document_prefix)
        self._device = _pick_device(device)
        if precision == "auto":
            precision = "fp16" if self._device.type == "cuda" else "fp32"
        self._spec = _spec_of(
            recipe,
            model,
            device,
            precision,
            max_tokens,
            query_max_tokens,
            query_prefix,
            document_prefix,
        )
        tokenizer_json, self._pad_id, limit = load_tokenizer(recipe)
        check_max_tokens(self._spec.model, limit, self._spec.document, self._spec.query)
        module = load_sentence_module(recipe)
        if precision == "fp16":
            module = module.half() if self._device.type == "cuda" else module.half().float()
        self._dimension = module.dimension
        self._module = module.to(self._device)
        self._tokens: dict[TextKind, TextTokens] = {
            "document": TextTokens(tokenizer_json, self._spec.document, self._pad_id),
            "query": TextTokens(tokenizer_json, self._spec.query, self._pad_id),
        }
        self._batch_tokens = batch_tokens
        self._torch = torch

    @classmethod
    def load(cls, folder: Path, *, batch_tokens: int = 16_384) -> TorchEncoder:
        """Opens a folder made by `save_torch_encoder`; it needs nothing from outside the folder."""
        folder = Path(folder)
        spec = EncoderSpec.read(folder)
        if spec.document.precision == "int8":
            raise ModelError(
                f"{folder / SPEC_FILE}: torch encodes at fp32 or fp16, not int8; prepare it again"
            )
        return cls(
            str(folder / MODEL_FOLDER),
            device=spec.device,
            precision=spec.document.precision,
            max_tokens=spec.document.max_tokens,
            query_max_tokens=spec.query.max_tokens,
            query_prefix=spec.query.prefix,
            document_prefix=spec.document.prefix,
            batch_tokens=batch_tokens,
        )

    @property
    def dimension(self) -> int:
        """Length d of a vector."""
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """Names the document side; at fp32 equal to the ONNX encoder's of the same model and settings."""
        return self._spec.fingerprint

    def encode(self, texts: Sequence[str], kind: TextKind = "document") -> NDArray[np.float32]:
        """Gives float32 (n, d), unit rows, in the order of `texts`; (0, d) for none. Raises ModelError on NaN."""
        rows = self._tokens[kind].ids(texts)
        vectors = np.empty((len(rows), self._dimension), np.float32)
        max_rows = 1 if kind == "query" else 1024
        for numbers in batches_by_length(rows, max_rows=max_rows, max_tokens=self._batch_tokens):
            ids, mask = pad([rows[i] for i in numbers], self._pad_id)  # (n, t)
            with self._torch.inference_mode():
                inputs = (self._torch.from_numpy(array).to(self._device) for array in (ids, mask))
                vectors[numbers] = self._module(*inputs).cpu().numpy()
        if not np.isfinite(vectors).all():
            raise ModelError(
                f"encoder {self._spec.model}: NaN in the vectors; use precision fp32 or another model"
            )
        return vectors


def save_torch_encoder(
    model: str,
    *,
    precision: str = "fp32",
    max_tokens: int = 128,
    query_max_tokens: int = 32,
    query_prefix: str = "",
    document_prefix: str = "",
    cache_dir: Path,
) -> Path:
    """Makes an encoder folder of runtime torch under `<cache_dir>/encoders` with a copy of the model's own files.

    Loads neither torch nor the model, so a driver without a GPU can prepare what GPU workers open; the dimension is
    recorded from the model's files.
    """
    folder = resolve_model(model, cache_dir)
    recipe = read_recipe(folder)
    check_prefixes(recipe, query_prefix, document_prefix)
    parsed = parse_precision(precision, "torch", ("fp32", "fp16"))
    spec = _spec_of(
        recipe,
        model,
        "auto",
        parsed,
        max_tokens,
        query_max_tokens,
        query_prefix,
        document_prefix,
    )

    def build(working: Path) -> None:
        # The hub's cache is made of links; copytree follows them, so the copy stands alone.
        unused = shutil.ignore_patterns(*(pattern.removesuffix("/*") for pattern in UNUSED_FILES))
        shutil.copytree(folder, working / MODEL_FOLDER, ignore=unused)
        spec.write(working)

    return build_once(Path(cache_dir) / "encoders" / spec_key(spec), SPEC_FILE, build)


def _spec_of(
    recipe: Recipe,
    model: str,
    device: str,
    precision: Precision,
    max_tokens: int,
    query_max_tokens: int,
    query_prefix: str,
    document_prefix: str,
) -> EncoderSpec:
    document = Side(precision, max_tokens, document_prefix)
    source = source_sha256(recipe)
    return EncoderSpec(
        runtime="torch",
        model=model_name(model),
        dimension=recipe.dimension,
        pooling=recipe.pooling,
        pad_id=0,
        source_sha256=source,
        fingerprint=document_fingerprint(source, document),
        document=document,
        query=Side(precision, query_max_tokens, query_prefix),
        device=device,
    )


def _pick_device(device: str) -> torch.device:
    import torch

    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        picked = torch.device(device)
    except RuntimeError as error:
        raise ModelError(
            f"device {device!r} is none that torch knows; use auto, cpu or cuda"
        ) from error
    if picked.type == "cuda" and not torch.cuda.is_available():
        raise ModelError(
            f"device {device!r}: torch {torch.__version__} sees no CUDA device here; use auto or cpu"
        )
    return picked
