"""The sentence model in torch: transformer, pooling, dense layers and normalisation as one module.

Export writes exactly this module as a graph and the torch encoder runs it, so there is one pooling code. Importing
this module imports torch and transformers; nothing on the ONNX serving path does.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import torch
from safetensors.torch import load_file
from tokenizers import Tokenizer, normalizers
from torch import Tensor, nn
from transformers import AutoConfig, AutoModel, AutoTokenizer
from transformers.utils import logging as transformers_logging

from aisle.embed.recipe import DenseLayer, Pooling, Recipe
from aisle.embed.resolve import weight_files
from aisle.errors import ModelError


class SentenceModule(nn.Module):
    """Maps ids and mask, int64 (n, t), to float32 (n, d), unit rows. Padding must lie on the right."""

    def __init__(self, backbone: nn.Module, pooling: Pooling, dense: nn.Sequential) -> None:
        super().__init__()
        self.backbone = backbone
        self.pooling = pooling
        self.dense = dense

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Gives the unit vectors of a padded batch."""
        hidden = self.backbone(
            input_ids=input_ids, attention_mask=attention_mask
        ).last_hidden_state  # (n, t, h)
        pooled = self.dense(pool(hidden, attention_mask, self.pooling))
        return nn.functional.normalize(
            pooled.float(), dim=-1
        )  # (n, d); in float32, half loses the unit length

    @property
    def dimension(self) -> int:
        """Length d of a vector."""
        for layer in reversed(self.dense):
            if isinstance(layer, nn.Linear):
                return layer.out_features
        return int(cast(Any, self.backbone).config.hidden_size)

    @property
    def vocabulary_size(self) -> int:
        """How many token ids the model knows."""
        return int(cast(Any, self.backbone).config.vocab_size)


def pool(hidden: Tensor, mask: Tensor, pooling: Pooling) -> Tensor:
    """Reduces token vectors (n, t, h) under a mask (n, t) to (n, h)."""
    if pooling == "cls":
        return hidden[:, 0]
    weights = mask.unsqueeze(-1).to(hidden.dtype)  # (n, t, 1)
    if pooling == "mean":
        return (hidden * weights).sum(1) / weights.sum(1).clamp_min(1.0)
    if pooling == "max":
        return hidden.masked_fill(weights == 0, torch.finfo(hidden.dtype).min).amax(1)
    last = (mask.sum(1) - 1).clamp_min(0)  # (n,), position of the last token
    return hidden.gather(1, last[:, None, None].expand(-1, 1, hidden.shape[-1])).squeeze(1)


def load_sentence_module(recipe: Recipe, *, attention: str | None = None) -> SentenceModule:
    """Loads the model at float32 in evaluation mode; raises ModelError where transformers cannot load it.

    `attention` is a name that transformers knows, such as eager; None leaves the choice to it.
    """
    bars = transformers_logging.is_progress_bar_enabled()
    transformers_logging.disable_progress_bar()  # type: ignore[no-untyped-call]
    try:
        config = AutoConfig.from_pretrained(recipe.backbone)
        if config.is_encoder_decoder:
            raise ModelError(
                f"model {recipe.backbone.name}: {config.model_type} is an encoder-decoder; allowed are models that "
                "give one vector a token, such as BERT, MPNet, XLM-R or a causal LM"
            )
        backbone = AutoModel.from_pretrained(
            recipe.backbone, config=config, dtype=torch.float32, attn_implementation=attention
        )
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise ModelError(f"model folder {recipe.backbone} cannot be loaded: {error}") from error
    finally:
        if bars:
            transformers_logging.enable_progress_bar()  # type: ignore[no-untyped-call]
    backbone.config.use_cache = False
    dense = nn.Sequential(*(module for layer in recipe.dense for module in _load_dense(layer)))
    return SentenceModule(backbone, recipe.pooling, dense).eval()


def load_tokenizer(recipe: Recipe) -> tuple[str, int, int]:
    """Gives the tokenizer as JSON without cut and padding, its pad id, and the model's longest input in tokens."""
    try:
        fast = AutoTokenizer.from_pretrained(recipe.backbone)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"model folder {recipe.backbone}: no tokenizer can be loaded: {error}"
        ) from error
    backend = getattr(fast, "backend_tokenizer", None)
    if backend is None:
        raise ModelError(
            f"model folder {recipe.backbone}: {type(fast).__name__} has no tokenizer.json form"
        )
    tokenizer = Tokenizer.from_str(backend.to_str())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    if recipe.lowercase:
        before = [tokenizer.normalizer] if tokenizer.normalizer is not None else []
        tokenizer.normalizer = normalizers.Sequence([normalizers.Lowercase(), *before])
    config = AutoConfig.from_pretrained(recipe.backbone)
    positions = getattr(config, "max_position_embeddings", None)
    limits = [int(value) for value in (positions, fast.model_max_length) if value and value > 0]
    pad_id = (
        fast.pad_token_id if fast.pad_token_id is not None else 0
    )  # masked out, so any known id does
    return tokenizer.to_str(), int(pad_id), min(limits, default=1 << 30)


def _load_dense(layer: DenseLayer) -> list[nn.Module]:
    files = weight_files(layer.folder)
    if not files:
        raise ModelError(f"dense layer {layer.folder}: no weights; the model folder is incomplete")
    linear = nn.Linear(layer.in_features, layer.out_features, bias=layer.bias)
    state = _load_state(files[0])
    try:
        linear.load_state_dict(
            {name.removeprefix("linear."): tensor.float() for name, tensor in state.items()}
        )
    except RuntimeError as error:
        raise ModelError(f"{files[0]} does not fit its config.json: {error}") from error
    activation: nn.Module = getattr(nn, layer.activation)()
    return [linear, activation]


def _load_state(path: Path) -> dict[str, Tensor]:
    if path.suffix == ".safetensors":
        return load_file(path)
    state: dict[str, Tensor] = torch.load(path, map_location="cpu", weights_only=True)
    return state
