"""What a compare-and-swap read gives: a value and the version to swap against."""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256

from aisle.errors import PointerMoved

Version = str
"""Opaque: an S3 entity tag, or a local file's identity. Equal versions are the same state of the pointer."""

ABSENT: Version = ""
"""Version of a pointer that does not exist."""


@dataclass(frozen=True, slots=True)
class Versioned:
    """A value with its version."""

    value: bytes | None
    version: Version

    @classmethod
    def of(cls, value: bytes | None, state: str = "") -> Versioned:
        """Versions a value by its content and, where the store tells more about its state, by that too."""
        if value is None:
            return cls(None, ABSENT)
        return cls(value, f"{state}{sha256(value).hexdigest()[:32]}")


def moved(url: str, expected: Version, found: Versioned) -> PointerMoved:
    """The error of a writer that came second."""
    value = "nothing" if found.value is None else repr(found.value[:120].decode("utf-8", "replace"))
    return PointerMoved(
        f"{url}: changed by someone else: expected version {expected or 'absent'}, found {found.version or 'absent'} "
        f"holding {value}; read it again and decide anew"
    )
