"""The cross-encoder in torch, and its way to ONNX. Importing this module imports torch and transformers."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aisle.embed.onnx import open_session
from aisle.embed.recipe import Recipe
from aisle.embed.sentence import load_sentence_module, pool
from aisle.errors import ModelError
from aisle.judging.cross_encoder import INT8_FILE, MODEL_FILE

TOLERANCE = 1e-4
"""Largest difference of a logit between graph and torch."""


class CrossEncoder(nn.Module):
    """Ids, mask and types, int64 (n, t) each, to logits float32 (n, levels). Padding must lie on the right.

    The encoder's own pooling is kept: its mean of token vectors already knows what a text is about, which a fresh
    first-token head would have to learn from few pairs.
    """

    def __init__(self, backbone: nn.Module, pooling: Any, levels: int) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        config: Any = backbone.config
        self.typed = int(getattr(config, "type_vocab_size", 0) or 0) > 1
        self.dropout = nn.Dropout(0.1)
        self.head = nn.Linear(int(config.hidden_size), levels)

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor) -> Tensor:
        """Gives the logits of a padded batch."""
        inputs = {"input_ids": input_ids, "attention_mask": attention_mask}
        if self.typed:
            inputs["token_type_ids"] = token_type_ids
        hidden = self.backbone(**inputs).last_hidden_state  # (n, t, h)
        logits: Tensor = self.head(self.dropout(pool(hidden, attention_mask, self.pooling)))
        return logits


def fresh_cross_encoder(recipe: Recipe, levels: int) -> CrossEncoder:
    """The encoder's transformer with a new head. Raises ModelError where transformers cannot load it."""
    # Explicit attention: fused kernels decompose differently from one torch release to the next.
    sentence = load_sentence_module(recipe, attention="eager")
    return CrossEncoder(sentence.backbone, recipe.pooling, levels)


def export_cross_encoder(module: CrossEncoder, folder: Path) -> None:
    """Writes `model.onnx` and `model.int8.onnx`, the first proved equal to torch on other shapes.

    Raises ModelError where the export fails or differs by more than `TOLERANCE`.
    """
    module.eval()
    example = _example(module, 2, 9)
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    names = ["input_ids", "attention_mask", "token_type_ids"]
    with _quiet():
        try:
            with torch.no_grad():
                torch.onnx.export(
                    module,
                    example,
                    str(folder / MODEL_FILE),
                    dynamo=True,
                    dynamic_shapes=(free, dict(free), dict(free) if module.typed else None),
                    input_names=names if module.typed else names[:2],
                    output_names=["logits"],
                    external_data=False,
                    verbose=False,
                )
        except (
            Exception
        ) as error:  # whatever the model raised, wrapped in classes that are not public
            raise ModelError(
                f"the cross-encoder cannot be exported to ONNX: {type(error).__name__}: {error}"
            ) from error
        _write_int8(folder)
    _require_equal(module, folder / MODEL_FILE)


def _example(module: CrossEncoder, n: int, t: int) -> tuple[Tensor, Tensor, Tensor]:
    config: Any = module.backbone.config
    generator = torch.Generator().manual_seed(n * 1000 + t)
    ids = torch.randint(1, int(config.vocab_size), (n, t), generator=generator)
    lengths = torch.clamp(t - torch.arange(n) * 2, min=2)
    mask = (torch.arange(t) < lengths[:, None]).long()
    types = (torch.arange(t) >= t // 3).long().expand(n, t) * mask
    return ids, mask, types.contiguous()


def _require_equal(module: CrossEncoder, path: Path) -> None:
    session = open_session(path)
    known = {each.name for each in session.get_inputs()}
    for n, t in ((1, 5), (3, 31), (4, 48)):
        ids, mask, types = _example(module, n, t)
        with torch.no_grad():
            wanted = module(ids, mask, types).numpy()
        given = {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}
        inputs = {name: value.numpy() for name, value in given.items() if name in known}
        worst = float(np.abs(session.run(None, inputs)[0] - wanted).max())
        if not worst <= TOLERANCE:  # also where it is NaN
            raise ModelError(
                f"{path}: the graph differs from torch by {worst:.2g} on inputs of shape {(n, t)}, allowed is "
                f"{TOLERANCE:.0e}; try another release of torch or onnx"
            )


def _write_int8(folder: Path) -> None:
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    graph = onnx.load(str(folder / MODEL_FILE))
    # Notes on shapes go stale when the exporter transposes a weight, and the quantiser refuses what contradicts it.
    del graph.graph.value_info[:]
    onnx.helper.set_model_props(graph, {"onnx.quant.pre_process": "onnxruntime.quant"})
    bare = folder / "bare.onnx"
    onnx.save(graph, str(bare))
    quantize_dynamic(str(bare), str(folder / INT8_FILE), per_channel=True)
    bare.unlink()


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter prints and warns of operators that no text model has; standard output is the job's."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
