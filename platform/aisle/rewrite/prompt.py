"""What the rewriting model is asked and the shape that its answer must have.

Two prompt styles, chosen by the model's own folder: a folder with `rewriter.json` holds a model that
`jobs.train_rewriter` made and gets the few tokens it was trained on; any other causal language model gets a short
instruction through its chat template. Whatever is the same for every query comes first, so that an engine with prefix
caching computes it once.

The compact style puts a space before every text of the answer (`{"q":" usb cable",...}`): a byte-level tokenizer then
spells a word with the same tokens wherever it stands, and copying a word is copying tokens. `parse` strips it.
"""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from aisle.catalog.sample import SEGMENT_TYPES
from aisle.stages import Rewrite

FORMAT_VERSION = 1
MAX_QUERY_CHARS = 120
"""Longer queries are left alone: an answer would not fit its token budget, and they need no expansion."""
MAX_QUERY_WORDS = 16
MAX_EXPANSIONS = 2
QUERY_MARK, ANSWER_MARK, END_MARK = "<|query|>", "<|answer|>", "<|end|>"

_INSTRUCTION = (
    "You rewrite queries of a product search. Answer with one JSON object and nothing else: "
    '"q" is the query with its spelling corrected, and otherwise word for word the same; keep brands, model numbers, '
    'sizes and words you do not know. "x" is a list of at most two other phrasings that a shop might use, or []. '
    '"s" is a list with one type for each word of "q", of: {types}.'
)


def normalise(query: str) -> str:
    r"""The query as the model and the cache see it: NFC, lower case, single spaces, no control characters.

    >>> normalise("  USB\tCable ")
    'usb cable'
    """
    text = query.encode("utf-8", "replace").decode("utf-8")  # a lone surrogate cannot be tokenised
    text = unicodedata.normalize("NFC", text).lower()
    text = "".join(" " if unicodedata.category(c) == "Cc" else c for c in text)
    return " ".join(text.split())


def is_too_long(normalised: str) -> bool:
    """Whether a query is past `MAX_QUERY_CHARS` or `MAX_QUERY_WORDS` and so goes unread."""
    return len(normalised) > MAX_QUERY_CHARS or len(normalised.split()) > MAX_QUERY_WORDS


def answer_schema(types: Sequence[str] = SEGMENT_TYPES) -> dict[str, Any]:
    """JSON schema of an answer; every length is bounded, so a weak model cannot fill its budget with one field."""
    text = {"type": "string", "minLength": 1, "maxLength": MAX_QUERY_CHARS + 8}
    return {
        "type": "object",
        "properties": {
            "q": text,
            "x": {"type": "array", "items": text, "maxItems": MAX_EXPANSIONS},
            "s": {
                "type": "array",
                "items": {"type": "string", "enum": list(types)},
                "maxItems": MAX_QUERY_WORDS,
            },
        },
        "required": ["q", "x", "s"],
        "additionalProperties": False,
    }


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt's text and whether the tokenizer still has to add its own first token."""

    text: str
    add_special_tokens: bool


class PromptStyle(Protocol):
    """Turns a normalised query into a prompt. Deterministic; called from one thread."""

    def render(self, normalised: str) -> Prompt:
        """The prompt for one query."""


class CompactStyle:
    """The prompt of a model trained by `jobs.train_rewriter`: two marks around the query."""

    def render(self, normalised: str) -> Prompt:
        """Marks, a space and the query in JSON's spelling; the text brings its own first token."""
        return Prompt(compact_prompt(normalised), add_special_tokens=False)


class InstructStyle:
    """The prompt for a language model that was not trained here: instruction, types, query.

    Args:
        tokenizer: a `transformers` tokenizer; its chat template is used where it has one.
    """

    def __init__(self, tokenizer: Any, types: Sequence[str] = SEGMENT_TYPES) -> None:
        self._tokenizer = tokenizer
        self._instruction = _INSTRUCTION.format(types=", ".join(types))

    def render(self, normalised: str) -> Prompt:
        """The instruction, then the query; as a chat turn where the tokenizer has a chat template."""
        ask = f"Query: {json.dumps(normalised, ensure_ascii=False)}"
        if not getattr(self._tokenizer, "chat_template", None):
            return Prompt(f"{self._instruction}\n\n{ask}\nAnswer: ", add_special_tokens=True)
        # NOTE: one user turn, because several templates refuse a system turn; the template writes the first token.
        turns = [{"role": "user", "content": f"{self._instruction}\n\n{ask}"}]
        text = self._tokenizer.apply_chat_template(
            turns, tokenize=False, add_generation_prompt=True
        )
        return Prompt(text, add_special_tokens=False)


def choose_style(model_dir: Path, tokenizer: Any) -> PromptStyle:
    """The compact style for a folder with `rewriter.json`, the instruction otherwise."""
    if (model_dir / "rewriter.json").is_file():
        return CompactStyle()
    return InstructStyle(tokenizer)


def compact_prompt(normalised: str) -> str:
    r"""Text of the compact prompt; a query that spells out a mark is escaped and stays a query.

    >>> compact_prompt('tv 55"')
    '<|query|> tv 55\\"<|answer|>'
    """
    return f"{QUERY_MARK} {_escape(normalised)}{ANSWER_MARK}"


def compact_answer(rewrite: Rewrite) -> str:
    """The answer that training asks for, as the schema's compact JSON with a space before every text.

    >>> compact_answer(Rewrite("usb cabel", "usb cable"))
    '{"q":" usb cable","x":[],"s":[]}'
    """
    expansions = ",".join(f'" {_escape(text)}"' for text in rewrite.expansions[:MAX_EXPANSIONS])
    types = ",".join(f'"{segment.type}"' for segment in rewrite.segments)
    return f'{{"q":" {_escape(rewrite.query)}","x":[{expansions}],"s":[{types}]}}'


def _escape(text: str) -> str:
    """JSON's spelling of a text, with `<|` broken up so that user text never becomes a mark."""
    return json.dumps(text, ensure_ascii=False)[1:-1].replace("<|", "\\u003c|")
