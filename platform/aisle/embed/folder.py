"""Encoder folders: prepare one from the configuration, open one wherever it was copied.

A folder stands alone. It lies in a snapshot's `models/encoder/`, and whoever holds the snapshot can encode without the
hub, the model's own place or the configuration that made it.
"""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Protocol

from aisle.embed.cache import build_once
from aisle.embed.export import export_encoder
from aisle.embed.hashing import HashingEncoder
from aisle.embed.onnx import OnnxEncoder
from aisle.embed.spec import SPEC_FILE, read_spec
from aisle.embed.torch import TorchEncoder, save_torch_encoder
from aisle.errors import ConfigError, ModelError
from aisle.stages import Encoder

logger = logging.getLogger(__name__)

RUNTIMES = ("onnx", "torch", "hashing")


class EncoderSettings(Protocol):
    """What `prepare_encoder` reads from a configuration."""

    @property
    def model(self) -> str:
        """Hub name or local folder; not read by hashing."""

    @property
    def missing(self) -> str:
        """`base`: where `model` is not a folder that is there, `base` is taken; else `error`."""

    @property
    def base(self) -> str:
        """Hub name or local folder of the model that was there before anything was trained."""

    @property
    def runtime(self) -> str:
        """One of `RUNTIMES`."""

    @property
    def precision(self) -> str:
        """Of documents: fp32 or int8 with onnx, fp32 or fp16 with torch."""

    @property
    def query_precision(self) -> str:
        """Of queries, with onnx: fp32 or int8; torch encodes both kinds at `precision`."""

    @property
    def max_tokens(self) -> int:
        """Where documents are cut, special tokens and prefix included."""

    @property
    def query_max_tokens(self) -> int:
        """Where queries are cut."""

    @property
    def query_prefix(self) -> str:
        """Put before each query, such as `query: ` for E5 models."""

    @property
    def document_prefix(self) -> str:
        """Put before each document."""

    @property
    def dimension(self) -> int:
        """Length d of a vector, read by hashing only; a model brings its own."""


def prepare_encoder(cfg: EncoderSettings, cache_dir: str | Path) -> Path:
    """Gives the folder of the configured encoder, made under `<cache_dir>/encoders` where it is not there yet.

    Raises ConfigError for an unknown runtime, ModelError where the model cannot be found or exported.
    """
    cache_dir = Path(cache_dir)
    if cfg.runtime == "hashing":
        encoder = HashingEncoder(cfg.dimension)
        return build_once(cache_dir / "encoders" / encoder.fingerprint, SPEC_FILE, encoder.save)
    model = chosen_model(cfg)
    if cfg.runtime == "onnx":
        return export_encoder(
            model,
            precision=cfg.precision,
            query_precision=cfg.query_precision,
            max_tokens=cfg.max_tokens,
            query_max_tokens=cfg.query_max_tokens,
            query_prefix=cfg.query_prefix,
            document_prefix=cfg.document_prefix,
            cache_dir=cache_dir,
        )
    if cfg.runtime == "torch":
        if cfg.query_precision != cfg.precision:
            logger.info(
                "runtime torch encodes queries at %s too, not at %s",
                cfg.precision,
                cfg.query_precision,
            )
        return save_torch_encoder(
            model,
            precision=cfg.precision,
            max_tokens=cfg.max_tokens,
            query_max_tokens=cfg.query_max_tokens,
            query_prefix=cfg.query_prefix,
            document_prefix=cfg.document_prefix,
            cache_dir=cache_dir,
        )
    raise ConfigError(f"encoder.runtime {cfg.runtime!r} is unknown; allowed: {', '.join(RUNTIMES)}")


def chosen_model(cfg: EncoderSettings) -> str:
    """`cfg.model`, or `cfg.base` where that is allowed to stand in for a folder that is not there, with a warning."""
    if cfg.missing != "base" or Path(cfg.model).expanduser().is_dir():
        return cfg.model
    logger.warning("encoder is not trained yet", extra={"folder": cfg.model, "instead": cfg.base})
    return cfg.base


def open_encoder(folder: str | Path, *, threads: int = 1, batch_size: int = 32) -> Encoder:
    """Opens an encoder folder with the runtime that its `encoder.json` names.

    `threads` and `batch_size` are for ONNX; torch groups by tokens. Raises ModelError where the folder is damaged.
    """
    folder = Path(folder)
    runtime = read_spec(folder).get("runtime")
    if runtime == "onnx":
        return OnnxEncoder.load(folder, threads=threads, batch_size=batch_size)
    if runtime == "torch":
        return TorchEncoder.load(folder)
    if runtime == "hashing":
        return HashingEncoder.load(folder)
    raise ModelError(
        f"{folder / SPEC_FILE}: runtime {runtime!r} is unknown; allowed: {', '.join(RUNTIMES)}"
    )
