"""A small byte-level BPE for queries and for the scaffolding of an answer.

Every byte is in the vocabulary, so any text can be copied; digits stand alone, so a number is copied digit by digit and
never half merged; a piece of the answer's JSON, up to the next text, is one token, so that an answer of six words and
their types takes some thirty steps instead of eighty.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from aisle.catalog.sample import SEGMENT_TYPES
from aisle.rewrite.prompt import ANSWER_MARK, END_MARK, QUERY_MARK

_WORDS = r" ?\p{L}+| ?\p{N}|[^\p{L}\p{N}]"


def scaffolding(types: Sequence[str] = SEGMENT_TYPES) -> list[str]:
    """The pieces of an answer between its texts, each with the segment type that follows it where one does."""
    no_expansion = '","x":[],"s":['
    after_expansions = '"],"s":['
    pieces = ['{"q":"', '","x":["', '","', no_expansion + "]}", after_expansions + "]}", '"]}']
    for name in types:
        pieces += [f'{no_expansion}"{name}', f'{after_expansions}"{name}', f'","{name}']
    return pieces


def train_tokenizer(texts: Iterable[str], entries: int) -> Any:
    """Trains on texts whose words each have a space before them.

    Args:
        texts: queries and expansions, as often as they occur.
        entries: size of the vocabulary, marks and scaffolding included.

    Returns:
        A `transformers.PreTrainedTokenizerFast`, its padding on the left for batched generation.
    """
    from transformers import PreTrainedTokenizerFast

    marks = [QUERY_MARK, ANSWER_MARK, END_MARK]
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    pieces = scaffolding()
    trainer = trainers.BpeTrainer(
        vocab_size=entries - len(pieces),
        special_tokens=marks,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_tokens([AddedToken(piece, normalized=False, special=False) for piece in pieces])
    wrap: Any = PreTrainedTokenizerFast  # transformers types its classes only in part
    return wrap(
        tokenizer_object=tokenizer,
        eos_token=END_MARK,
        pad_token=END_MARK,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        model_max_length=256,
    )
