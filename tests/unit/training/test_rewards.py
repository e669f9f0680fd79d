"""What a rewrite is worth is what its search finds."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from aisle.evaluation import Judgments
from aisle.pipeline import Pipeline
from aisle.searching import Opener
from aisle.stages import Rewrite
from aisle.training.rewards import Rewards
from tests.shop import live, published, sample


@pytest.fixture(scope="module")
def rewards(tmp_path_factory: pytest.TempPathFactory) -> tuple[Rewards, Judgments, Pipeline]:
    folder: Path = tmp_path_factory.mktemp("shop")
    settings = published(folder, 300)
    judgments = Judgments.from_table(
        sample(300).judgments, "sample", relevant_from=2, lowest_grade=0
    ).measurable()
    pipeline = Opener(settings, live(settings), rank=False).pipeline()
    return Rewards(pipeline, judgments, threads=2), judgments, pipeline


def test_the_worth_of_a_query_is_that_of_its_own_search(
    rewards: tuple[Rewards, Judgments, Pipeline],
) -> None:
    search, judgments, pipeline = rewards
    texts = judgments.texts
    typed = search.worth([Rewrite.unchanged(text) for text in texts])
    assert typed.shape == (len(texts),)
    known = np.isfinite(typed)
    assert known.any()
    assert ((typed[known] >= 0) & (typed[known] <= 1)).all()
    # One after another in batches of one, in the order of the judgments, not of the threads.
    some = judgments.sampled(5)
    alone = Rewards(pipeline, some).worth([Rewrite.unchanged(text) for text in some.texts])
    assert alone == pytest.approx(typed[[texts.index(text) for text in some.texts]], nan_ok=True)
    beside = [Rewrite(text, text, (texts[i - 1],)) for i, text in enumerate(texts)]
    assert not np.array_equal(search.worth(beside), typed, equal_nan=True)


def test_one_rewrite_a_query_is_wanted(
    rewards: tuple[Rewards, Judgments, Pipeline],
) -> None:
    search, judgments, _ = rewards
    with pytest.raises(AssertionError):
        search.worth([Rewrite.unchanged(judgments.texts[0])] * (len(judgments.texts) + 1))
