"""Relevance: a probability that people would call a product relevant, and the one cut that serves every query."""

from aisle.relevance.filter import OnnxRelevanceFilter, RawCosineFilter

__all__ = ["OnnxRelevanceFilter", "RawCosineFilter"]
