"""The comparison's arithmetic: what is best of several rounds, and what a target is."""

from __future__ import annotations

from jobs.contest import _best, targets, text_table

FLOOR = {"p50_ms": 2.0, "p99_ms": 3.0, "ceiling_per_s": 600.0, "dense_recall@100": 0.99}
OURS = {
    "p50_ms": 3.5,
    "requests_per_s": 500.0,
    "open_p50_ms": 4.0,
    "open_p99_ms": 30.0,
    "errors": 0,
    "ndcg@10": 0.4,
}


def test_best_takes_large_rates_small_times_and_all_errors():
    first = {"p50_ms": 2.0, "requests_per_s": 10.0, "errors": 1, "ndcg@10": 0.4}
    second = {"p50_ms": 3.0, "requests_per_s": 12.0, "errors": 2, "open_p99_ms": 9.0}
    assert _best([first, second]) == {
        "p50_ms": 2.0,
        "requests_per_s": 12.0,
        "errors": 3,
        "ndcg@10": 0.4,
        "open_p99_ms": 9.0,
    }


def test_targets_are_ratios_within_the_run():
    systems = {
        "floor": FLOOR,
        "ours_fused": OURS,
        "empty_fused": {"requests_per_s": 3000.0},
        "lancedb": {"requests_per_s": 100.0},
    }
    found = {each["measure"]: (each["value"], each["met"]) for each in targets(systems)}
    # 1 / (1/600 + 1/3000) = 500: all of what serving leaves to searching.
    assert found["throughput of what is possible"] == (1.0, True)
    assert found["throughput over lancedb"] == (5.0, True)
    assert found["p50 over the floor, ms"] == (1.5, True)
    assert found["p99 over p50 at half of the ceiling"] == (7.5, False)
    assert found["dense recall@100"] == (0.99, True)
    assert "throughput over fastapi" not in found


def test_the_table_shows_the_floors_ceiling_as_its_throughput():
    systems = {"floor": FLOOR, "ours_fused": OURS}
    table = text_table({"systems": systems, "targets": targets(systems)})
    assert table.splitlines()[1].split()[:4] == ["floor", "2.0", "3.0", "600.0"]
    assert "not met" in table
