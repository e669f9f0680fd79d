"""What a trained rewriter is worth, on queries that it was not trained on.

Answers go through the same checks as in serving, so the numbers are what a shopper would meet. Words of the copied
queries come from the tenth of words that training never shows. What is not measured: real shoppers' queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from aisle.rewrite.parse import merge_words, parse
from aisle.rewrite.prompt import compact_prompt
from aisle.rewrite.training.examples import Example, Kind, generate_examples
from aisle.stages import Rewrite

_SEED = 990_001
_BATCH = 64


@dataclass(frozen=True)
class RewriterMeasures:
    """Fractions between 0 and 1; `n_*` say over how many queries."""

    repair: float
    """Misspelt queries of the sample's words whose correction is exactly the query meant."""
    n_repair: int
    wrong_repair: float
    """Misspelt queries that were changed into something else than the query meant; the rest stayed as typed."""
    keep: float
    """Correctly spelt queries of the sample's words that stayed as they were."""
    n_keep: int
    copy: float
    """Queries of unknown words, codes and measures that stayed as they were."""
    n_copy: int
    mixed: float
    """Queries of known and unknown words, misspelt or not, whose correction is exactly the query meant."""
    n_mixed: int
    segments: float
    """Queries with the right correction whose segments are all right."""
    expansions: float
    """Expansions wanted that were given, over queries with the right correction."""
    valid_json: float
    """Answers that were JSON of the schema's shape, without an engine that enforces it."""


def generate_answers(
    model: Any, tokenizer: Any, queries: Sequence[str], max_tokens: int = 96
) -> list[str]:
    """The model's greedy answers to normalised queries, in order, without a grammar to hold it."""
    answers: list[str] = []
    for start in range(0, len(queries), _BATCH):
        prompts = [compact_prompt(query) for query in queries[start : start + _BATCH]]
        inputs = tokenizer(prompts, return_tensors="pt", padding=True)
        with torch.inference_mode():
            output = model.generate(
                input_ids=inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                max_new_tokens=max_tokens,
                do_sample=False,
            )
        written = output[:, inputs["input_ids"].shape[1] :]
        answers += tokenizer.batch_decode(written, skip_special_tokens=True)
    return answers


def measure_rewriter(model: Any, tokenizer: Any, n: int = 1000) -> RewriterMeasures:
    """Measures on `n` sample queries, and half as many of each kind with unseen words."""
    sample = _answered(model, tokenizer, n, "sample")
    mixed = _answered(model, tokenizer, n // 2, "mixed")
    unseen = _answered(model, tokenizer, n // 2, "unseen")
    noisy = [pair for pair in sample if pair[0].original != pair[0].query]
    clean = [pair for pair in sample if pair[0].original == pair[0].query]
    right = [(wanted, got) for wanted, got, _ in sample if got.query == wanted.query]
    wanted_expansions = [(text, got) for wanted, got in right for text in wanted.expansions]
    everything = [*sample, *mixed, *unseen]
    return RewriterMeasures(
        repair=_fraction([got.query == wanted.query for wanted, got, _ in noisy]),
        n_repair=len(noisy),
        wrong_repair=_fraction(
            [got.query not in (wanted.query, wanted.original) for wanted, got, _ in noisy]
        ),
        keep=_fraction([got.query == wanted.query for wanted, got, _ in clean]),
        n_keep=len(clean),
        copy=_fraction([got.query == wanted.query for wanted, got, _ in unseen]),
        n_copy=len(unseen),
        mixed=_fraction([got.query == wanted.query for wanted, got, _ in mixed]),
        n_mixed=len(mixed),
        segments=_fraction([got.segments == _merged(wanted) for wanted, got in right]),
        expansions=_fraction([text in got.expansions for text, got in wanted_expansions]),
        valid_json=_fraction(
            [fault not in ("not_json", "wrong_shape", "too_long") for _, _, fault in everything]
        ),
    )


def _answered(
    model: Any, tokenizer: Any, n: int, kind: Kind
) -> list[tuple[Rewrite, Rewrite, str | None]]:
    """Examples of one kind with what was wanted, what was got and what was wrong with the answer."""
    examples: list[Example] = list(generate_examples(n, _SEED, held_out=True, kinds=(kind,)))
    wanted = [example.rewrite for example in examples]
    texts = generate_answers(model, tokenizer, [rewrite.original for rewrite in wanted])
    parsed = [parse(rewrite.original, text) for rewrite, text in zip(wanted, texts, strict=True)]
    return [(w, p.rewrite, p.fault) for w, p in zip(wanted, parsed, strict=True)]


def _merged(rewrite: Rewrite) -> tuple[object, ...]:
    return merge_words(rewrite.query, [segment.type for segment in rewrite.segments])


def _fraction(hits: list[bool]) -> float:
    return round(sum(hits) / len(hits), 4) if hits else 0.0
