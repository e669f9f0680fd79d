"""What `jobs.night_cost` changes and how it judges; the nights themselves are in tests/unit/nightly."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from jobs.night_cost import text_table, verdict
from jobs.night_cost_shop import changed


def catalogue(first: int, n: int) -> pa.Table:
    rows = [
        {"product_id": f"P{i:04d}", "title": f"Thing number word{i}"}
        for i in range(first, first + n)
    ]
    return pa.Table.from_pylist(rows)


def test_one_percent_is_retitled_removed_and_added() -> None:
    before, spare = catalogue(0, 2000), catalogue(5000, 50)
    after = changed(before, spare, 0.01)
    then, now = (dict(zip(*each.to_pydict().values(), strict=True)) for each in (before, after))
    retitled = [each for each in then.keys() & now.keys() if then[each] != now[each]]
    assert len(retitled) == 10
    assert all(now[each].startswith(then[each] + " word") for each in retitled)
    assert len(then.keys() - now.keys()) == 5
    assert sorted(now.keys() - then.keys()) == [f"P{i}" for i in range(5000, 5005)]
    assert changed(before, spare, 0.01) == after  # seeded


def found(embed_s: float = 10.0, wall_s: float = 50.0, equal: int = 500) -> dict[str, Any]:
    def night(embed: float, wall: float) -> dict[str, float]:
        names = ("core_s", "embed_core_s", "embedded", "indexed")
        return {**dict.fromkeys(names, 100.0), "embed_s": embed, "wall_s": wall}

    same = {"queries": 500, "identical": 1, "equal": equal, "overlap_10": 1.0, "overlap_100": 1.0}
    return {
        "nights": {
            "first": night(200, 250),
            "delta": night(embed_s, wall_s),
            "full": night(200, 250),
        },
        "answers": {"exact delta / exact full": same},
    }


@pytest.mark.parametrize(
    ("changes", "ok"),
    [({}, True), ({"embed_s": 10.1}, False), ({"wall_s": 50.1}, False), ({"equal": 499}, False)],
    ids=str,
)
def test_a_night_is_cheap_enough_and_answers_alike(changes: dict[str, Any], ok: bool) -> None:
    result = found(**changes)
    assert verdict(result)["ok"] is ok
    assert "exact delta / exact full" in text_table(result | verdict(result))
