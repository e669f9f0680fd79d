"""The cross-encoder from training to ONNX on a tiny random BERT: what it learns, and that nothing changes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from aisle.errors import ModelError
from aisle.judging.cross_encoder import CARD_FILE, TOKENIZER_FILE, CrossEncoderJudge, JudgeCard
from aisle.judging.pair_tokens import PairTokens, pad_pairs
from tests.unit.embed.conftest import MakeModel

COLOURS = ("red", "blue")
PRODUCTS = ("steel water bottle", "wireless mouse", "laptop sleeve")
LEVELS = (1.0, 2.0, 3.0)


def rows() -> list[tuple[str, str, float]]:
    """The right colour and product is 3, the right product in another colour 2, another product 1."""
    found = []
    for colour in COLOURS:
        for wanted in PRODUCTS:
            for other in COLOURS:
                for product in PRODUCTS:
                    grade = 1.0 if product != wanted else 3.0 if colour == other else 2.0
                    found.append((f"{colour} {wanted}", f"{other} {product}", grade))
    return found


@pytest.fixture(scope="module")
def trained(make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> Path:
    from aisle.embed.recipe import read_recipe
    from aisle.embed.sentence import load_tokenizer
    from aisle.judging.module import export_cross_encoder
    from aisle.judging.train import JudgePlan, train_judge

    recipe = read_recipe(make_model())
    tokenizer_json, pad_id, _ = load_tokenizer(recipe)
    tokens = PairTokens(tokenizer_json, 32, 12)
    table = rows()
    plan = JudgePlan(minutes=5, epochs=100, batch_rows=12, learning_rate=1e-3, threads=1)
    out = tmp_path_factory.mktemp("judge")
    module, ended = train_judge(
        recipe,
        [tokens.pair(query, product) for query, product, _ in table],
        np.array([grade for _, _, grade in table]),
        LEVELS,
        pad_id,
        plan,
        out / "work",
        lambda progress: None,
    )
    assert ended.pairs == 100 * len(table)
    export_cross_encoder(module, out)
    (out / TOKENIZER_FILE).write_text(tokenizer_json)
    card = JudgeCard("tiny", LEVELS, 32, 12, ("title",), 100, pad_id, module.typed, "f" * 16)
    card.write(out)
    return out


@pytest.mark.slow
def test_it_learns_which_words_matter_and_says_how_sure_it_is(trained: Path) -> None:
    judge = CrossEncoderJudge.load(trained)
    queries, products, grades = zip(*rows(), strict=True)
    verdicts = judge.judge(queries, products)
    # Its word vectors are random and stay so: the product it finds out, the colour is a matter of luck.
    right = np.array(grades) > 1
    assert ((verdicts.grade > 1) == right).mean() > 0.95
    assert verdicts.expected_grade[right].min() > verdicts.expected_grade[~right].max()
    np.testing.assert_allclose(verdicts.probabilities.sum(axis=1), 1.0)
    assert judge.name == "cross-encoder:ffffffffffffffff"
    assert judge.levels == LEVELS


@pytest.mark.slow
def test_a_pairs_grade_does_not_depend_on_its_neighbours(trained: Path) -> None:
    judge = CrossEncoderJudge.load(trained)
    queries, products, _ = zip(*rows(), strict=True)
    together = judge.judge(queries, products).probabilities
    alone = np.concatenate(
        [judge.judge([q], [p]).probabilities for q, p in zip(queries, products, strict=True)]
    )
    np.testing.assert_allclose(together, alone, atol=1e-5)
    int8 = CrossEncoderJudge.load(trained, int8=True).judge(queries, products)
    assert (int8.grade == judge.judge(queries, products).grade).mean() > 0.9


@pytest.mark.slow
def test_no_pair_is_no_verdict(trained: Path) -> None:
    verdicts = CrossEncoderJudge.load(trained).judge([], [])
    assert verdicts.grade.shape == (0,)


@pytest.mark.slow
def test_a_damaged_folder_says_what_to_do(trained: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"jobs\.train_judge"):
        CrossEncoderJudge.load(tmp_path)
    raw = json.loads((trained / CARD_FILE).read_text())
    for name in trained.iterdir():
        if name.is_file():
            (tmp_path / name.name).write_bytes(name.read_bytes())
    (tmp_path / CARD_FILE).write_text(json.dumps(raw | {"levels": [0, 1, 2, 3]}))
    with pytest.raises(ModelError, match="names 4 levels, the graph gives 3"):
        CrossEncoderJudge.load(tmp_path)
    (tmp_path / CARD_FILE).write_text(json.dumps(raw | {"format_version": 9}))
    with pytest.raises(ModelError, match="format 9"):
        CrossEncoderJudge.load(tmp_path)


def test_the_product_is_cut_and_never_the_query(make_model: MakeModel) -> None:
    from aisle.embed.recipe import read_recipe
    from aisle.embed.sentence import load_tokenizer

    tokenizer_json, pad_id, _ = load_tokenizer(read_recipe(make_model()))
    tokens = PairTokens(tokenizer_json, 10, 8)
    short = tokens.pair("red bottle", "steel water bottle red blue laptop sleeve hp")
    assert (len(short), short.query_tokens) == (10, 4)
    assert short.ids[3] == short.ids[-1]  # both texts end with the separator
    long = tokens.pair("red bottle " * 10, "steel")
    assert (long.query_tokens, len(long)) == (8, 10)
    ids, mask, types = pad_pairs([short, tokens.pair("red", "")], pad_id)
    assert ids.shape == (2, 10)
    assert mask.sum(axis=1).tolist() == [10, 4]
    assert types[1].tolist() == [0, 0, 0, 1] + [0] * 6
