"""Section of who is let in: limits, keys, sizes, other sites' pages; and where keys are read from."""

from __future__ import annotations

import os
from pathlib import Path

from pydantic import Field, model_validator

from aisle.config.sections import Section
from aisle.errors import ConfigError

_SHORTEST_KEY = 16


class AdmissionConfig(Section):
    """What a gateway refuses at the door, before it costs anything.

    Limits hold for the whole service: each of `serving.gateway_replicas` admits its share, so a caller whose requests
    do not spread evenly meets them early.
    """

    rate_per_s: float | None = Field(None, gt=0)
    """Searches a second that all callers together may begin; beyond it 503 with Retry-After.

    Null leaves only the queues' limits (`serving.max_ongoing_requests`, `max_queued_requests`). Choose what
    `jobs.bench` finds to be the ceiling.
    """
    burst: int = Field(100, ge=1)
    """Searches that may come at once after a pause, on top of the rate."""
    client_rate_per_s: float | None = Field(None, gt=0)
    """The same for one caller, beyond it 429 with Retry-After. Null: no limit."""
    client_burst: int = Field(20, ge=1)
    """Searches that one caller may send at once after a pause."""
    clients_remembered: int = Field(10_000, ge=1)
    """Callers whose use is remembered; beyond it the one not seen the longest starts afresh. About 300 bytes each."""
    forwarded_for_hops: int = Field(0, ge=0, le=10)
    """Proxies of your own that append to X-Forwarded-For, Ray's HAProxy not counted: it appends nothing.

    A caller without a key is known by the address that the outermost of them saw. 0 takes the connection's, which
    behind HAProxy is HAProxy's own for everybody, so that callers without keys share one limit. Never more than there
    are: what stands left of their entries is the caller's to invent.
    """
    keys_env: str | None = Field(None, pattern=r"^[A-Z_][A-Z0-9_]*$")
    """Environment variable that holds API keys, `name=key` separated by commas. Set it on every node."""
    keys_file: str | None = None
    """File that holds API keys, one `name=key` a line, `#` begins a comment; read when a gateway starts.

    With neither this nor `keys_env` nobody needs a key. The name is what limits know; a key is never logged.
    """
    max_body_bytes: int = Field(65_536, ge=1_024)
    """A longer body is refused with 413. The longest useful one, a query of 512 characters and filters, is shorter."""
    max_header_bytes: int = Field(16_384, ge=1_024)
    """Request line and headers together; beyond it 431. HAProxy's own limit is the same by default."""
    cors_origins: tuple[str, ...] = ()
    """Sites whose pages may call from a browser, such as `https://shop.example`; none by default. `*` is anybody."""

    @model_validator(mode="after")
    def _one_place_for_keys(self) -> AdmissionConfig:
        if self.keys_env and self.keys_file:
            raise ValueError(
                "keys_env and keys_file are both set; keys are read from one place, leave the other null"
            )
        return self


def read_keys(config: AdmissionConfig) -> dict[str, str]:
    """Name to key; empty where nobody needs one.

    Raises:
        ConfigError: the file or variable is missing or empty, or an entry is wrong. The message shows no key.
    """
    if config.keys_env:
        where, text = f"environment variable {config.keys_env}", os.environ.get(config.keys_env)
        entries = (text or "").split(",")
    elif config.keys_file:
        where = config.keys_file
        try:
            entries = Path(config.keys_file).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(
                f"admission.keys_file {where}: cannot be read ({type(error).__name__}); make it readable or set null"
            ) from error
    else:
        return {}
    keys: dict[str, str] = {}
    for number, entry in enumerate(entries, 1):
        entry = entry.strip()
        if not entry or entry.startswith("#"):
            continue
        name, equals, key = (part.strip() for part in entry.partition("="))
        if not equals or not name or len(key) < _SHORTEST_KEY:
            raise ConfigError(
                f"admission: entry {number} of {where} is not name=key, "
                f"with a key of at least {_SHORTEST_KEY} characters"
            )
        if name in keys:
            raise ConfigError(f"admission: {where} names {name!r} twice")
        keys[name] = key
    if not keys:
        raise ConfigError(
            f"admission: {where} holds no key; without one nobody could call, so set it or name no source"
        )
    return keys
