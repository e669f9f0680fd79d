"""Fits an adapter's parameters: first those that all queries share, then the network that reads the query.

The data are small, so every choice is made on held-back queries: the epoch, and how far to follow the network.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from aisle.errors import ModelError
from aisle.relevance.adapter import CosineAdapter
from aisle.relevance.pairs import JudgedPairs

logger = logging.getLogger(__name__)

FEWEST_QUERIES_FOR_NETWORK = 10
STRENGTHS = (0.0, 0.25, 0.5, 0.75, 1.0, 1.25, 1.5)
PATIENCE_EPOCHS = 12
QUERIES_PER_BATCH = 128
# On 800 queries of Home Depot (250 held back) the held-back log loss moved by less than .005 for learning rates of 5e-4
# to 5e-3, weight decays of .1 to 20 and 8 to 64 hidden units, against .005 to .008 gained by reading the query; a decay
# of 5 left the synthetic pairs of the tests under-confident (calibration error .06).
LEARNING_RATE = 1e-3
WEIGHT_DECAY = 1.0
LOSS_EPSILON = 1e-6


def fit_shared(adapter: CosineAdapter, pairs: JudgedPairs) -> None:
    """Fits the parameters that all queries share, the network's output being zero."""
    _, _, cosine, score, relevant = _tensors(pairs)
    rate = float(relevant.mean())
    logistic = adapter.family in ("logistic", "blend")
    start = {
        # softplus(.54) = 1 a standard deviation of cosine, softplus(-1.5) = .2
        "a": 0.54 if logistic else -1.5,
        "c": 0.54 if logistic else -1.5,
        "p": 0.54,
        "b": float(np.log(rate / (1.0 - rate))) if logistic else rate,
    }
    with torch.no_grad():
        adapter.shared.copy_(torch.tensor([start[name] for name in adapter.parameter_names]))
    solver = torch.optim.LBFGS([adapter.shared], max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        solver.zero_grad()
        loss = _log_loss(adapter.map(adapter.shared, cosine, score), relevant)
        # A little pull towards moderate values keeps separable data from running off.
        loss = loss + 1e-4 * adapter.shared.square().mean()
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    solver.step(closure)  # type: ignore[no-untyped-call]
    if not torch.isfinite(adapter.shared).all():
        raise ModelError(
            f"the {adapter.family} map did not converge on {len(cosine)} pairs; choose another family"
        )


def fit_network(
    adapter: CosineAdapter, fit: JudgedPairs, held: JudgedPairs | None, epochs: int, seed: int
) -> dict[str, Any]:
    """Trains the network from the shared map, keeps the best epoch and strength on `held`; says what was chosen."""
    queries = len(np.unique(fit.query_index))
    if held is None or queries < FEWEST_QUERIES_FOR_NETWORK:
        adapter.strength.zero_()
        logger.warning("too few queries for a query-dependent map: %d", queries)
        return {"family": adapter.family, "strength": 0.0, "best_epoch": 0}
    groups: list[dict[str, Any]] = [
        {"params": [*adapter.hidden.parameters(), *adapter.out.parameters()]},
        {"params": [adapter.shared], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LEARNING_RATE, weight_decay=WEIGHT_DECAY)
    shared_map = _held_loss(adapter, held)
    best, best_epoch = shared_map, 0
    state = {name: value.clone() for name, value in adapter.state_dict().items()}
    rng = np.random.default_rng(seed)
    for epoch in range(1, epochs + 1):
        adapter.train()
        for batch in _batches(fit, rng):
            optimizer.zero_grad()
            *inputs, relevant = batch
            _log_loss(adapter(*inputs), relevant).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        loss = _held_loss(adapter, held)
        if loss < best:
            best, best_epoch = loss, epoch
            state = {name: value.clone() for name, value in adapter.state_dict().items()}
        elif epoch - best_epoch >= PATIENCE_EPOCHS:
            break
    adapter.load_state_dict(state)
    losses = {}
    for strength in STRENGTHS:
        adapter.strength.fill_(strength)
        losses[strength] = _held_loss(adapter, held)
    chosen = min(STRENGTHS, key=lambda strength: (losses[strength], strength))
    adapter.strength.fill_(chosen)
    return {
        "family": adapter.family,
        "strength": chosen,
        "best_epoch": best_epoch,
        "held_log_loss": losses[chosen],
        "held_log_loss_without_query": shared_map,
    }


def _batches(pairs: JudgedPairs, rng: np.random.Generator) -> Iterator[list[Tensor]]:
    """All pairs of a few queries at a time, so that a query's vector passes the network once a batch."""
    queries, place = np.unique(pairs.query_index, return_inverse=True)
    batch_of_query = np.empty(len(queries), np.int64)
    batch_of_query[rng.permutation(len(queries))] = np.arange(len(queries)) // QUERIES_PER_BATCH
    order = np.argsort(batch_of_query[place], kind="stable")
    sizes = np.bincount(batch_of_query[place])
    vectors, index, cosine, score, relevant = _tensors(pairs)
    for rows in torch.split(torch.from_numpy(order), sizes.tolist()):
        drawn, position = torch.unique(index[rows], return_inverse=True)
        yield [vectors[drawn], position, cosine[rows], score[rows], relevant[rows]]


def _held_loss(adapter: CosineAdapter, held: JudgedPairs) -> float:
    adapter.eval()
    *inputs, relevant = _tensors(held)
    with torch.no_grad():
        return float(_log_loss(adapter(*inputs), relevant))


def _tensors(pairs: JudgedPairs) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    score = np.zeros_like(pairs.cosine) if pairs.score is None else pairs.score
    return (
        torch.from_numpy(pairs.query_vectors),
        torch.from_numpy(pairs.query_index),
        torch.from_numpy(pairs.cosine),
        torch.from_numpy(score),
        torch.from_numpy(pairs.relevant.astype(np.float32)),
    )


def _log_loss(probability: Tensor, relevant: Tensor) -> Tensor:
    inside = probability.clamp(LOSS_EPSILON, 1.0 - LOSS_EPSILON)
    return nn.functional.binary_cross_entropy(inside, relevant)
