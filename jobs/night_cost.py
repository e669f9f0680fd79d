"""What a night costs after which 1 % of the products changed, against a full build, and whether it answers the same.

    python -m jobs.night_cost [--config configs/benchmarks/homedepot.yaml] [--rows 50000] [--folder DIR]

Three nights, each a `python -m jobs.reindex` of its own whose wall time counts from process start to exit, evaluation
and gate included: a first night over the first rows of the set; a night after a seeded mix of changes (half of them
another title, a quarter gone, a quarter new); and, in another store, a full build of the changed catalogue from
nothing. Then the answers to some judged queries, to depth 100: with an exact dense index (flat: SQ8 learns its steps
from the rows of a segment, so that a delta quantises otherwise than a full build) both have to be equal hit by hit but
for ties; with the index as served, HNSW, it says how much they differ. The exact snapshots reuse the three nights'
vectors: a copy of the first night's store gets its own night of changes.

Wanted: the night of changes embeds for at most 1/20 and takes at most 1/5 of the full build. With `--folder` the work
stays there and, interrupted, goes on there; a night that was interrupted counts the wall time of all its attempts.
"""

from __future__ import annotations

import argparse
import json
import logging
import signal
import sys
import tempfile
from pathlib import Path
from typing import Any

from aisle.config import load
from aisle.errors import AisleError
from aisle.evaluation.answers import agreement
from jobs.evaluate import read_judgments
from jobs.night_cost_shop import Nights, write_catalogues

logger = logging.getLogger("jobs.night_cost")

ROOT = Path(__file__).resolve().parent.parent
EMBED_SHARE, WALL_SHARE = 1 / 20, 1 / 5
COMPARED = (
    ("exact delta", "exact full"),
    ("delta", "full"),
    ("delta", "exact delta"),
    ("full", "exact full"),
)


def measure(
    config: Path, n_rows: int, n_queries: int, share: float, folder: Path
) -> dict[str, Any]:
    """Runs the nights that `folder` lacks and compares their answers."""
    settings = load(config)
    write_catalogues(settings, n_rows, share, folder)
    nights = Nights(config, folder)
    first = nights.timed("first", "before", "store")
    nights.copy("store", "exact")  # before the changes come
    delta = nights.timed("delta", "after", "store")
    full = nights.timed("full", "after", "full")
    exact = {
        "delta": nights.exact("exact", ["before", "after"]),
        "full": nights.exact("full", ["after"]),
    }
    judged = read_judgments(settings, settings.evaluation.gate_split).texts
    queries = [judged[i * len(judged) // n_queries] for i in range(n_queries)]
    answers = {
        "exact delta": nights.answers("exact", exact["delta"], queries),
        "exact full": nights.answers("full", exact["full"], queries),
        "delta": nights.answers("store", delta["snapshot"], queries),
        "full": nights.answers("full", full["snapshot"], queries),
    }
    return {
        "rows": n_rows,
        "changed_fraction": share,
        "nights": {
            name: brief(each) for name, each in (("first", first), ("delta", delta), ("full", full))
        },
        "answers": {
            f"{one} / {other}": agreement(answers[one], answers[other], queries).as_dict()
            for one, other in COMPARED
        },
    }


def brief(night: dict[str, Any]) -> dict[str, Any]:
    """What the table shows of a night."""
    steps = {row["step"]: row for row in night["steps"]}
    return {
        "snapshot": night["snapshot"],
        "wall_s": round(night["wall_s"], 1),
        "core_s": steps["all"]["core_s"],
        "embed_s": steps["embed"]["seconds"],
        "embed_core_s": steps["embed"]["core_s"],
        "embedded": night["counts"]["embedded"],
        "indexed": night["counts"]["fresh"],
        "attempts": night["attempts"],
        "step_s": {name: row["seconds"] for name, row in steps.items()},
    }


def verdict(found: dict[str, Any]) -> dict[str, Any]:
    """The ratios of the delta night to the full build, and whether everything wanted holds."""
    delta, full = found["nights"]["delta"], found["nights"]["full"]
    names = ("wall_s", "core_s", "embed_s", "embed_core_s")
    ratios = {name: round(delta[name] / full[name], 4) for name in names}
    same = found["answers"]["exact delta / exact full"]
    ok = (
        ratios["embed_s"] <= EMBED_SHARE
        and ratios["wall_s"] <= WALL_SHARE
        and same["equal"] == same["queries"]
    )
    return {"ok": ok, "delta_to_full": ratios}


def text_table(found: dict[str, Any]) -> str:
    """For a terminal: a column a night, then a row a comparison of answers."""
    nights, ratios = found["nights"], found["delta_to_full"]
    lines = [f"{'':14}" + "".join(f"{name:>12}" for name in nights) + f"{'delta/full':>12}"]
    for name in ("wall_s", "core_s", "embed_s", "embed_core_s", "embedded", "indexed"):
        cells = "".join(f"{each[name]:12,.1f}" for each in nights.values())
        ratio = f"{ratios[name]:12.3f}" if name in ratios else ""
        lines.append(f"{name:14}{cells}{ratio}")
    lines.append(
        f"{'answers':28}{'queries':>9}{'identical':>11}{'equal':>9}{'top 10':>9}{'top 100':>9}"
    )
    for name, same in found["answers"].items():
        lines.append(
            f"{name:28}{same['queries']:9}{same['identical']:11}{same['equal']:9}"
            f"{same['overlap_10']:9.4f}{same['overlap_100']:9.4f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures and exits: 0 when the night is as cheap as wanted and answers like the full build."""
    parser = argparse.ArgumentParser(
        prog="python -m jobs.night_cost",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, default=ROOT / "configs/benchmarks/homedepot.yaml")
    parser.add_argument("--rows", type=int, default=50_000, help="products of the first night")
    parser.add_argument("--changed", type=float, default=0.01, help="share of them that changes")
    parser.add_argument("--queries", type=int, default=500, help="judged queries compared")
    parser.add_argument("--folder", type=Path, help="keeps the work here and goes on with it")
    arguments = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s"
    )
    for chatty in ("faiss", "aisle"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that a night's wall time is kept
    try:
        with tempfile.TemporaryDirectory(prefix="aisle-night-cost-") as scratch:
            folder = (arguments.folder or Path(scratch)).resolve()
            found = measure(
                arguments.config, arguments.rows, arguments.queries, arguments.changed, folder
            )
    except AisleError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    found |= verdict(found)
    print(text_table(found), file=sys.stderr)
    print(json.dumps({"job": "night_cost", **found}), flush=True)
    sys.exit(0 if found["ok"] else 1)


if __name__ == "__main__":
    main()
