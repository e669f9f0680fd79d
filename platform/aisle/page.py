"""From ranked candidates to the page that a client sees: cut, sort, count facets, fetch documents, explain."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import numpy as np
from numpy.typing import NDArray

from aisle.rank.features import FEATURES
from aisle.ranked import Ranked
from aisle.rewrite.choose import Choice
from aisle.rewrite.relax import Relaxed
from aisle.schema import (
    Explanation,
    FacetCount,
    Hit,
    Product,
    ReadingInfo,
    RecoveryInfo,
    RepairInfo,
    RewriteInfo,
    SearchRequest,
    SearchResponse,
)
from aisle.snapshot.documents import SHOWN
from aisle.snapshot.loaded import LoadedSnapshot

_FACET_VALUES = 50
"""Values listed per facet, most frequent first."""


def build_response(
    snapshot: LoadedSnapshot,
    request: SearchRequest,
    ranked: Ranked,
    choice: Choice,
    request_id: str,
) -> SearchResponse:
    """Makes the answer to one request; timings and degradations are filled in by the caller."""
    kept = np.flatnonzero(ranked.kept)
    order = _sorted(snapshot, request, ranked, kept)
    page = order[request.offset : request.offset + request.k]
    return SearchResponse(
        hits=_hits(snapshot, request, ranked, page),
        total=len(kept),
        total_is_exact=ranked.complete,
        facets=_facets(snapshot, request, ranked, kept),
        rewrite=_rewrite_info(choice, explain=request.explain),
        degraded=[],
        timings_ms={},
        snapshot=snapshot.snapshot_id,
        request_id=request_id,
        empty_reason=_empty_reason(request, ranked, len(kept)) if len(page) == 0 else None,
        recovery=_recovery_info(ranked.recovered),
    )


def _sorted(
    snapshot: LoadedSnapshot, request: SearchRequest, ranked: Ranked, kept: NDArray[np.int64]
) -> NDArray[np.int64]:
    """Positions of kept candidates in the order asked for; products without the value come last."""
    if request.sort == "relevance" or len(kept) == 0:
        return kept
    column = "updated_at" if request.sort == "newest" else "price"
    rows = snapshot.documents.take(ranked.candidates.locators[kept], (column,))
    values = [row[column] for row in rows]
    numbers = [
        math.inf if v is None else (v.timestamp() if column == "updated_at" else v) for v in values
    ]
    keys = np.array(numbers)
    if request.sort in ("-price", "newest"):
        keys = np.where(np.isinf(keys), np.inf, -keys)
    return kept[np.argsort(keys, kind="stable")]


def _hits(
    snapshot: LoadedSnapshot, request: SearchRequest, ranked: Ranked, page: NDArray[np.int64]
) -> list[Hit]:
    products = snapshot.documents.take(ranked.candidates.locators[page], SHOWN)
    hits = []
    for position, product in zip(page, products, strict=True):
        hits.append(
            Hit(
                product_id=ranked.candidates.product_ids[position].decode(),
                score=round(float(ranked.score[position]), 6),
                relevance=None
                if ranked.relevance is None
                else round(float(ranked.relevance[position]), 6),
                product=Product(**product),
                explain=_explain(ranked, int(position)) if request.explain else None,
            )
        )
    return hits


def _explain(ranked: Ranked, position: int) -> Explanation:
    found = ranked.candidates
    return Explanation(
        dense_rank=_rank(found.from_dense, found.cosine, position),
        lexical_rank=_rank(found.from_lexical, found.bm25, position),
        fused_rank=int((ranked.fused > ranked.fused[position]).sum()) + 1,
        cosine=float(found.cosine[position]),
        bm25=float(found.bm25[position]),
        fused=float(ranked.fused[position]),
        features={
            name: float(value)
            for name, value in zip(FEATURES, found.features[position], strict=True)
        },
        threshold=ranked.threshold,
    )


def _rank(flags: NDArray[np.bool_], values: NDArray[np.float32], position: int) -> int | None:
    """Rank from 1 among the candidates that a side found, of those that were ranked."""
    if not flags[position]:
        return None
    return int((values[flags] > values[position]).sum()) + 1


def _facets(
    snapshot: LoadedSnapshot, request: SearchRequest, ranked: Ranked, kept: NDArray[np.int64]
) -> dict[str, list[FacetCount]]:
    if not request.facets:
        return {}
    columns = tuple({name.split(".", 1)[0] for name in request.facets})
    rows = snapshot.documents.take(ranked.candidates.locators[kept], columns)
    facets = {}
    for name in request.facets:
        counts = Counter(value for row in rows for value in _facet_values(name, row))
        ordered = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_FACET_VALUES]
        facets[name] = [FacetCount(value, count) for value, count in ordered]
    return facets


def _facet_values(name: str, row: dict[str, Any]) -> set[str]:
    if name == "brand":
        return {row["brand"]} if row["brand"] else set()
    if name == "category":
        path = row["category"] or []
        return {"/".join(path[:depth]) for depth in range(1, len(path) + 1)}
    wanted = name.split(".", 1)[1]
    return {
        value for key, values in row["attributes"] or () if key == wanted for value in values or ()
    }


def _rewrite_info(choice: Choice, *, explain: bool) -> RewriteInfo | None:
    said, searched = choice.said, choice.searched
    # A model that lower-cases what was typed has said nothing.
    respelt = said.query.casefold() != said.original.casefold()
    says = respelt or said.expansions or said.segments or choice.spelled.repairs
    if not says and not (explain and choice.candidates):
        return None
    segments = searched.segments or said.segments
    return RewriteInfo(
        query=searched.query if choice.source == "spelling" else said.query,
        expansions=list(said.expansions),
        segments=[(segment.text, segment.type) for segment in segments],
        applied=searched.changed,
        source=choice.source,
        reason=choice.reason,
        repairs=[
            RepairInfo(each.typed, each.meant, each.rule, each.margin)
            for each in choice.spelled.repairs
        ],
        candidates=[
            ReadingInfo(each.source, each.query, each.unknown, each.titles)
            for each in choice.candidates
        ]
        if explain
        else [],
    )


def _recovery_info(recovered: Relaxed | None) -> RecoveryInfo | None:
    if recovered is None:
        return None
    dropped = [(segment.text, segment.type) for segment in recovered.dropped]
    return RecoveryInfo(recovered.query, dropped)


def _empty_reason(request: SearchRequest, ranked: Ranked, kept: int) -> str:
    if kept:
        return f"offset {request.offset} is past the last of {kept} hits"
    if len(ranked.candidates) == 0:
        if not request.filters:
            return "no product was found"
        return (
            "no product matches the filters"
            if ranked.complete
            else "no product that matches the filters was found"
        )
    best = 0.0 if ranked.relevance is None else float(ranked.relevance.max(initial=0.0))
    return (
        f"none of {len(ranked.candidates)} candidates is relevant enough: the best has relevance {best:.3f}, "
        f"the cut is at {ranked.threshold:.3f}"
    )
