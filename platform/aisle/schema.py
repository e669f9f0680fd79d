"""Requests and responses as clients see them; the HTTP contract and its OpenAPI are generated from here.

A request is checked once, at the edge; behind it everything is trusted. Responses are plain dataclasses, because they
are made by us and only need to be written.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from aisle.errors import RequestError
from aisle.index.filters import FILTERS_SCHEMA, Filters

MAX_QUERY_CHARS = 512
MAX_K = 1000
MAX_REACH = 10_000
"""Largest offset + k."""

_FACET = re.compile(r"brand|category|attributes\.[^.\x00]{1,200}")

Sort = Literal["relevance", "price", "-price", "newest"]


def _facet(name: str) -> str:
    if not _FACET.fullmatch(name):
        raise ValueError(
            f"unknown facet {name[:80]!r}; allowed are brand, category, attributes.<name>"
        )
    return name


def _has_words(query: str) -> str:
    if not query.strip():
        raise ValueError("the query is empty; send at least one word")
    return " ".join(query.split())


class SearchRequest(BaseModel):
    """One search."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    query: Annotated[
        str,
        Field(min_length=1, max_length=MAX_QUERY_CHARS, json_schema_extra={"pattern": r"\S"}),
        AfterValidator(_has_words),
    ]
    """What the shopper typed."""
    k: int = Field(24, ge=1, le=MAX_K)
    """Hits wanted."""
    offset: int = Field(0, ge=0, le=MAX_REACH)
    """Hits skipped; offset + k is at most 10,000."""
    filters: dict[str, Any] = Field(
        default_factory=dict,
        json_schema_extra=FILTERS_SCHEMA
        | {
            "example": {
                "brand": ["HP"],
                "price": {"gte": 10, "lt": 50},
                "category": ["A/B"],
                "available": True,
            }
        },
    )
    """Conditions: values of one field are alternatives, fields are conjunctive, a category matches its subtree."""
    facets: tuple[
        Annotated[
            str,
            Field(json_schema_extra={"pattern": f"^({_FACET.pattern})$"}),
            AfterValidator(_facet),
        ],
        ...,
    ] = Field((), max_length=20)
    """Fields to count over all kept hits."""
    sort: Sort = "relevance"
    """Order of the kept hits."""
    rewrite: Literal["auto", "off"] = "auto"
    """`auto` lets spelling repair and the rewriter correct and expand the query; `off` searches what was typed."""
    explain: bool = False
    """Adds to each hit how every stage saw it."""
    timeout_ms: float | None = Field(None, gt=0, allow_inf_nan=False)
    """Time the answer may take; clamped by `serving.max_timeout_ms`."""

    @model_validator(mode="after")
    def _reach_is_bounded(self) -> SearchRequest:
        if self.offset + self.k > MAX_REACH:
            raise ValueError(
                f"offset + k is {self.offset + self.k}, allowed is at most {MAX_REACH}"
            )
        try:
            Filters.parse(self.filters)
        except RequestError as error:
            raise ValueError(str(error)) from error
        return self


@dataclass(slots=True)
class Product:
    """What a hit shows of a product."""

    title: str
    brand: str | None
    price: float | None
    currency: str | None
    image_url: str | None
    category: list[str] | None
    available: bool | None


@dataclass(slots=True)
class Explanation:
    """How every stage saw one hit. Ranks count from 1; none means that the side did not find it."""

    dense_rank: int | None
    lexical_rank: int | None
    fused_rank: int
    cosine: float
    bm25: float
    fused: float
    features: dict[str, float]
    threshold: float


@dataclass(slots=True)
class Hit:
    """One product of the page."""

    product_id: str
    score: float
    """Order within this answer; not comparable between queries."""
    relevance: float | None
    """Probability that people would call it relevant; comparable between queries. None where the stage was left out."""
    product: Product
    explain: Explanation | None = None


@dataclass(slots=True)
class FacetCount:
    """A value and how many kept hits have it."""

    value: str
    count: int


@dataclass(slots=True)
class RepairInfo:
    """One change that spelling repair proposed."""

    typed: str
    meant: str
    rule: Literal["respelt", "split", "joined", "numbers"]
    margin: float
    """How much better the reading is than the least that is taken, in units of log probability."""


@dataclass(slots=True)
class ReadingInfo:
    """One reading of the query that was weighed."""

    source: Literal["typed", "spelling", "model"]
    query: str
    unknown_words: int
    """Words that no product holds: the reading with the fewest is searched."""
    titles: int | None
    """Titles that hold every word, which decides between equals; none where nothing counted them."""


@dataclass(slots=True)
class RewriteInfo:
    """What was made of the query and what of it was used."""

    query: str
    """The correction: the one searched, or else what the model proposed."""
    expansions: list[str]
    segments: list[tuple[str, str]]
    applied: bool
    """Whether anything but the query as typed was searched."""
    source: Literal["typed", "spelling", "model"] = "typed"
    """Whose words were searched."""
    reason: str = ""
    """Why these."""
    repairs: list[RepairInfo] = field(default_factory=list)
    candidates: list[ReadingInfo] = field(default_factory=list)
    """With `explain`: every reading that was weighed."""


@dataclass(slots=True)
class RecoveryInfo:
    """How a page that would have been too thin was filled."""

    query: str
    """The shorter query that found more."""
    dropped: list[tuple[str, str]]
    """What it lacks, each with its type; `word` where nothing knew the types."""


@dataclass(slots=True)
class SearchResponse:
    """One answer, computed from one snapshot."""

    hits: list[Hit]
    total: int
    """Products that match the filters and that the relevance filter kept."""
    total_is_exact: bool
    facets: dict[str, list[FacetCount]]
    rewrite: RewriteInfo | None
    degraded: list[str]
    """Stages that were left out to answer in time, in the order they were given up."""
    timings_ms: dict[str, float]
    """By stage; stages of a batch report the batch's time."""
    snapshot: str
    request_id: str
    empty_reason: str | None = None
    """Why there is no hit."""
    recovery: RecoveryInfo | None = None
    """Set where the query itself found too little and a shorter one found products that are relevant to the query as it
    was."""


@dataclass(slots=True)
class Problem:
    """An error as RFC 9457 has it."""

    title: str
    status: int
    detail: str
    type: str = "about:blank"
    errors: list[dict[str, str]] = field(default_factory=list)


"""`errors` lists each wrong field with what is allowed."""
