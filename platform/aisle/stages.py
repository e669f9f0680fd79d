"""The roles of the query path, as protocols, and the small records that pass between them.

Every stage takes a batch and gives a batch of the same length and order, within a `Deadline`. A stage is a plain
class: Serve wraps it, Ray Data maps it, a test just calls it. What crosses a process is a frozen record of plain
types and NumPy arrays, never a document and never a live object.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from aisle.retrieve.candidates import Candidates
    from aisle.retrieve.query import RetrievalQuery

T = TypeVar("T")
TextKind = Literal["query", "document"]


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on this process's monotonic clock by which an answer is due.

    Pickling carries the time that remains, because clocks of two machines do not agree; the transit itself is lost.

    >>> Deadline.after(10.0).remaining_s() > 9.0
    True
    """

    at_s: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline so many seconds from now."""
        return cls(time.monotonic() + seconds)

    def remaining_s(self) -> float:
        """Seconds left; zero or less once it has passed."""
        return self.at_s - time.monotonic()

    def sooner(self, seconds: float) -> Deadline:
        """The earlier of this deadline and `seconds` from now: a stage's own budget inside the request's."""
        return Deadline(min(self.at_s, time.monotonic() + seconds))

    def __reduce__(self) -> tuple[object, ...]:
        return (Deadline.after, (self.remaining_s(),))


@dataclass(frozen=True, slots=True)
class Segment:
    """A span of a query with its type: `("hp", "brand")`."""

    text: str
    type: str


@dataclass(frozen=True, slots=True)
class Rewrite:
    """What the rewriter made of one query.

    `query` is the corrected query, equal to the original where nothing was to correct; `expansions` are further
    phrasings, best first; `segments` cover `query`'s words in order and may be empty.
    """

    original: str
    query: str
    expansions: tuple[str, ...] = ()
    segments: tuple[Segment, ...] = ()

    @classmethod
    def unchanged(cls, query: str) -> Rewrite:
        """The rewrite that says nothing."""
        return cls(original=query, query=query)

    @property
    def changed(self) -> bool:
        """Whether anything but the original is to be searched."""
        return self.query != self.original or bool(self.expansions)


RunBlocking = Callable[[Callable[[], Any]], Awaitable[Any]]
"""How a stage runs blocking work: `inline` where nothing else waits, `asyncio.to_thread` in a server."""


async def inline(work: Callable[[], T]) -> T:
    """Runs blocking work where it is: batch jobs and tests."""
    return work()


class Encoder(Protocol):
    """Maps texts to unit vectors. Deterministic; safe to call from several threads; empty input gives shape (0, d)."""

    @property
    def dimension(self) -> int:
        """Length d of a vector."""

    @property
    def fingerprint(self) -> str:
        """Names the document side's weights, precision, pooling and token limit; equal means reusable vectors."""

    def encode(self, texts: Sequence[str], kind: TextKind = "document") -> NDArray[np.float32]:
        """Gives float32 (n, d), unit rows, in the order of `texts`."""


class Rewriter(Protocol):
    """Corrects, expands and segments queries. Answers within the deadline or raises `DeadlineExceeded`."""

    async def rewrite(self, queries: Sequence[str], deadline: Deadline) -> list[Rewrite]:
        """One rewrite a query, in order; a query that the model answers badly comes back unchanged."""


class Segmenter(Protocol):
    """Splits a query into typed segments. Deterministic; safe to call from several threads."""

    def segment(self, query: str) -> tuple[Segment, ...]:
        """Segments that cover the query's words in order."""


class Ranker(Protocol):
    """Scores rows of named features; scores order one query's products and mean nothing between queries."""

    feature_names: tuple[str, ...]
    """The columns that `score` expects, in order."""

    def score(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """float32 (n, f) -> float32 (n,), row by row; n may be 0."""


class RelevanceFilter(Protocol):
    """Says how probably people would call a product relevant, comparable between queries, and where the cut lies."""

    threshold: float
    """Hits below it are dropped."""

    def relevance(
        self,
        query_vectors: NDArray[np.float32],
        query_index: NDArray[np.int64],
        cosine: NDArray[np.float32],
        score: NDArray[np.float32],
    ) -> NDArray[np.float32]:
        """Probabilities for n pairs.

        Args:
            query_vectors: (q, d) unit rows.
            query_index: (n,) which query a pair belongs to.
            cosine: (n,).
            score: (n,) the ranker's.

        Returns:
            float32 (n,) in [0, 1].
        """


@dataclass(frozen=True, slots=True)
class ScoreBatch:
    """Candidates of several queries on their way to the ranker and the relevance filter."""

    features: NDArray[np.float32]
    """(n, f)."""
    cosine: NDArray[np.float32]
    """(n,)."""
    fused: NDArray[np.float32]
    """(n,) by the configured fusion: the order where no ranker is served."""
    query_index: NDArray[np.int64]
    """(n,) ascending."""
    query_vectors: NDArray[np.float32]
    """(q, d)."""


@dataclass(frozen=True, slots=True)
class Scores:
    """What ranker and relevance filter made of a `ScoreBatch`, in its order."""

    score: NDArray[np.float32]
    relevance: NDArray[np.float32]
    threshold: float
    rank_ms: float
    filter_ms: float


class Scorer(Protocol):
    """Ranker and relevance filter behind one call, because both together are far cheaper than a hop."""

    async def score(self, snapshot_id: str, batch: ScoreBatch, deadline: Deadline) -> Scores:
        """Raises `SnapshotNotHeld` for a snapshot that is not loaded, `DeadlineExceeded` past the deadline."""


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Merged candidates of each query, and the shards that did not answer in time."""

    candidates: list[Candidates]
    missing_shards: tuple[int, ...] = ()


class Retriever(Protocol):
    """Finds candidates in every shard and merges them to what a single index would have found.

    Features are for what will be ranked. Where asking again costs a hop, `retrieve` brings them along for everything;
    where it costs nothing, `describe` computes them for what fusing has left. The numbers are the same.
    """

    describes: bool
    """Whether `describe` computes features; else `retrieve` has."""

    async def retrieve(
        self, snapshot_id: str, queries: Sequence[RetrievalQuery], deadline: Deadline
    ) -> Retrieved:
        """One merged list a query, in order. Raises `DeadlineExceeded` when no shard answered in time."""

    async def score_pairs(
        self,
        snapshot_id: str,
        queries: Sequence[RetrievalQuery],
        product_ids: Sequence[NDArray[np.bytes_]],
        deadline: Deadline,
    ) -> list[Candidates]:
        """Scores and features of named products for each query, without searching; unknown ids are left out."""

    async def describe(
        self,
        snapshot_id: str,
        queries: Sequence[RetrievalQuery],
        candidates: Sequence[Candidates],
    ) -> list[Candidates]:
        """Candidates that `retrieve` gave, in their order, with features."""
