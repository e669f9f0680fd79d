import numpy as np
import pytest

from aisle.relevance.pairs import JudgedPairs


def query_dependent_pairs(seed, queries=200, per_query=20, dimension=12):
    """Pairs whose relevance follows a known logistic map of cosine and score that differs from query to query.

    The map's offset follows the second entry of the query vector and its slope the first, so a map that does not read
    the query cannot be right.
    """
    rng = np.random.default_rng(seed)
    n = queries * per_query
    vectors = rng.normal(size=(queries, dimension)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    index = np.repeat(np.arange(queries), per_query)
    cosine = rng.normal(0.5, 0.15, n).clip(-1, 1).astype(np.float32)
    score = rng.normal(2.0, 3.0, n).astype(np.float32)
    slope = 8.0 * np.exp(1.5 * vectors[index, 0])
    logit = slope * (cosine - 0.5) + 6.0 * vectors[index, 1] + 0.4 * (score - 2.0)
    relevant = rng.random(n) < 1.0 / (1.0 + np.exp(-logit))
    return JudgedPairs(vectors, index, cosine, score, relevant)


@pytest.fixture(scope="session")
def make_pairs():
    return query_dependent_pairs


@pytest.fixture(scope="session")
def train_pairs():
    return query_dependent_pairs(1)


@pytest.fixture(scope="session")
def dev_pairs():
    return query_dependent_pairs(2)


@pytest.fixture(scope="session")
def test_pairs():
    return query_dependent_pairs(3)
