"""Dashboard and alert rules: valid, and about metrics that telemetry.py defines, with the labels that they have there.

PromQL is parsed by `promql-parser`, a package that carries a real parser; `promtool check rules` and `promtool test
rules` run as well where Prometheus is installed.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import promql_parser
import pytest
import yaml

from deployments.telemetry import METRICS, PREFIX, QUERIES, SECONDS

FOLDER = Path(__file__).parents[2] / "infra" / "monitoring"
DASHBOARD = json.loads((FOLDER / "dashboard.json").read_text(encoding="utf-8"))
RULES = [
    rule
    for group in yaml.safe_load((FOLDER / "alerts.yaml").read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
# Grafana puts a duration in its place.
EXPRESSIONS = {
    f"panel {panel['title']}: {target['legendFormat']}": target["expr"].replace(
        "$__rate_interval", "1m"
    )
    for panel in PANELS
    for target in panel["targets"]
} | {f"alert {rule['alert']}": rule["expr"] for rule in RULES}
SERVE_LABELS = {"deployment", "replica", "application"}
EXPORTED = {name: metric for key, metric in METRICS.items() for name in metric.exported(key)}
promtool = pytest.mark.skipif(
    shutil.which("promtool") is None, reason="promtool (Debian package prometheus) is not installed"
)


def selectors(expression: str) -> Iterator[promql_parser.VectorSelector]:
    """Every series that an expression reads."""
    found: list[promql_parser.VectorSelector] = []

    def visit(node: Any) -> None:
        if isinstance(node, promql_parser.VectorSelector):
            found.append(node)
        for name in ("lhs", "rhs", "expr", "vector_selector", "vs", "param"):
            child = getattr(node, name, None)
            if child is not None and not callable(child):
                visit(child)
        for child in getattr(node, "args", None) or []:
            visit(child)

    visit(promql_parser.parse(expression))
    yield from found


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_every_expression_reads_metrics_and_labels_that_telemetry_defines(name):
    expression = EXPRESSIONS[name]
    read = list(selectors(expression))
    # A second way to find the names, so that a node which the walk does not know cannot hide one.
    assert {each.name for each in read} == set(re.findall(rf"\b{PREFIX}\w+", expression))
    for selector in read:
        metric = EXPORTED[selector.name or ""]
        labels = {matcher.name for matcher in selector.matchers.matchers}
        assert labels <= {*metric.labels, *SERVE_LABELS, "le"}


@pytest.mark.parametrize(
    "wrong",
    ["rate(ray_aisle_answers_total[5m", "histogram_quantile(sum(ray_aisle_answers_total))", "a ++"],
)
def test_a_wrong_expression_is_refused(wrong):
    with pytest.raises(ValueError, match=r"."):
        promql_parser.parse(wrong)


def test_every_metric_is_shown_or_alerts():
    shown = {each.name for expression in EXPRESSIONS.values() for each in selectors(expression)}
    assert [name for name, metric in METRICS.items() if not metric.exported(name) & shown] == []


def test_panels_are_of_one_datasource_and_do_not_overlap():
    cells: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        own = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not own & cells
        assert at["x"] + at["w"] <= 24
        cells |= own
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in PANELS:
        for target in panel["targets"]:
            assert target["datasource"]["uid"] == "${datasource}"
    assert [each["name"] for each in DASHBOARD["templating"]["list"]] == ["datasource"]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_says_how_long_how_urgent_what_and_what_to_do(rule):
    assert set(rule) == {"alert", "expr", "for", "labels", "annotations"}
    assert promql_parser.parse_duration(rule["for"]).total_seconds() >= 60
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "action"}
    assert rule["alert"].startswith("Aisle")


def test_alerts_have_names_of_their_own():
    assert len({rule["alert"] for rule in RULES}) == len(RULES)


@promtool
@pytest.mark.parametrize("words", [("check", "alerts.yaml"), ("test", "alerts_test.yaml")])
def test_promtool_accepts_the_rules_and_their_unit_tests(words):
    done = subprocess.run(
        ["promtool", words[0], "rules", words[1]],
        cwd=FOLDER,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_buckets_are_geometric_and_reach_past_the_longest_deadline():
    ratios = [b / a for a, b in zip(SECONDS, SECONDS[1:], strict=False)]
    assert ratios == pytest.approx([1.6] * len(ratios), rel=1e-2)
    configs = FOLDER.parents[1] / "configs"
    longest = max(
        yaml.safe_load((configs / f"{name}.yaml").read_text("utf-8"))["serving"]["max_timeout_ms"]
        for name in ("local", "production")
    )
    assert SECONDS[-1] > longest / 1000
    assert [b / a for a, b in zip(QUERIES, QUERIES[1:], strict=False)] == [2.0] * (len(QUERIES) - 1)
