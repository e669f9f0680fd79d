"""Ranking: features of (query, product) rows, and the model that turns them into an order."""

from aisle.rank.onnx import FusedRanker, OnnxRanker

__all__ = ["FusedRanker", "OnnxRanker"]
