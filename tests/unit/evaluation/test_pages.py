"""The page: whatever a query or a title holds is text on it, and it loads nothing from anywhere."""

from __future__ import annotations

from html.parser import HTMLParser

from aisle.evaluation.pages.nodes import node, page_text
from aisle.evaluation.pages.plots import (
    Estimate,
    difference_plot,
    interval_plot,
    precision_recall_plot,
    reliability_plot,
)

HOSTILE = "<script src=//x.y>alert(1)</script> & \"'><img onerror=1> \x00\ud800"


class Tags(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def parsed(html: str) -> Tags:
    tags = Tags()
    tags.feed(html)
    return tags


def test_texts_and_attributes_stay_texts_and_attributes() -> None:
    html = page_text(node("p", HOSTILE, node("b", HOSTILE), HOSTILE, title=HOSTILE))
    tags = parsed(html)
    assert [tag for tag, _ in tags.found] == ["p", "b"]
    shown = HOSTILE.replace("\x00", "\ufffd").replace("\ud800", "\ufffd")
    assert tags.text == shown * 3
    assert tags.found[0][1] == {"title": shown}
    html.encode("utf-8")


def test_plots_are_drawn_from_whatever_is_there() -> None:
    rows = [Estimate(HOSTILE, 0.5, 0.4, 0.6), Estimate("b", 0.5, 0.5, 0.5)]
    bins = [{"pairs": 3.0, "mean_probability": 0.1, "relevant_fraction": 0.2}]
    plots = [
        interval_plot("ndcg@10", rows),
        interval_plot("ndcg@10", rows[1:]),
        reliability_plot(bins),
        reliability_plot([]),
        precision_recall_plot([(0.1, 1.0), (1.0, 0.3)], (0.9, 0.4), 0.3),
        precision_recall_plot([(1.0, 0.3)], None, 0.3),
        difference_plot([0.5, -0.2, 0.0], "by query"),
        difference_plot([], "by query"),
    ]
    for plot in plots:
        tags = parsed(page_text(plot))
        assert tags.found[0][0] == "svg"
        assert not {tag for tag, _ in tags.found} & {"script", "img", "image", "foreignobject"}
        assert "nan" not in page_text(plot)


def test_a_difference_plot_counts_gains_and_losses() -> None:
    text = parsed(page_text(difference_plot([0.5, 0.25, -0.2, 0.0], "by query"))).text
    assert "2 gained1 equal1 lost" in text
