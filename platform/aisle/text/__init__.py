"""Text to tokens: one analyzer for catalogue and queries."""

from aisle.text.analyzer import Analyzer, trigrams

__all__ = ["Analyzer", "trigrams"]
