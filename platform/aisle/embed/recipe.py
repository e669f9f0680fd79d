"""Reads from a model folder how token vectors become one vector, without loading the model.

The sentence-transformers files (`modules.json` and one folder a module) are the source; a plain transformer has none
and gets mean pooling with a warning, because a wrong pooling costs quality silently. What cannot be reproduced exactly
inside one graph is refused. Rows are always normalised at the end: the encoder's contract is unit rows, and cosine
does not see the difference.
"""

from __future__ import annotations

import hashlib
import json
import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from aisle.embed.resolve import backbone_folder, weight_files
from aisle.embed.spec import digest
from aisle.errors import ModelError

logger = logging.getLogger(__name__)

Pooling = Literal["mean", "cls", "last", "max"]

POOLING_NAMES: dict[str, Pooling] = {
    "mean": "mean",
    "cls": "cls",
    "max": "max",
    "lasttoken": "last",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "last",
}
"""Sentence-transformers' spellings, new (`pooling_mode: mean`) and old (one boolean a mode)."""

ACTIVATIONS = ("Identity", "Tanh", "ReLU", "GELU")
TOKENIZER_FILES = ("vocab.txt", "vocab.json", "merges.txt", "*.model", "tokenizer_config.json")
CONFIG_NOISE = ("_name_or_path", "transformers_version", "torch_dtype", "dtype")


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A linear layer after the pooling, with the name of its torch activation."""

    folder: Path
    in_features: int
    out_features: int
    bias: bool
    activation: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """Where the transformer lies and what follows it."""

    backbone: Path
    pooling: Pooling
    dense: tuple[DenseLayer, ...] = ()
    lowercase: bool = False
    pools_prompt: bool = True

    @property
    def dimension(self) -> int:
        """Length d of a vector, from the last dense layer or the transformer's width."""
        if self.dense:
            return self.dense[-1].out_features
        config = _read_json(self.backbone / "config.json")
        for key in ("hidden_size", "dim", "d_model", "n_embd"):
            if isinstance(config.get(key), int):
                return int(config[key])
        raise ModelError(
            f"{self.backbone / 'config.json'}: no hidden_size, so the width of the vectors is unknown"
        )


def read_recipe(folder: Path) -> Recipe:
    """Reads the recipe of the model in `folder`; raises ModelError for a module that cannot be reproduced."""
    modules_file = folder / "modules.json"
    if not modules_file.is_file():
        logger.warning("model %s has no modules.json: mean pooling is assumed", folder.name)
        return Recipe(backbone=folder, pooling="mean")
    backbone = backbone_folder(folder)
    pooling: Pooling | None = None
    pools_prompt = True
    dense: list[DenseLayer] = []
    for module in _read_json(modules_file):
        kind = str(module.get("type", "")).rpartition(".")[2]
        place = folder / str(module.get("path", ""))
        if kind == "Transformer":
            backbone = place
        elif kind == "Pooling":
            config = _read_json(place / "config.json")
            pooling = _pooling_of(config, place)
            pools_prompt = bool(config.get("include_prompt", True))
        elif kind == "Dense":
            dense.append(_dense_of(_read_json(place / "config.json"), place))
        elif kind != "Normalize":
            raise ModelError(
                f"{modules_file}: module {module.get('type')!r} cannot be exported; allowed are Transformer, Pooling, "
                "Dense and Normalize; choose another model"
            )
    if pooling is None:
        raise ModelError(
            f"{modules_file}: no Pooling module, so a text has no vector; choose a sentence model"
        )
    sentence_file = backbone / "sentence_bert_config.json"
    sentence = _read_json(sentence_file) if sentence_file.is_file() else {}
    return Recipe(
        backbone, pooling, tuple(dense), bool(sentence.get("do_lower_case", False)), pools_prompt
    )


def check_prefixes(recipe: Recipe, *prefixes: str) -> None:
    """Raises ModelError for a prefix on a model that leaves its prompt out of the pooling, which is not built here."""
    if any(prefixes) and not recipe.pools_prompt:
        raise ModelError(
            f"model {recipe.backbone.name} pools without its prompt (include_prompt: false), which is not supported "
            "together with a prefix; set both prefixes to '' or choose another model"
        )


def source_sha256(recipe: Recipe) -> str:
    """One sha256 over everything vectors depend on: weights, architecture, tokenizer, pooling and what follows it.

    Independent of the folder's place and name and of keys that tools rewrite on every save.
    """
    config = {
        k: v
        for k, v in _read_json(recipe.backbone / "config.json").items()
        if k not in CONFIG_NOISE
    }
    return digest(
        {
            "config": config,
            "weights": [_file_sha256(path) for path in weight_files(recipe.backbone)],
            "tokenizer": [_file_sha256(path) for path in _tokenizer_files(recipe.backbone)],
            "pooling": recipe.pooling,
            "lowercase": recipe.lowercase,
            "dense": [
                [layer.activation, *(_file_sha256(path) for path in weight_files(layer.folder))]
                for layer in recipe.dense
            ],
        }
    )


def _pooling_of(config: dict[str, Any], place: Path) -> Pooling:
    mode = config.get("pooling_mode")
    modes = [mode] if isinstance(mode, str) else list(mode or ())
    if not modes:
        modes = [
            key for key, on in config.items() if key.startswith("pooling_mode_") and on is True
        ] or ["mean"]
    if len(modes) != 1 or modes[0] not in POOLING_NAMES:
        raise ModelError(
            f"{place / 'config.json'}: pooling {' + '.join(map(str, modes))} cannot be exported; "
            "allowed is exactly one of mean, cls, max, lasttoken; choose another model"
        )
    return POOLING_NAMES[modes[0]]


def _dense_of(config: dict[str, Any], place: Path) -> DenseLayer:
    activation = str(
        config.get("activation_function", "torch.nn.modules.activation.Tanh")
    ).rpartition(".")[2]
    if activation not in ACTIVATIONS:
        raise ModelError(
            f"{place / 'config.json'}: activation {activation!r} cannot be exported; allowed: {', '.join(ACTIVATIONS)}"
        )
    return DenseLayer(
        folder=place,
        in_features=int(config["in_features"]),
        out_features=int(config["out_features"]),
        bias=bool(config.get("bias", True)),
        activation=activation,
    )


def _tokenizer_files(backbone: Path) -> list[Path]:
    """`tokenizer.json` says everything where it exists; otherwise the files it would be built from."""
    whole = backbone / "tokenizer.json"
    if whole.is_file():
        return [whole]
    return sorted(path for pattern in TOKENIZER_FILES for path in backbone.glob(pattern))


def _file_sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _read_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read: {error}; the model folder is incomplete or damaged"
        ) from error
