"""What storage throws, sorted: which exceptions are a store's failure, and which of them may pass.

fsspec translates some errors and lets others of its back ends through (botocore, aiohttp, Google's), none of which
share a base class, and none of which may be imported here, since most installations lack most of them. So classes are
looked up among the modules that are already loaded: a back end that failed has been imported.
"""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from dataclasses import dataclass
from time import monotonic, sleep
from typing import TypeVar

from aisle.errors import AisleError, StoreError

T = TypeVar("T")

_FOREIGN = (
    ("botocore.exceptions", "BotoCoreError"),
    ("botocore.exceptions", "ClientError"),
    ("aiohttp", "ClientError"),
    ("requests", "RequestException"),
    ("gcsfs.retry", "HttpError"),
    ("google.auth.exceptions", "GoogleAuthError"),
    ("azure.core.exceptions", "AzureError"),
    ("huggingface_hub.errors", "HfHubHTTPError"),
)

_LASTING_TYPES = (
    FileNotFoundError,
    FileExistsError,
    PermissionError,
    IsADirectoryError,
    NotADirectoryError,
)
_PASSING_ERRNOS = frozenset(
    {
        None,  # a remote error that fsspec translated
        errno.EAGAIN,
        errno.EBUSY,  # also S3's SlowDown and ServiceUnavailable, as s3fs translates them
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTUNREACH,
        errno.EINTR,
        errno.EIO,
        errno.ENETUNREACH,
        errno.EPIPE,
        errno.EREMOTEIO,  # also S3's InternalError
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
_LASTING_NAMES = (
    "NoCredentialsError",
    "PartialCredentialsError",
    "ParamValidationError",
    "GoogleAuthError",
)


@dataclass(frozen=True, slots=True)
class Retry:
    """How long to stand by a store that does not answer: waits grow twofold from `first_wait_s` to `max_wait_s`.

    The default outlives an outage of 30 seconds. An attempt under way is not cut short, so a call takes at most
    `budget_s` plus one attempt's own time-out.
    """

    budget_s: float = 45.0
    first_wait_s: float = 0.2
    max_wait_s: float = 5.0
    sleep: Callable[[float], None] = sleep
    clock: Callable[[], float] = monotonic

    def call(self, act: Callable[[], T]) -> T:
        """Gives what `act` gives, calling it again while it fails in a way that may pass and the budget lasts."""
        end, wait_s = self.clock() + self.budget_s, self.first_wait_s
        while True:
            try:
                return act()
            except failures() as error:
                if not is_passing(error) or self.clock() + wait_s > end:
                    raise
            self.sleep(wait_s)
            wait_s = min(2 * wait_s, self.max_wait_s)


def failures() -> tuple[type[BaseException], ...]:
    """Exception classes that mean "the store failed"; for use in an except clause, which evaluates it when needed."""
    foreign = (getattr(sys.modules.get(module), name, None) for module, name in _FOREIGN)
    return (OSError, *(kind for kind in foreign if isinstance(kind, type)))


def is_passing(error: BaseException) -> bool:
    """Whether trying again may help: outages and throttling may pass; missing, forbidden and full do not."""
    if isinstance(error, _LASTING_TYPES) or type(error).__name__ in _LASTING_NAMES:
        return False
    return not isinstance(error, OSError) or error.errno in _PASSING_ERRNOS


def store_error(error: BaseException, doing: str, url: str) -> StoreError:
    """Says what failed at which URL, why, and what to do about it."""
    if isinstance(error, AisleError):
        raise TypeError("an error of aisle is not to be wrapped again")
    cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return StoreError(
        f"{url}: cannot {doing} ({type(error).__name__}: {cause}); {_next_step(error)}"
    )


def _next_step(error: BaseException) -> str:
    number = error.errno if isinstance(error, OSError) else None
    name = type(error).__name__
    if isinstance(error, FileNotFoundError):
        return "check the store's URL; nothing is there under this name"
    if number == errno.EROFS:
        return "the file system is mounted read-only: choose another store"
    if isinstance(error, PermissionError) or number == errno.EPERM:
        return "the store may be read-only for this user: check its rights or credentials"
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "free some space (python -m jobs.prune removes old snapshots), then run again"
    if isinstance(error, NotADirectoryError | FileExistsError | IsADirectoryError):
        return "a file stands where a folder should be, or the reverse: check the store's URL"
    if "Credential" in name or "Auth" in name:
        return "give credentials in store_options or in the environment"
    if is_passing(error):
        return "it did not answer for as long as retries were allowed: check network and endpoint, then run again"
    return "check the store's URL and store_options"
