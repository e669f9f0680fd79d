"""Trains the Cosine Adapter on judged pairs and sets its threshold.

In three steps: the map that ignores the query is fitted first (L-BFGS on the log loss of all pairs); the network is
trained from there (AdamW over batches of queries) and stops when the log loss of the held-back queries no longer falls;
last, `strength` scales the network's output by what those queries prefer. No adapter is therefore worse on them than
the map that ignores the query.

Needs torch and onnx; serving (`aisle.relevance.filter`) needs neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from aisle.errors import ConfigError, JudgmentError
from aisle.evaluation.calibration import (
    measure_pairs,
    threshold_for_precision,
    threshold_for_recall,
)
from aisle.relevance.adapter import FAMILIES, CosineAdapter, Family
from aisle.relevance.fit import FEWEST_QUERIES_FOR_NETWORK, fit_network, fit_shared
from aisle.relevance.model import Goal, RelevanceModel
from aisle.relevance.pairs import JudgedPairs


def train_relevance(
    pairs: JudgedPairs,
    *,
    family: Family | None = None,
    valid: JudgedPairs | None = None,
    threshold_for: Goal = ("recall", 0.95),
    seed: int = 0,
    epochs: int = 200,
    hidden: int = 16,
    dropout: float = 0.5,
    threads: int = 1,
) -> RelevanceModel:
    """Fits an adapter; `family` is `blend` where pairs carry the ranker's score, else `logistic`, unless given.

    `valid` holds other queries: they stop the training, choose the strength and carry the threshold. Without them a
    fifth of the training queries is held back for the first two, and the threshold is set on all pairs. With fewer
    than ten queries to learn from, the map ignores the query. Equal input and seed give equal weights.

    Raises JudgmentError on pairs that teach nothing (see `JudgedPairs.checked`) and on a precision that no threshold
    reaches, ConfigError on an unknown family or goal and where `blend` has no score.
    """
    pairs = pairs.checked("training")
    family = _check_settings(family, threshold_for, pairs, valid)
    if valid is None:
        fit, held = _hold_back(pairs, seed)
    else:
        fit, held = pairs, valid.checked("validation")
        if held.query_vectors.shape[1] != fit.query_vectors.shape[1]:
            raise JudgmentError(
                f"validation query vectors have d={held.query_vectors.shape[1]}, "
                f"training has d={fit.query_vectors.shape[1]}; encode both with one encoder"
            )
    with _reproducible(seed, threads):
        adapter = CosineAdapter(family, pairs.query_vectors.shape[1], hidden, dropout)
        score = None if fit.score is None else torch.from_numpy(fit.score)
        adapter.set_scale(torch.from_numpy(fit.cosine), score)
        fit_shared(adapter, fit)
        chosen = fit_network(adapter, fit, held, epochs, seed)
    adapter.eval().requires_grad_(False)
    model = RelevanceModel(adapter, 0.0, threshold_for, {})
    where, cut_on = ("training", pairs) if valid is None or held is None else ("validation", held)
    value = model.relevance_of(cut_on)
    choose = threshold_for_recall if threshold_for[0] == "recall" else threshold_for_precision
    threshold = choose(value, cut_on.relevant, threshold_for[1])
    summary: dict[str, Any] = {
        "seed": seed,
        "epochs": epochs,
        "hidden": hidden,
        "dropout": dropout,
        "pairs": len(pairs.cosine),
        "queries": len(np.unique(pairs.query_index)),
        **chosen,
        "threshold_set_on": where,
        "kept_fraction": float(np.mean(value >= threshold)),
        "measures": {
            "training": measure_pairs(model.relevance_of(pairs), pairs.relevant).as_dict(),
            where: measure_pairs(value, cut_on.relevant).as_dict(),
        },
    }
    return replace(model, threshold=threshold, summary=summary)


def _check_settings(
    family: Family | None, goal: Goal, pairs: JudgedPairs, valid: JudgedPairs | None
) -> Family:
    if goal[0] not in ("recall", "precision") or not 0.0 < goal[1] <= 1.0:
        raise ConfigError(
            f"threshold_for is {goal!r}, expected ('recall' or 'precision', a number above 0, at most 1)"
        )
    chosen: Family = family or ("logistic" if pairs.score is None else "blend")
    if chosen not in FAMILIES:
        raise ConfigError(f"unknown family {chosen!r}; the families are {', '.join(FAMILIES)}")
    if chosen == "blend" and (pairs.score is None or (valid is not None and valid.score is None)):
        raise ConfigError(
            "family 'blend' needs the ranker's score for every pair; give it or choose 'logistic'"
        )
    return chosen


def _hold_back(pairs: JudgedPairs, seed: int) -> tuple[JudgedPairs, JudgedPairs | None]:
    """Training and held-back pairs by query; nothing is held back where the rest could not be learnt from."""
    queries = np.unique(pairs.query_index)
    drawn = np.random.default_rng(seed).permutation(queries)[: len(queries) // 5]
    rows = np.isin(pairs.query_index, drawn)
    if len(queries) - len(drawn) < FEWEST_QUERIES_FOR_NETWORK or len(drawn) < 2:
        return pairs, None
    fit, held = pairs.take(~rows), pairs.take(rows)
    for part in (fit, held):
        if part.relevant.all() or not part.relevant.any():
            return pairs, None
    return fit, held


@contextmanager
def _reproducible(seed: int, threads: int) -> Iterator[None]:
    """Seeds torch and sets its threads for a block, and puts both back."""
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            yield
    finally:
        torch.set_num_threads(before)
