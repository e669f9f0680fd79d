"""Every error aisle raises on purpose, and when a caller meets it.

    AisleError
    ├── ConfigError             a config file or a --set override is wrong; fix it, a retry does not help
    ├── CatalogError            a source cannot be read or holds no usable row
    │   └── QuarantineExceeded  more bad rows than the config allows
    ├── ModelError              a model file is missing, damaged or does not fit the others
    ├── StoreError              the store cannot be reached, read or written; a retry may help
    │   ├── StoreReadOnly       this kind of store cannot publish; a retry does not help
    │   ├── PointerMoved        CURRENT changed between read and write; read again, then decide
    │   └── LeaseHeld           another run holds the lease; wait for it, or until it expires
    ├── SnapshotError           a snapshot is missing, damaged or of another format
    │   └── SnapshotNotHeld     a stage was asked for a snapshot that it has not loaded
    ├── RequestError            a search request is wrong (HTTP 400); carries the offending field
    ├── JudgmentError           judgments cannot be read or measure nothing
    ├── JobFailed               a job ended without doing its work; the message says which step
    │   └── GateBreached        a candidate broke a rule of the gate; CURRENT stays, the message says which
    └── StageError              a stage could not answer
        ├── DeadlineExceeded    the time budget ran out before the stage answered
        └── Overloaded          refused at the door (HTTP 429 or 503); retry after the stated seconds

A message says what went wrong, what was found, what is allowed and what to do next. Every argument goes to
`super().__init__`, so an error survives the pickling between Ray actors.
"""

from __future__ import annotations


class AisleError(Exception):
    """Base of every error that aisle raises on purpose."""


class ConfigError(AisleError):
    """A config file, key or override is wrong. Raised while loading, before any work starts."""


class CatalogError(AisleError):
    """A catalogue source is missing, unreadable or holds no valid row. Nothing was written."""


class QuarantineExceeded(CatalogError):
    """The share of rejected rows is above `catalog.quarantine_max_fraction`; the rows and reasons are kept."""


class ModelError(AisleError):
    """A model could not be resolved, exported or loaded, or its dimensions do not fit the snapshot."""


class StoreError(AisleError):
    """The store could not be reached, read or written. A retry may help; nothing was half-published."""


class StoreReadOnly(StoreError):
    """The store's protocol has no compare-and-swap, so it can be read and batch-searched but not published to."""


class PointerMoved(StoreError):
    """CURRENT no longer holds the value the caller read. Someone else published: read again, then decide."""


class LeaseHeld(StoreError):
    """Another run holds the lease, or has taken over this one's. Nothing of the live snapshot was touched."""


class SnapshotError(AisleError):
    """A snapshot is missing, damaged (a file's sha256 differs from the manifest) or of an unknown format."""


class SnapshotNotHeld(SnapshotError):
    """A stage was asked for a snapshot that is not loaded in it. The gateway retries elsewhere or refuses."""


class RequestError(AisleError):
    """A search request is invalid.

    Args:
        message: what was got and what is allowed.
        field: the request's field, dotted, such as `filters.price`.
    """

    def __init__(self, message: str, field: str = "") -> None:
        super().__init__(message, field)
        self.message = message
        self.field = field

    def __str__(self) -> str:
        return f"{self.field}: {self.message}" if self.field else self.message


class JudgmentError(AisleError):
    """Judgments are unreadable, lack a column, or leave no query to measure."""


class JobFailed(AisleError):
    """A job's step failed after its retries; what earlier steps wrote is kept for the next run."""


class GateBreached(JobFailed):
    """A candidate lost more than the gate allows. It is complete, but CURRENT stays as it is; a retry does not help.

    Args:
        message: each broken rule with both values and the worst queries.
        breaches: the same as plain JSON.
    """

    def __init__(self, message: str, breaches: tuple[dict[str, object], ...] = ()) -> None:
        super().__init__(message, breaches)
        self.message = message
        self.breaches = breaches

    def __str__(self) -> str:
        return self.message


class StageError(AisleError):
    """A stage failed in a way that its caller may degrade around; counted and named in the response."""


class DeadlineExceeded(StageError):
    """The time budget ran out. The pipeline goes on without the stage where the degradation order allows."""


class Overloaded(StageError):
    """Refused rather than queued without bound.

    Args:
        message: which limit was hit, with its number.
        retry_after_s: when a retry has a chance, in seconds.
    """

    def __init__(self, message: str, retry_after_s: float = 1.0) -> None:
        super().__init__(message, retry_after_s)
        self.message = message
        self.retry_after_s = retry_after_s

    def __str__(self) -> str:
        return self.message
