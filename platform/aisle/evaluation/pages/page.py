"""The evaluation's page: what was pinned, each stage's worth, segments, calibration and the worst queries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from aisle.evaluation.pages.nodes import Child, Node, add, node, page_text
from aisle.evaluation.pages.plots import (
    Estimate,
    difference_plot,
    interval_plot,
    precision_recall_plot,
    reliability_plot,
)
from aisle.evaluation.pages.style import STYLE
from aisle.evaluation.query_set import DEFINITIONS

# Nothing may be loaded from anywhere, whatever slipped into a title.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'"
_LADDER = (
    *("ndcg@10", "ndcg@10_pairs", "recall@100", "recall@200", "page_precision", "zero_results"),
    *("ndcg@10_with_model", "judged@10"),
)
_PAIRS = ("pairs_dropped_at_95", "pairs_brier_skill", "pairs_calibration_error")
_PLOTTED = ("ndcg@10", "ndcg@10_pairs", "recall@100")
_SEGMENT_MEASURES = ("ndcg@10", "ndcg@10_pairs", "recall@100", "zero_results")
_NAMES = {
    "ndcg@10_pairs": "ndcg@10 over pairs",
    "page_precision": "page precision",
    "zero_results": "empty pages",
    "ndcg@10_with_model": "ndcg@10, people + model",
    "pairs_dropped_at_95": "dropped at 95 %",
    "pairs_brier_skill": "Brier skill",
    "pairs_calibration_error": "calibration error",
}
_LOWER_IS_BETTER = {"zero_results", "pairs_calibration_error"}

Report = Mapping[str, Any]


def report_page(sets: Sequence[Report], made: str) -> str:
    """The whole page as text. `sets` are what `aisle.evaluation.set_report` gives; `made` says when and from what."""
    names = [str(each["query_set"]["name"]) for each in sets]
    links = [node("a", name, href=f"#set-{i}") for i, name in enumerate(names)]
    body = node(
        "body",
        node("h1", "Search quality"),
        node("p", made, class_="soft"),
        node("nav", *links) if len(links) > 1 else None,
        *(_set(i, each) for i, each in enumerate(sets)),
        _definitions(),
    )
    head = node(
        "head",
        node("meta", charset="utf-8"),
        node("meta", http_equiv="Content-Security-Policy", content=_POLICY),
        node("meta", name="viewport", content="width=device-width, initial-scale=1"),
        node("title", f"Search quality: {', '.join(names)}"),
        node("style", STYLE),
    )
    return "<!doctype html>\n" + page_text(node("html", head, body, lang="en"))


def _set(number: int, report: Report) -> Node:
    systems = report["systems"]
    return node(
        "section",
        node("h2", report["query_set"]["name"], id=f"set-{number}"),
        _pins(report),
        node("h3", "Stages, switched on one after another"),
        _ladder(systems, _LADDER),
        node(
            "p",
            "Below a value its 95 % bootstrap interval over queries, then the paired difference to the row above; "
            "coloured where its interval excludes zero.",
            class_="soft",
        ),
        node("div", *_estimates(systems), _gains(report), class_="plots"),
        _against(report),
        node("h3", "Segments"),
        *_segments(report["segments"]),
        *_calibration(report),
        *_worst(report),
    )


def _pins(report: Report) -> Node:
    pins, counts = report["query_set"], report["judgments"]
    found = [
        ("snapshot", report["snapshot"]),
        ("query set", f"{pins['content']}, split {pins['split'] or 'all'}"),
        (
            "queries",
            f"{pins['queries']:,}, of which {report['measured_queries']:,} are measured, with {pins['pairs']:,} judged "
            "pairs",
        ),
        (
            "grades",
            f"gain {pins['gain']}; relevant from {pins['relevant_from']:g}, lowest {pins['lowest_grade']:g}; "
            f"graded by {pins['graded_by']}; searched to depth {pins['depth']}",
        ),
        (
            "set aside",
            f"{counts['unknown_pairs']:,} pairs of {counts['unknown_products']:,} products that the catalogue does not "
            f"hold (they count as not found), {counts['contradictory_pairs']:,} pairs with contradictory grades (mean "
            f"taken), {counts['all_lowest_queries']:,} queries whose grades are all lowest",
        ),
    ]
    if judge := report.get("judge"):
        found.append(("model's grades", str(judge)))
    terms = [each for key, value in found for each in (node("dt", key), node("dd", value))]
    return node("dl", *terms, class_="pins")


def _ladder(systems: Sequence[Report], measures: Sequence[str]) -> Node:
    shown = [name for name in measures if any(name in each for each in systems)]
    best = {name: _best(systems, name) for name in shown}
    rows = [
        node(
            "tr",
            node("td", each["system"]),
            *(_cell(each, name, best[name]) for name in shown),
        )
        for each in systems
    ]
    return _table(["", *(_NAMES.get(name, name) for name in shown)], rows)


def _cell(system: Report, name: str, best: float | None) -> Node:
    if system.get(name) is None:
        return node("td", "\u2013", class_="soft")
    value = system[name]
    cell = node("td", node("span", f"{value:.4f}", class_="best" if value == best else None))
    if (interval := system.get(f"{name}_interval")) is not None:
        add(cell, node("small", f"{interval[0]:.3f} to {interval[1]:.3f}"))
    if (gain := system.get(f"{name}_gain")) is not None:
        add(cell, _gain(gain, name))
    return cell


def _gain(gain: Sequence[float], name: str) -> Node:
    mean, low, high = gain
    if mean == low == high == 0:
        return node("small", "no change")
    sure = low < high and (low > 0 or high < 0)  # an interval over one query is no interval
    better = (mean > 0) != (name in _LOWER_IS_BETTER)
    text = f"{mean:+.3f} ({low:+.3f} to {high:+.3f})".replace("-", "\u2212")
    return node("small", text, class_=("up" if better else "down") if sure else None)


def _best(systems: Sequence[Report], name: str) -> float | None:
    values = [each[name] for each in systems if each.get(name) is not None]
    if len(values) < 2:
        return None
    return float(min(values) if name in _LOWER_IS_BETTER else max(values))


def _estimates(systems: Sequence[Report]) -> list[Node]:
    plots = []
    for name in _PLOTTED:
        rows = [
            Estimate(each["system"], each[name], *each[f"{name}_interval"])
            for each in systems
            if f"{name}_interval" in each
        ]
        if rows:
            plots.append(interval_plot(_NAMES.get(name, name), rows))
    return plots


def _gains(report: Report) -> Node | None:
    found = report.get("difference")
    if not found:
        return None
    title = f"{found['measure']} by query: {found['system']} against {found['against']}"
    return difference_plot(found["values"], title)


def _against(report: Report) -> Node | None:
    found = report.get("against")
    if not found:
        return None
    cells = [
        node("span", f"{_NAMES.get(name, name)} ", _gain(gain, name), "  ")
        for name, gain in found["gains"].items()
    ]
    return node(
        "div", node("h3", f"Against {found['snapshot']}, on the same set"), node("p", *cells)
    )


def _segments(segments: Mapping[str, Report]) -> list[Node]:
    rows: list[Node] = []
    for name, segment in segments.items():
        rows.append(
            node(
                "tr",
                node("td", node("b", name), node("small", segment["definition"])),
                node("td", f"{segment['queries']:,}"),
                *(node("td") for _ in _SEGMENT_MEASURES),
            )
        )
        rows += [
            node(
                "tr",
                node("td", each["system"]),
                node("td"),
                *(_cell(each, measure, None) for measure in _SEGMENT_MEASURES),
            )
            for each in segment["systems"]
            if segment["queries"]
        ]
    head = ["", "queries", *(_NAMES.get(name, name) for name in _SEGMENT_MEASURES)]
    table = _table(head, rows)
    for row in table.iter("td"):
        if row.find("b") is not None:
            row.set("style", "white-space: normal")
    return [table]


def _calibration(report: Report) -> list[Node]:
    found = report.get("calibration")
    if not found:
        return []
    table = _ladder([each for each in report["systems"] if _PAIRS[0] in each], _PAIRS)
    return [
        node("h3", "Relevance and its cut, over all judged pairs"),
        table,
        node(
            "div",
            reliability_plot(found["bins"]),
            precision_recall_plot(found["curve"], found.get("served"), found["base_rate"]),
            class_="plots",
        ),
    ]


def _worst(report: Report) -> list[Node]:
    parts: list[Node] = []
    for key, title in (("worst", "Worst queries"), ("lost", "Queries that lost most")):
        found = report.get(key)
        if not found or not found["queries"]:
            continue
        versus = f" against {found['against']}" if found.get("against") else ""
        parts.append(node("h3", f"{title}: {found['system']}, {found['measure']}{versus}"))
        parts += [_example(each, report["query_set"]["relevant_from"]) for each in found["queries"]]
    return parts


def _example(example: Report, relevant_from: float) -> Node:
    before = "" if example["before"] is None else f" (was {example['before']:.3f})"
    hits = [_hit(each, relevant_from) for each in example["hits"]]
    missed = [_hit(each, relevant_from) for each in example["missed"]]
    return node(
        "details",
        node("summary", node("b", example["query"]), f"{example['value']:.3f}{before}"),
        node("ol", *hits, class_="hits")
        if hits
        else node("p", "nothing was returned", class_="soft"),
        node("small", "best judged products that are not among them:") if missed else None,
        node("ol", *missed, class_="hits") if missed else None,
    )


def _hit(hit: Report, relevant_from: float) -> Node:
    grade = hit["grade"]
    if grade is None:
        mark: Child = node("span", "not judged", class_="grade")
    else:
        kind = "right" if grade >= relevant_from else "wrong"
        mark = node("span", f"grade {grade:g}", class_=f"grade {kind}")
    rank = "\u2013" if hit["rank"] is None else str(hit["rank"])
    title = (
        hit["title"] if hit["title"] is not None else f"{hit['product_id']} (not in the catalogue)"
    )
    return node(
        "li",
        node("span", rank, class_="soft"),
        node("span", mark),
        node("span", title),
        class_=None if hit["kept"] else "gone",
    )


def _definitions() -> Node:
    terms = [
        each for name, text in DEFINITIONS.items() for each in (node("dt", name), node("dd", text))
    ]
    return node(
        "section",
        node("h2", "What is measured"),
        node("dl", *terms, class_="pins"),
        id="definitions",
    )


def _table(head: Sequence[str], rows: Sequence[Node]) -> Node:
    cells = [node("th", text, scope="col") for text in head]
    table = node("table", node("thead", node("tr", *cells)), node("tbody", *rows))
    return node("div", table, class_="scroll")
