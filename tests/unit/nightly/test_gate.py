"""The gate as a table of scenarios, and what a night does with its verdict."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from aisle.config import GateConfig, Settings, load
from aisle.errors import GateBreached
from aisle.nightly.gate import Report, breaches
from aisle.nightly.publish import live_or_none, publish
from aisle.nightly.report import read_report, require_passed
from aisle.snapshot import Manifest
from tests.shop import library_of, live, run_night, sample, settings_for, write_source

OFF: dict[str, Any] = {
    name: None for name, field in GateConfig.model_fields.items() if field.default is not None
}
OFF |= {"latency_floor_ms": 50.0, "sample_queries": 64}
N = 40


def rules(**on: float) -> GateConfig:
    return GateConfig(**(OFF | on))


def report(
    measure: str = "ndcg@10",
    values: Sequence[float | None] | None = None,
    *,
    products: int = 1000,
    quarantined: int = 0,
    p95: float = 100.0,
    ann: float = 1.0,
    shown: Sequence[int] = (0, 0, 10, 20, 40, 80, 120, 200, 300, 230),
) -> Report:
    values = values or [0.5] * N
    return {
        "per_query": {"queries": [f"q{i}" for i in range(len(values))], measure: values},
        "catalogue": {"products": products, "rows": 1000, "quarantined": quarantined},
        "latency_ms": {"p50": p95 / 2, "p95": p95},
        "dense": {"recall@100": ann},
        "relevance_histogram": list(shown),
    }


PARENT = report()
UNIFORM = [0.5 - 0.02] * N
"""Every query loses 0.02: the interval is that point."""
NOISE = [0.5 + 0.4 * (-1) ** i for i in range(N - 4)] + [0.1] * 4
"""The mean falls by 0.04, but by chance: the interval of the change holds zero."""

SCENARIOS: dict[str, tuple[Report, Report | None, GateConfig, list[str]]] = {
    "the relevance of the same queries' hits moved": (
        report(shown=[100] * 10),
        PARENT,
        rules(max_relevance_drift=0.25),
        ["max_relevance_drift"],
    ),
    "another filter gives another relevance": (
        report(shown=[100] * 10) | {"relevance_by": {"relevance": "new"}},
        PARENT,
        rules(max_relevance_drift=0.25),
        [],
    ),
    "the relevance moved by little": (
        report(shown=(0, 1, 12, 22, 44, 78, 115, 190, 305, 233)),
        PARENT,
        rules(max_relevance_drift=0.25),
        [],
    ),
    "equal reports": (report(), PARENT, GateConfig(), []),
    "a first night has nothing to lose": (
        report(values=[0.0] * N, products=1),
        None,
        GateConfig(),
        [],
    ),
    "a first night has an index to keep to": (
        report(ann=0.9),
        None,
        GateConfig(),
        ["min_ann_recall"],
    ),
    "a certain drop above the allowance": (
        report(values=UNIFORM),
        PARENT,
        rules(max_ndcg_drop=0.01),
        ["max_ndcg_drop"],
    ),
    "a certain drop within the allowance": (
        report(values=UNIFORM),
        PARENT,
        rules(max_ndcg_drop=0.03),
        [],
    ),
    "a drop above the allowance that may be chance": (
        report(values=NOISE),
        PARENT,
        rules(max_ndcg_drop=0.01),
        [],
    ),
    "a gain": (report(values=[0.9] * N), PARENT, rules(max_ndcg_drop=0.0), []),
    "a rule that is off": (report(values=[0.0] * N), PARENT, rules(), []),
    "a parent that was not judged": (
        report(values=[0.0] * N),
        {"catalogue": PARENT["catalogue"]},
        GateConfig(),
        [],
    ),
    "queries that are new or undefined count for nothing": (
        report(values=[0.5, None, *[0.5] * N, 0.0, 0.0]),
        report(values=[0.5] * (N + 2)),
        rules(max_ndcg_drop=0.0),
        [],
    ),
    "recall": (
        report("recall@100", UNIFORM),
        report("recall@100"),
        GateConfig(),
        ["max_recall_drop"],
    ),
    "page precision": (
        report("page_precision", [0.4] * N),
        report("page_precision"),
        GateConfig(),
        ["max_page_precision_drop"],
    ),
    "more empty pages": (
        report("zero_results", [1.0] * 10 + [0.0] * 30),
        report("zero_results", [0.0] * N),
        GateConfig(),
        ["max_zero_result_rise"],
    ),
    "fewer empty pages": (
        report("zero_results", [0.0] * N),
        report("zero_results", [1.0] * N),
        GateConfig(),
        [],
    ),
    "half a catalogue": (report(products=500), PARENT, GateConfig(), ["max_product_drop_fraction"]),
    "a fifth less is allowed": (report(products=800), PARENT, GateConfig(), []),
    "more bad rows": (report(quarantined=30), PARENT, GateConfig(), ["max_quarantine_rise"]),
    "slower": (report(p95=301), PARENT, GateConfig(), ["max_latency_ratio"]),
    "slower, but fast enough": (report(p95=49), report(p95=1), GateConfig(), []),
    "several at once": (
        report(values=[0.1] * N, products=1, ann=0.5),
        PARENT,
        GateConfig(),
        ["min_ann_recall", "max_ndcg_drop", "max_product_drop_fraction"],
    ),
}


@pytest.mark.parametrize("name", SCENARIOS)
def test_the_gate(name: str) -> None:
    candidate, parent, config, broken = SCENARIOS[name]
    assert [each.rule for each in breaches(candidate, parent, config)] == broken


def test_a_breach_has_both_values_and_names_the_queries_that_lost_most() -> None:
    values = [0.4] * N
    values[7], values[3] = 0.0, 0.1
    (breach,) = breaches(report(values=values), PARENT, rules(max_ndcg_drop=0.01))
    assert (breach.parent, breach.candidate) == (
        0.5,
        pytest.approx(0.3825),
    )  # (38 * 0.4 + 0.1) / 40
    assert [(each.query, each.before, each.after) for each in breach.worst[:2]] == [
        ("q7", 0.5, 0.0),
        ("q3", 0.5, 0.1),
    ]
    assert "max_ndcg_drop: ndcg@10 0.5000 -> 0.3825, allowed 0.01" in str(breach)
    assert "worst queries: 'q7' 0.50 -> 0.00" in str(breach)


def test_worst_queries_of_a_rise_are_those_that_rose() -> None:
    after = [1.0] * 10 + [0.0] * 30
    (breach,) = breaches(
        report("zero_results", after), report("zero_results", [0.0] * N), GateConfig()
    )
    assert {(each.before, each.after) for each in breach.worst} == {(0.0, 1.0)}


def test_a_rule_is_switched_off_on_the_command_line() -> None:
    local = Path(__file__).parents[3] / "configs" / "local.yaml"
    settings = load(local, ["gate.max_ndcg_drop=null", "gate.min_ann_recall=0.5"])
    assert settings.gate.max_ndcg_drop is None
    assert settings.gate.min_ann_recall == 0.5


def judge_of(values: Sequence[float | None]) -> Any:
    """A judge that has seen the same judgments every night; enough, because the gate reads reports only."""

    def judge(_: Manifest) -> dict[str, Any]:
        return {"judged_by": "pinned", "per_query": report(values=values)["per_query"]}

    return judge


GOOD = [0.8] * N
BAD = [0.0, *[0.6] * (N - 1)]


@pytest.fixture
def shop(tmp_path: Path) -> tuple[Settings, Path]:
    """A shop of 60 products with one good snapshot, and a source that has changed since."""
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 60))
    settings = settings_for(tmp_path, source)
    assert run_night(settings, judge=judge_of(GOOD))["published"]
    write_source(source, sample().products.slice(1, 60))
    return settings, source


def test_a_breach_keeps_current_and_names_rule_values_and_queries(
    shop: tuple[Settings, Path],
) -> None:
    settings, _ = shop
    before = live(settings).snapshot_id
    with pytest.raises(GateBreached, match=r"max_ndcg_drop: ndcg@10 0\.8000 -> 0\.5850") as caught:
        run_night(settings, judge=judge_of(BAD))
    assert "'q0' 0.80 -> 0.00" in str(caught.value)
    assert f"against {before}; CURRENT stays as it is" in str(caught.value)
    assert json.loads(json.dumps(caught.value.breaches))[0]["rule"] == "max_ndcg_drop"
    library = library_of(settings)
    assert live_or_none(library) == before
    (refused,) = set(library.ids()) - {before}
    stored = read_report(library.store, library.manifest(refused))["gate"]
    assert stored["compared_with"] == before
    assert stored["breaches"][0]["worst"][0] == {"query": "q0", "before": 0.8, "after": 0.0}


def test_force_publishes_and_the_manifest_says_which_rules_were_broken(
    shop: tuple[Settings, Path],
) -> None:
    settings, _ = shop
    with pytest.raises(GateBreached):
        run_night(settings, judge=judge_of(BAD))
    summary = run_night(settings, judge=judge_of(BAD), force=True)
    assert summary["published"]
    assert summary["forced"] == ["max_ndcg_drop"]
    assert "per_query" not in summary["report"]
    assert live(settings).forced == ("max_ndcg_drop",)
    assert live(settings).snapshot_id == summary["snapshot"]


def test_force_records_nothing_where_no_rule_is_broken(shop: tuple[Settings, Path]) -> None:
    settings, _ = shop
    assert run_night(settings, judge=judge_of(GOOD), force=True)["forced"] == []


def test_a_refused_snapshot_is_not_published_by_hand_unless_forced(
    shop: tuple[Settings, Path],
) -> None:
    settings, _ = shop
    before = live(settings).snapshot_id
    with pytest.raises(GateBreached):
        run_night(settings, judge=judge_of(BAD))
    library = library_of(settings)
    (refused,) = set(library.ids()) - {before}
    with pytest.raises(GateBreached, match=r"broke max_ndcg_drop.*--force"):
        require_passed(library, refused, force=False)
    assert require_passed(library, refused, force=True) == ("max_ndcg_drop",)
    publish(library, refused, expected=before)
    assert live(settings).forced == ("max_ndcg_drop",)
    assert require_passed(library, before, force=False) == ()


def test_a_shrunken_catalogue_is_refused_without_any_judgments(
    shop: tuple[Settings, Path],
) -> None:
    settings, source = shop
    write_source(source, sample().products.slice(0, 30))
    with pytest.raises(
        GateBreached, match=r"max_product_drop_fraction: products 60\.0* -> 30\.0*, allowed 0\.2"
    ):
        run_night(settings)
    assert live(settings).counts["products"] == 60


def test_other_judgments_judge_the_live_snapshot_again(shop: tuple[Settings, Path]) -> None:
    settings, _ = shop
    before = live(settings).snapshot_id
    seen: list[str] = []

    def judge(manifest: Manifest) -> dict[str, Any]:
        seen.append(manifest.snapshot_id)
        values = GOOD if manifest.snapshot_id == before else BAD
        return {"judged_by": "new", "per_query": report(values=values)["per_query"]}

    with pytest.raises(GateBreached, match="max_ndcg_drop"):
        run_night(settings, judge=judge)
    assert seen == [seen[0], before]
