from __future__ import annotations

import pytest

from aisle.cache import Cache
from aisle.stages import Rewrite


def test_counts_hits_and_misses() -> None:
    cache = Cache[str, Rewrite](2)
    kept = Rewrite("cabel", "cable")

    assert cache.get("cabel") is None
    cache.put("cabel", kept)

    assert cache.get("cabel") is kept
    assert (cache.hits, cache.misses, len(cache)) == (1, 1, 1)


def test_the_least_recently_used_entry_goes_first() -> None:
    cache = Cache[str, Rewrite](2)
    for query in ("a", "b"):
        cache.put(query, Rewrite.unchanged(query))
    cache.get("a")

    cache.put("c", Rewrite.unchanged("c"))

    assert cache.get("b") is None
    assert cache.get("a") == Rewrite.unchanged("a")
    assert len(cache) == 2


def test_an_entry_put_again_is_replaced_and_becomes_recent() -> None:
    cache = Cache[str, Rewrite](2)
    cache.put("a", Rewrite.unchanged("a"))
    cache.put("b", Rewrite.unchanged("b"))
    cache.put("a", Rewrite("a", "aa"))

    cache.put("c", Rewrite.unchanged("c"))

    assert cache.get("a") == Rewrite("a", "aa")
    assert cache.get("b") is None


def test_no_entries_means_no_cache() -> None:
    cache = Cache[str, Rewrite](0)
    cache.put("a", Rewrite.unchanged("a"))

    assert cache.get("a") is None
    assert len(cache) == 0


def test_a_negative_size_is_refused() -> None:
    with pytest.raises(ValueError, match="-1 entries"):
        Cache[str, Rewrite](-1)
