"""The list of snapshots, the difference of two, and the jobs that show them."""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from aisle.config import Settings
from aisle.nightly.overview import difference, overview
from aisle.snapshot import Manifest
from jobs import prune, publish, rollback, snapshots
from tests.shop import library_of, run_night, sample, settings_for, write_source


def judge_of(ndcg: list[float], lamps: list[str]) -> Any:
    mean = sum(ndcg) / len(ndcg)

    def judge(_: Manifest) -> dict[str, Any]:
        return {
            "judged_by": "pinned",
            "systems": [{"system": "bm25", "ndcg@10": 0.1}, {"system": "all", "ndcg@10": mean}],
            "per_query": {"queries": ["lamp", "kettle", "shoe"], "ndcg@10": ndcg},
            "pinned": {"queries": ["lamp", "shoe"], "hits": [lamps, ["S-1"]]},
        }

    return judge


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Settings, str, str]:
    """Two nights: one product came, one changed its price, one its title, two went."""
    rows = sample().products.slice(0, 60).to_pylist()
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 60))
    settings = settings_for(tmp_path, source)
    ids = [row["product_id"] for row in rows]
    first = run_night(settings, judge=judge_of([0.5, 0.6, 0.7], [ids[30], ids[11], "L-1"]))[
        "snapshot"
    ]
    rows[10]["price"], rows[11]["title"] = 1.25, "Crimson velociraptor lamp"
    rows.append({**rows[20], "product_id": "NEW-1"})
    del rows[30:32]
    write_source(source, pa.Table.from_pylist(rows, sample().products.schema))
    second = run_night(settings, judge=judge_of([0.9, 0.6, 0.6], ["L-1", ids[11], "NEW-1"]))[
        "snapshot"
    ]
    return settings, first, second


def ids_at(*positions: int) -> list[str]:
    all_ids = sample().products["product_id"].to_pylist()
    return sorted(all_ids[position] for position in positions)


def test_the_list_has_age_size_counts_scores_and_which_one_is_live(
    shop: tuple[Settings, str, str],
) -> None:
    settings, first, second = shop
    rows = {
        row["snapshot"]: row for row in overview(library_of(settings), time.time() + 7 * 86_400)
    }
    assert set(rows) == {first, second}
    assert (rows[first]["live"], rows[second]["live"]) == (False, True)
    assert rows[second]["parent"] == first
    assert rows[second]["counts"]["products"] == 59
    assert rows[second]["scores"] == {"ndcg@10": pytest.approx(0.7)}  # of the last system
    assert 7 * 86_400 <= rows[first]["age_s"] < 7 * 86_400 + 3600
    assert rows[first]["own_bytes"] == rows[first]["bytes"]
    assert 0 < rows[second]["own_bytes"] < rows[second]["bytes"]


def test_a_difference_names_products_measures_and_queries(
    shop: tuple[Settings, str, str],
) -> None:
    settings, first, second = shop
    changed = difference(library_of(settings), first, second)
    assert changed["products"] == {
        "added": {"count": 1, "first": ["NEW-1"]},
        "changed": {"count": 2, "first": ids_at(10, 11)},
        "removed": {"count": 2, "first": ids_at(30, 31)},
    }
    assert changed["models"] == {}
    assert changed["counts"]["products"] == [60, 59]
    ndcg = changed["measures"]["ndcg@10"]
    assert (ndcg["before"], ndcg["after"]) == (pytest.approx(0.6), pytest.approx(0.7))
    assert ndcg["change"][0] == pytest.approx(0.1)  # (0.4 + 0 - 0.1) / 3
    assert changed["queries"] == {
        "fell": [{"query": "shoe", "before": 0.7, "after": 0.6}],
        "rose": [{"query": "lamp", "before": 0.5, "after": 0.9}],
    }
    (gone,) = ids_at(30)
    assert changed["results"] == {
        "queries": 2,
        "changed": 1,
        "overlap": 0.8333,  # two of three, and all
        "moved": [
            {
                "query": "lamp",
                "entered": [{"product_id": "NEW-1", "rank": 3, "product": "added"}],
                "left": [{"product_id": gone, "rank": 1, "product": "removed"}],
                "stayed": [{"product_id": "L-1", "before": 3, "after": 1}],
            }
        ],
    }


def test_a_snapshot_does_not_differ_from_itself(shop: tuple[Settings, str, str]) -> None:
    settings, first, _ = shop
    changed = difference(library_of(settings), first, first)
    assert {name: each["count"] for name, each in changed["products"].items()} == {
        "added": 0,
        "changed": 0,
        "removed": 0,
    }
    assert changed["counts"] == changed["models"] == {}
    assert (changed["results"]["changed"], changed["results"]["overlap"]) == (0, 1.0)


def test_a_difference_over_another_shard_count_and_encoder(
    shop: tuple[Settings, str, str], tmp_path: Path
) -> None:
    settings, _, second = shop
    other = settings_for(
        tmp_path, tmp_path / "p.parquet", index={"shards": 3}, encoder={"dimension": 32}
    )
    third = run_night(other)["snapshot"]
    changed = difference(library_of(settings), second, third)
    assert all(each["count"] == 0 for each in changed["products"].values())
    assert list(changed["models"]) == ["encoder"]
    assert changed["queries"] == {"fell": [], "rose": []}
    assert changed["results"] == {}  # nobody judged the third


def test_the_jobs_show_it(
    shop: tuple[Settings, str, str], capsys: pytest.CaptureFixture[str]
) -> None:
    settings, first, second = shop
    listed = snapshots.run(settings, argparse.Namespace(diff=None))
    assert [row["live"] for row in listed["snapshots"] if row["snapshot"] == second] == [True]
    assert f"* {second}" in capsys.readouterr().err
    snapshots.run(settings, argparse.Namespace(diff=[first, second]))
    shown = capsys.readouterr().err
    assert "of 2 pinned queries 1 differ in their first hits, overlap 0.833" in shown
    assert "moved: 'lamp' +3 NEW-1 (added), -1 " in shown
    planned = prune.run(settings, argparse.Namespace(dry_run=True))
    assert planned["removed"] == []
    assert f"keep    {second}  live" in capsys.readouterr().err


def test_roll_back_and_publish_again(shop: tuple[Settings, str, str]) -> None:
    settings, first, second = shop
    assert rollback.run(settings, argparse.Namespace(snapshot=None))["snapshot"] == first
    done = publish.run(settings, argparse.Namespace(snapshot=second, force=False))
    assert done == {"snapshot": second, "before": first, "forced": []}
