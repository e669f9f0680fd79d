"""Texts to unit vectors: encoders, their folders, and the step that Ray Data maps."""

from aisle.embed.export import export_encoder
from aisle.embed.folder import EncoderSettings, open_encoder, prepare_encoder
from aisle.embed.hashing import HashingEncoder
from aisle.embed.onnx import OnnxEncoder
from aisle.embed.remembered import RememberedQueries
from aisle.embed.resolve import resolve_model
from aisle.embed.stage import EmbedBatch
from aisle.embed.torch import TorchEncoder, save_torch_encoder

__all__ = [
    "EmbedBatch",
    "EncoderSettings",
    "HashingEncoder",
    "OnnxEncoder",
    "RememberedQueries",
    "TorchEncoder",
    "export_encoder",
    "open_encoder",
    "prepare_encoder",
    "resolve_model",
    "save_torch_encoder",
]
