"""Who is let in: token buckets for everybody and for one caller, and keys compared in constant time.

Pure functions of state and time; the clock is the caller's. What a refusal looks like over HTTP is not known here.
"""

from __future__ import annotations

import hashlib
import hmac
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from aisle.config import AdmissionConfig


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit: tokens that flow in a second, and how many a bucket holds."""

    per_s: float
    burst: float


@dataclass(frozen=True, slots=True)
class Bucket:
    """What one caller, or all, had left at a time."""

    tokens: float
    at_s: float


def take(bucket: Bucket | None, rate: Rate, now_s: float) -> tuple[Bucket, float]:
    """Takes one token: the bucket afterwards, and 0; or the bucket unchanged but for time, and the seconds to wait.

    A bucket that is not there yet is full. A clock that went back gives and takes nothing.

    >>> bucket, wait_s = take(None, Rate(per_s=2.0, burst=1.0), 0.0)
    >>> take(bucket, Rate(per_s=2.0, burst=1.0), 0.1)[1]
    0.4
    """
    if bucket is None:
        bucket = Bucket(rate.burst, now_s)
    passed_s = max(now_s - bucket.at_s, 0.0)
    tokens = min(bucket.tokens + passed_s * rate.per_s, rate.burst)
    at_s = max(now_s, bucket.at_s)
    if tokens >= 1.0:
        return Bucket(tokens - 1.0, at_s), 0.0
    return Bucket(tokens, at_s), (1.0 - tokens) / rate.per_s


@dataclass(frozen=True, slots=True)
class Refusal:
    """Whose limit was met, and when a retry has a chance."""

    limit: Literal["client", "all"]
    retry_after_s: float


class Limits:
    """The limits of one gateway, which admits its share of the service's. Not for concurrent threads."""

    def __init__(self, config: AdmissionConfig, gateways: int = 1) -> None:
        """Shares the configured rates out between `gateways`; a share of a burst is at least one search."""
        self._all = _share(config.rate_per_s, config.burst, gateways)
        self._client = _share(config.client_rate_per_s, config.client_burst, gateways)
        self._remembered = config.clients_remembered
        self._spent: Bucket | None = None
        self._clients: OrderedDict[str, Bucket] = OrderedDict()

    def refuse(self, client: str, now_s: float) -> Refusal | None:
        """Takes a token from the caller's bucket and from everybody's, or from neither and says why not."""
        own: Bucket | None = None
        if self._client is not None:
            own, wait_s = take(self._clients.get(client), self._client, now_s)
            if wait_s > 0:
                self._remember(client, own)
                return Refusal("client", wait_s)
        if self._all is not None:
            self._spent, wait_s = take(self._spent, self._all, now_s)
            if wait_s > 0:
                return Refusal("all", wait_s)
        if own is not None:
            self._remember(client, own)
        return None

    def __len__(self) -> int:
        return len(self._clients)

    def _remember(self, client: str, bucket: Bucket) -> None:
        self._clients[client] = bucket
        self._clients.move_to_end(client)
        while len(self._clients) > self._remembered:
            self._clients.popitem(last=False)


class Keys:
    """Names of callers by their keys; holds digests only, so that no dump or log of it shows a key."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._digests = {name: _digest(key) for name, key in keys.items()}

    def __bool__(self) -> bool:
        return bool(self._digests)

    def name_of(self, given: str) -> str | None:
        """Whose key it is, or none. As long whichever it is: every key is compared, each in constant time."""
        digest, found = _digest(given), None
        for name, known in self._digests.items():
            if hmac.compare_digest(digest, known):
                found = name
        return found


def client_address(peer: str, forwarded_for: str, hops: int) -> str:
    """The address that the outermost of `hops` trusted proxies saw; the connection's own where there is none.

    X-Forwarded-For grows to the right: the last entry is what the nearest trusted proxy saw, and whatever stands left
    of the trusted ones is the caller's to invent.

    >>> client_address("10.0.0.1", "6.6.6.6, 203.0.113.9, 10.0.0.2", hops=2)
    '203.0.113.9'
    """
    seen = [each.strip() for each in forwarded_for.split(",") if each.strip()]
    if hops == 0 or not seen:
        return peer
    return seen[-min(hops, len(seen))]


def _share(per_s: float | None, burst: int, gateways: int) -> Rate | None:
    return None if per_s is None else Rate(per_s / gateways, max(burst / gateways, 1.0))


def _digest(key: str) -> bytes:
    return hashlib.sha256(key.encode("utf-8", "surrogateescape")).digest()
