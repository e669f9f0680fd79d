"""Plots as inline SVG: sharp at any size, readable in light and dark, and no drawing library to install."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from aisle.evaluation.pages.nodes import Node, add, node

_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 14, 12, 40
_SQUARE = 340
_ROW_HEIGHT = 26


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its interval."""

    name: str
    mean: float
    low: float
    high: float


def interval_plot(title: str, rows: Sequence[Estimate]) -> Node:
    """Means as dots with 95 % intervals as bars, one row a system; the axis spans what is there."""
    low, high = _span(min(r.low for r in rows), max(r.high for r in rows))
    width, label = 420, 96
    height = 34 + _ROW_HEIGHT * len(rows) + 26
    svg = _svg(width, height, title)

    def x(value: float) -> float:
        return round(label + (value - low) / (high - low) * (width - label - 64), 1)

    add(svg, node("text", title, x=0, y=14, class_="plot-title"))
    bottom = height - 24
    for tick in _ticks(low, high):
        add(
            svg,
            node("line", x1=x(tick), x2=x(tick), y1=26, y2=bottom, class_="grid"),
            node("text", _short(tick), x=x(tick), y=bottom + 15, text_anchor="middle"),
        )
    for i, row in enumerate(rows):
        y = 34 + _ROW_HEIGHT * i + 8
        add(
            svg,
            node("text", row.name, x=label - 10, y=y + 4, text_anchor="end"),
            node("line", x1=x(row.low), x2=x(row.high), y1=y, y2=y, class_="bar"),
            node("circle", cx=x(row.mean), cy=y, r=4, class_="dot"),
            node("text", f"{row.mean:.3f}", x=width, y=y + 4, text_anchor="end", class_="value"),
        )
    return svg


def reliability_plot(bins: Sequence[dict[str, float]]) -> Node:
    """Predicted against observed; a dot's area goes with its pairs, the diagonal is perfect."""
    svg = _square("relevance said", "share relevant", "Is the relevance a probability?")
    add(svg, node("line", x1=_x(0), y1=_y(0), x2=_x(1), y2=_y(1), class_="diagonal"))
    most = max((b["pairs"] for b in bins), default=1)
    for b in bins:
        radius = round(3 + 9 * (b["pairs"] / most) ** 0.5, 1)
        said, seen = b["mean_probability"], b["relevant_fraction"]
        dot = node("circle", cx=_x(said), cy=_y(seen), r=radius, class_="dot soft")
        add(dot, node("title", f"{b['pairs']:.0f} pairs: {said:.2f} said, {seen:.2f} relevant"))
        add(svg, dot)
    return svg


def precision_recall_plot(
    curve: Sequence[Sequence[float]], served: Sequence[float] | None, base_rate: float
) -> Node:
    """Precision over recall as the cut moves; `curve` is (recall, precision), `served` the cut in use."""
    svg = _square("recall", "precision", "What does a cut cost?")
    add(
        svg,
        node("line", x1=_x(0), y1=_y(base_rate), x2=_x(1), y2=_y(base_rate), class_="diagonal"),
        node("text", "no cut", x=_x(0) + 4, y=_y(base_rate) - 5),
    )
    points = " ".join(f"{_x(recall)},{_y(precision)}" for recall, precision in curve)
    add(svg, node("polyline", points=points, class_="curve"))
    if served is not None:
        dot = node("circle", cx=_x(served[0]), cy=_y(served[1]), r=6, class_="dot")
        add(dot, node("title", f"as served: recall {served[0]:.3f}, precision {served[1]:.3f}"))
        label = node("text", "as served", x=_x(served[0]) - 10, y=_y(served[1]) + 18)
        label.set("text-anchor", "end")
        add(svg, dot, label)
    return svg


def difference_plot(differences: Sequence[float], what: str) -> Node:
    """Every query's difference, sorted: how many gained, how many lost, and how much."""
    width, height = 420, 170
    svg = _svg(width, height, what)
    ordered = sorted(differences, reverse=True)
    top, middle, bottom = 26, 86, 146
    add(svg, node("text", what, x=0, y=14, class_="plot-title"))
    add(svg, node("line", x1=0, x2=width, y1=middle, y2=middle, class_="axis"))
    step = width / max(len(ordered), 1)
    if ordered:
        path = [f"M0,{middle}"]
        for i, value in enumerate(ordered):
            y = round(middle - max(min(value, 1.0), -1.0) * (middle - top), 1)
            path.append(f"L{round(i * step, 1)},{y} L{round((i + 1) * step, 1)},{y}")
        path.append(f"L{width},{middle} Z")
        add(svg, node("path", d=" ".join(path), class_="area"))
    gained = sum(value > 0 for value in ordered)
    lost = sum(value < 0 for value in ordered)
    add(
        svg,
        node("text", f"{gained} gained", x=0, y=bottom + 18),
        node("text", f"{len(ordered) - gained - lost} equal", x=width / 2, y=bottom + 18)
        if len(ordered) > gained + lost
        else None,
        node("text", f"{lost} lost", x=width, y=bottom + 18, text_anchor="end"),
        node("text", "+1", x=width, y=top + 4, text_anchor="end", class_="value"),
        node("text", "\u22121", x=width, y=bottom, text_anchor="end", class_="value"),
    )
    return svg


def _square(x_label: str, y_label: str, title: str) -> Node:
    svg = _svg(_SQUARE, _SQUARE + 18, title)
    add(svg, node("text", title, x=0, y=14, class_="plot-title"))
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        add(
            svg,
            node("line", x1=_x(tick), x2=_x(tick), y1=_y(0), y2=_y(1), class_="grid"),
            node("line", x1=_x(0), x2=_x(1), y1=_y(tick), y2=_y(tick), class_="grid"),
            node("text", _short(tick), x=_x(tick), y=_y(0) + 16, text_anchor="middle"),
            node("text", _short(tick), x=_x(0) - 7, y=_y(tick) + 4, text_anchor="end"),
        )
    middle = _y(0.5)
    add(
        svg,
        node("text", x_label, x=_x(0.5), y=_y(0) + 33, text_anchor="middle", class_="label"),
        node(
            "text",
            y_label,
            x=11,
            y=middle,
            text_anchor="middle",
            class_="label",
            transform=f"rotate(-90 11 {middle})",
        ),
    )
    return svg


def _svg(width: float, height: float, title: str) -> Node:
    return node(
        "svg",
        viewBox=f"0 0 {width:g} {height:g}",
        width=width,
        height=height,
        role="img",
        aria_label=title,
    )


def _x(share: float) -> float:
    return round(_LEFT + share * (_SQUARE - _LEFT - _RIGHT), 1)


def _y(share: float) -> float:
    return round(18 + _SQUARE - _BOTTOM - share * (_SQUARE - _TOP - _BOTTOM), 1)


def _span(low: float, high: float) -> tuple[float, float]:
    room = max((high - low) * 0.08, 0.01)
    return max(low - room, 0.0) if low >= 0 else low - room, high + room


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values inside the span."""
    for step in (0.01, 0.02, 0.05, 0.1, 0.2, 0.25, 0.5, 1.0):
        first = int(low / step) + 1
        values = [round(i * step, 4) for i in range(first, int(high / step) + 1)]
        if len(values) <= 5:
            return values
    return []


def _short(value: float) -> str:
    return f"{value:.2f}".rstrip("0").rstrip(".") or "0"
