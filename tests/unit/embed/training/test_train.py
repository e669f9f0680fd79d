"""A tiny model learns a toy shop: enough to see that training moves what it should and goes on where it stopped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="training needs the extra `models`")

from aisle.embed import TorchEncoder
from aisle.embed.recipe import read_recipe
from aisle.embed.training import (
    BatchPlan,
    Material,
    Progress,
    TrainingPlan,
    build_material,
    save_encoder,
    train_encoder,
)
from aisle.embed.training.train import similar_queries
from aisle.errors import ModelError
from aisle.evaluation import Judgments

COLOURS, THINGS = ("red", "blue", "steel", "wireless"), ("bottle", "mouse", "sleeve", "laptop")
TEXTS = [f"{colour} {thing} 15 inch" for colour in COLOURS for thing in THINGS]

PLAN = TrainingPlan(
    minutes=5,
    steps=8,
    learning_rate=3e-3,
    warmup_steps=2,
    measure_every_steps=4,
    dev_others=16,
    batch=BatchPlan(queries=8, misspelt_fraction=0.1, hard_fraction=0.5, group=4),
)


@pytest.fixture(scope="module")
def shop() -> Material:
    """A shopper asks for water where titles say wireless: nothing in the words' spelling tells."""
    queries, ids, grades = [], [], []
    for i, text in enumerate(TEXTS):
        words = text.replace("wireless", "water").split()
        for j in range(len(TEXTS)):
            queries.append(" ".join(words[:2]))
            ids.append(f"p{j:02d}")
            grades.append(3.0 if i == j else 1.0 if TEXTS[j].split()[1] == words[1] else 0.0)
    judged = Judgments.from_columns(queries, ids, grades, relevant_from=2, lowest_grade=0)
    return build_material(judged, [f"p{j:02d}" for j in range(len(TEXTS))], TEXTS)


def test_training_learns_what_the_judgments_say(
    make_model: Callable[..., Path], shop: Material, tmp_path: Path
) -> None:
    plan = replace(PLAN, steps=60, measure_every_steps=20)
    _, ended = train_encoder(make_model("mean"), shop, shop, plan, tmp_path)
    before, after = ended.dev[0], next(each for each in ended.dev if each[0] == ended.best_step)
    assert ended.step == 60
    assert after[1] > before[1] + 0.1
    assert after[1] > 0.95


def test_an_interrupted_run_ends_like_one_that_was_not(
    make_model: Callable[..., Path], shop: Material, tmp_path: Path
) -> None:
    base = make_model("mean", seed=5)
    whole, ended = train_encoder(base, shop, shop, PLAN, tmp_path / "whole")

    # A checkpoint and a report after every step; the third report does not return.
    careful = replace(PLAN, checkpoint_every_s=0.0, report_every_s=0.0)
    seen: list[int] = []

    def kill(progress: Progress) -> None:
        seen.append(progress.step)
        if len(seen) == 3:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        train_encoder(base, shop, shop, careful, tmp_path / "killed", kill)
    again, resumed = train_encoder(base, shop, shop, careful, tmp_path / "killed", kill)
    assert seen == [1, 2, 3, 4, 5, 6, 7, 8, 8]
    assert resumed.dev == ended.dev
    assert resumed.step == ended.step
    weights = again.state_dict()
    assert all(each.equal(weights[name]) for name, each in whole.state_dict().items())


def test_a_checkpoint_of_another_run_is_refused(
    make_model: Callable[..., Path], shop: Material, tmp_path: Path
) -> None:
    base = make_model("mean")
    train_encoder(base, shop, shop, replace(PLAN, steps=1), tmp_path)
    with pytest.raises(ModelError, match="differs in scale; delete it"):
        train_encoder(base, shop, shop, replace(PLAN, steps=1, scale=5.0), tmp_path)


def test_a_run_that_only_harms_gives_back_the_model_it_began_with(
    make_model: Callable[..., Path], shop: Material, tmp_path: Path
) -> None:
    # The dev queries are the same with grades turned round, so whatever is learned is wrong for them.
    turned = replace(shop, gains=tuple(gains.max() - gains for gains in shop.gains))
    base = make_model("mean")
    trained, ended = train_encoder(base, shop, turned, replace(PLAN, steps=40), tmp_path / "long")
    untouched, _ = train_encoder(base, shop, turned, replace(PLAN, steps=0), tmp_path / "none")
    assert ended.best_step == 0
    weights = untouched.state_dict()
    assert all(each.equal(weights[name]) for name, each in trained.state_dict().items())


@pytest.mark.parametrize("dense", [0, 16])
def test_a_saved_folder_opens_as_a_model_and_encodes_as_the_trained_module(
    dense: int, make_model: Callable[..., Path], shop: Material, tmp_path: Path
) -> None:
    import torch

    from aisle.embed.tokens import pad
    from aisle.embed.training.train import Trainee

    base = make_model("mean", dense=dense)
    module, _ = train_encoder(base, shop, shop, PLAN, tmp_path / "work")
    out = tmp_path / "encoder"
    for steps in (1, 8):  # a second training replaces the first one's folder
        save_encoder(module, base, out, {"steps": steps})
    assert read_recipe(out).pooling == read_recipe(base).pooling
    opened = TorchEncoder(str(out), device="cpu", max_tokens=40)
    ids, mask = pad(Trainee(out, PLAN)._tokens["document"].ids(TEXTS), 0)
    with torch.inference_mode():
        expected = module(torch.from_numpy(ids), torch.from_numpy(mask)).numpy()
    np.testing.assert_allclose(opened.encode(TEXTS), expected, atol=1e-4)

    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").touch()
    with pytest.raises(ModelError, match="no training wrote it"):
        save_encoder(module, base, tmp_path / "mine", {})


def test_similar_queries_are_the_nearest_others() -> None:
    angles = np.array([0.0, 0.1, 0.5, 3.0])
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    assert similar_queries(vectors, 2).tolist() == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert similar_queries(vectors[:1], 5).shape == (1, 0)
