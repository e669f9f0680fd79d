"""What a process holds open already: a part that two snapshots share is opened once, and goes when neither is held.

A night carries most segments and models by reference, so the next snapshot is mostly the one before it. A file's place
below the cache (owner and path) says what it is: such files never change.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")


class Opened:
    """Parts by kind and place, held as long as somebody else holds them. Not safe for two loads at once."""

    def __init__(self) -> None:
        self._parts: weakref.WeakValueDictionary[tuple[str, Path], Any] = (
            weakref.WeakValueDictionary()
        )

    def part(self, kind: str, place: Path, open_it: Callable[[Path], T]) -> T:
        """The part that is open at a place, or the one that `open_it` makes of it now."""
        held: T | None = self._parts.get((kind, place))
        if held is None:
            held = open_it(place)
            self._parts[kind, place] = held
        return held

    def __len__(self) -> int:
        return len(self._parts)
