"""A shop trains its own rewriter from what its search finds, and publishes it; real vLLM, a real snapshot."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.published import Shop

pytestmark = pytest.mark.cluster


def test_a_shop_trains_its_own_rewriter_with_search_feedback(shop: Shop, tmp_path: Path) -> None:
    out = tmp_path / "rewriter"
    words = ["--minutes", "0.15", "--rounds", "1", "--round-minutes", "0.05"]
    words += ["--round-queries", "30", "--answers", "3", "--out", str(out)]
    report, done = shop.run("train_rewriter", *words)

    assert done.returncode == 0, done.stderr[-3000:]
    card = json.loads((out / "rewriter.json").read_text())
    assert {"config.json", "model.safetensors", "tokenizer.json"} <= {
        path.name for path in out.iterdir()
    }
    assert card["expand_below_titles"] == report["expand_below_titles"]
    start, learnt = card["rounds"]
    assert start["groups"] > 20
    assert start["queries"] == learnt["queries"] > 20
    # A model of nine seconds writes next to nothing that the catalogue supports: its worth is the typed query's.
    assert start["worth_served"] >= start["worth_typed"] - 0.02
    assert learnt["helped"] + learnt["harmed"] <= learnt["queries"]
    assert "--words shop" in card["made_by"]
    assert card["helps"] or "leave rewriter.mode off" in done.stderr
