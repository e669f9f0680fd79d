"""Query rewriting: spelling repair, expansions and typed segments by a language model, within a deadline."""

from aisle.rewrite.engine import VllmRewriter
from aisle.rewrite.model import BUILTIN_REWRITER, fingerprint_model, resolve_model
from aisle.rewrite.parse import Fault, Parsed, parse
from aisle.rewrite.prompt import answer_schema, normalise

__all__ = [
    "BUILTIN_REWRITER",
    "Fault",
    "Parsed",
    "VllmRewriter",
    "answer_schema",
    "fingerprint_model",
    "normalise",
    "parse",
    "resolve_model",
]
