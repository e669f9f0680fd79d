from __future__ import annotations

import numpy as np
import pytest

from aisle.rank.features import FEATURES
from aisle.training.rows import TrainingRows


def made_rows(
    seed: int, queries: int, *, judged: int = 8, others: int = 12, only_cosine: bool = False
) -> TrainingRows:
    """Candidates whose grade follows cosine and title coverage together (or cosine alone), some of them judged."""
    rng = np.random.default_rng(seed)
    each = judged + others
    n = queries * each
    features = rng.normal(size=(n, len(FEATURES))).astype(np.float32)
    cosine, coverage = (features[:, FEATURES.index(name)] for name in ("cosine", "coverage_title"))
    truth = cosine + (0.0 if only_cosine else 1.0) * coverage + rng.normal(0, 0.3, n)
    grades = 1.0 + np.digitize(truth, [-0.5, 0.8]).astype(np.float64)
    place = np.tile(np.arange(each), queries)
    grades[place >= judged] = np.nan
    place = np.where(place == 0, -1, place)  # one judged product a query that retrieval missed
    return TrainingRows(
        queries=tuple(f"query {seed} {i}" for i in range(queries)),
        query_index=np.repeat(np.arange(queries), each),
        features=features,
        cosine=cosine.copy(),
        grades=grades,
        place=place,
        product_ids=np.array([f"p{i % 97:03d}".encode() for i in range(n)]),
    )


@pytest.fixture(scope="session")
def rows() -> TrainingRows:
    return made_rows(0, 60)
