"""Joins what a shorter query found to a page that was too thin.

The shorter query only finds; whether a product is shown is decided by ranker and relevance filter against the query as
it was. So recovery never fills an honest empty page with what the shopper did not ask for.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from aisle.ranked import Ranked
from aisle.retrieve.candidates import Candidates
from aisle.rewrite.relax import Relaxed
from aisle.stages import Deadline

_ATTEMPT_S = 0.02
"""What a first attempt is taken to cost; later ones as much as the one before."""


def is_thin(ranked: Ranked, below: int) -> bool:
    """Whether a page should be tried again: too few products were kept, and not all there are were judged."""
    return int(ranked.kept.sum()) < below and ranked.relevance is not None and not ranked.complete


def unseen(found: Candidates, ranked: Ranked) -> NDArray[np.bytes_]:
    """Ids that the shorter query found and the query itself did not, as found."""
    new: NDArray[np.bool_] = ~np.isin(found.product_ids, ranked.candidates.product_ids)
    ids: NDArray[np.bytes_] = found.product_ids[new]
    return ids


async def recover(
    ranked: Sequence[Ranked],
    plans: Mapping[int, Sequence[Relaxed]],
    below: int,
    again: Callable[[Sequence[int], Sequence[Relaxed]], Awaitable[list[Ranked]]],
    deadline: Deadline,
) -> tuple[list[Ranked], bool]:
    """Works through the plans of thin pages, an attempt for all of them at a time.

    Args:
        ranked: every page, thin or not.
        plans: shorter queries by the number of a thin page, to be tried in order until it is thin no more.
        below: see `is_thin`.
        again: gives for some pages what their shorter queries find beyond them, judged for the queries as they were.
        deadline: an attempt that would probably pass it is not begun.

    Returns:
        The pages, and whether there was time for every attempt that was called for.
    """
    pages, spent_s = list(ranked), _ATTEMPT_S
    for attempt in range(max(map(len, plans.values()), default=0)):
        thin = [i for i in plans if attempt < len(plans[i]) and is_thin(pages[i], below)]
        if not thin:
            break
        if deadline.remaining_s() < 2 * spent_s:
            return pages, False
        started = time.perf_counter()
        shorter = [plans[i][attempt] for i in thin]
        for i, more, how in zip(thin, await again(thin, shorter), shorter, strict=True):
            pages[i] = joined(pages[i], more, how)
        spent_s = time.perf_counter() - started
    return pages, True


def joined(ranked: Ranked, more: Ranked, relaxed: Relaxed) -> Ranked:
    """A page's products and those of `more`, judged for the same query, that the filter kept; in order of score."""
    kept = np.flatnonzero(more.kept)
    if len(kept) == 0 or ranked.relevance is None or more.relevance is None:
        return ranked
    candidates = Candidates.concatenate([ranked.candidates, more.candidates.take(kept)])
    score = np.concatenate([ranked.score, more.score[kept]])
    order = np.lexsort((candidates.product_ids, -score))
    return replace(
        ranked,
        candidates=candidates.take(order),
        fused=np.concatenate([ranked.fused, more.fused[kept]])[order],
        score=score[order],
        relevance=np.concatenate([ranked.relevance, more.relevance[kept]])[order],
        kept=np.concatenate([ranked.kept, more.kept[kept]])[order],
        recovered=relaxed,
    )
