"""Text to tokens: one analyzer for catalogue and queries."""

from aisle.text.analyzer import Analyzer, padded, trigram_hashes, trigrams

__all__ = ["Analyzer", "padded", "trigram_hashes", "trigrams"]
