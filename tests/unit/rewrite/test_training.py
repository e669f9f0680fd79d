from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest

from aisle.errors import ModelError
from aisle.rewrite.parse import parse
from aisle.rewrite.prompt import answer_schema, compact_answer, compact_prompt, normalise
from aisle.rewrite.training import Progress, TrainingPlan, generate_examples, train
from aisle.rewrite.training.examples import sample_vocabulary
from aisle.rewrite.training.tokenizer import train_tokenizer
from aisle.rewrite.training.unseen import invent_code, invent_measure, is_held_out, pick_unseen

EXAMPLES = list(generate_examples(600, seed=3))


def test_examples_repeat_for_a_seed_and_differ_between_seeds() -> None:
    assert list(generate_examples(50, seed=3)) == EXAMPLES[:50]
    assert list(generate_examples(50, seed=4)) != EXAMPLES[:50]


def test_training_answers_fit_the_schema_and_pass_the_checks_of_serving() -> None:
    schema = answer_schema()
    faults = []
    for example in EXAMPLES:
        answer = compact_answer(example.rewrite)
        jsonschema.validate(json.loads(answer), schema)
        faults.append(parse(example.rewrite.original, answer).fault)

    # A few misspellings join a number with a misspelt word, which serving then refuses to touch.
    assert sum(fault is not None for fault in faults) <= 0.02 * len(faults)


def test_queries_are_normalised_and_have_one_type_a_word() -> None:
    for example in EXAMPLES:
        rewrite = example.rewrite
        assert normalise(rewrite.original) == rewrite.original
        if example.kind == "unseen":
            assert not rewrite.changed
            assert not rewrite.segments
        else:
            assert [segment.text for segment in rewrite.segments] == rewrite.query.split()


def test_held_out_words_are_in_no_training_query() -> None:
    rng = random.Random(5)
    held_out = {pick_unseen(rng, held_out=True) for _ in range(300)}
    trained = {word for example in EXAMPLES for word in example.rewrite.query.split()}

    assert all(is_held_out(word) for word in held_out)
    assert not (held_out & trained) - sample_vocabulary()


def test_invented_codes_and_measures_hold_a_digit() -> None:
    rng = random.Random(5)
    for _ in range(200):
        assert any(letter.isdigit() for letter in invent_code(rng))
        assert any(letter.isdigit() for letter in invent_measure(rng))


def test_the_tokenizer_spells_every_text_and_a_word_alike_wherever_it_stands() -> None:
    texts = [f" {example.rewrite.query}" for example in EXAMPLES]
    tokenizer = train_tokenizer(texts, 500)
    assert len(tokenizer) == 500

    for text in (
        " zürich 3/4 in",
        ' 55\\" tv',
        " \U0001f600 日本",
        compact_answer(EXAMPLES[1].rewrite),
    ):
        assert tokenizer.decode(tokenizer.encode(text)) == text

    word = tokenizer.encode(" zorblex")
    for text in (compact_prompt("zorblex usb"), '{"q":" usb zorblex","x":[],"s":[]}'):
        tokens = tokenizer.encode(text)
        assert any(tokens[i : i + len(word)] == word for i in range(len(tokens)))


def test_the_scaffolding_of_an_answer_is_one_token_a_piece() -> None:
    tokenizer = train_tokenizer([" usb cable"] * 10, 500)

    assert len(tokenizer.encode('{"q":"')) == 1
    assert len(tokenizer.encode('","x":[],"s":["brand')) == 1
    assert len(tokenizer.encode('"],"s":["product","brand"]}')) == 3


TINY = TrainingPlan(
    minutes=5,
    seed=1,
    examples=64,
    vocabulary=420,
    tokenizer_examples=300,
    hidden=32,
    layers=1,
    heads=1,
    intermediate=32,
    batch=16,
)


def test_training_goes_on_from_its_checkpoint_and_refuses_that_of_another_plan(
    tmp_path: Path,
) -> None:
    seen: list[Progress] = []
    train(TINY, tmp_path, seen.append)
    assert seen[-1].step == 4

    train(replace(TINY, examples=96), tmp_path, seen.append)
    assert seen[-1].step == 6

    with pytest.raises(ModelError, match="checkpoint of another training plan"):
        train(replace(TINY, hidden=64), tmp_path, seen.append)


def test_the_same_seed_trains_the_same_model(tmp_path: Path) -> None:
    first, _, _ = train(TINY, tmp_path / "a", lambda _: None)
    second, _, _ = train(TINY, tmp_path / "b", lambda _: None)

    weights = second.state_dict()
    assert all(tensor.equal(weights[name]) for name, tensor in first.state_dict().items())
