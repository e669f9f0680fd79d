"""What ten times the catalogue costs: indexing, and an answer, beside the catalogue itself in one run.

    python -m jobs.tenfold [--config configs/benchmarks/homedepot.yaml] [--factor 10] [--queries 300] [--folder DIR]

Nothing is embedded. Both catalogues, the config's own and one `--factor` times as large, are indexed by the nightly run
itself, but where it would embed it takes vectors that are known: the live snapshot's for the original products, and
those with a seeded noise for their copies, whose titles differ from the original's in a word of another title. So
`jobs.reindex` has to have published the config's catalogue once.

The same queries are then searched in this process in both, alternating; recall of the dense index stands beside the
times, because a graph that is searched as far in ten times the rows finds less. Wanted: p50 at most 4 times as long,
and as many rows a second indexed, within 20 %. With `--folder` the indexes stay there for the next call.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from aisle.config import Settings
from aisle.errors import ConfigError
from aisle.evaluation.probe import dense_recall, evenly
from aisle.local import local_pipeline
from aisle.pipeline import Pipeline
from aisle.schema import SearchRequest
from aisle.snapshot import Library, LoadedSnapshot
from aisle.stages import Deadline
from aisle.store import Store
from jobs import command
from jobs.evaluate import read_judgments
from jobs.on_ray import RayMapper, cluster
from jobs.tenfold_shop import Grown, grow, index

logger = logging.getLogger("jobs.tenfold")

K = 24
DEADLINE_S = 60.0
MOST_SLOWER = 4.0
LEAST_RATE = 0.8
RECALL_QUERIES = 100


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Indexes both catalogues, unless they are in the folder already, and searches them."""
    if arguments.factor < 2:
        raise ConfigError(f"--factor is {arguments.factor}; 2 or more")
    with tempfile.TemporaryDirectory(prefix="aisle-tenfold-") as passing:
        folder = Path(arguments.folder or passing).resolve()
        shops = {factor: grow(settings, factor, folder) for factor in (1, arguments.factor)}
        with cluster(settings.ray):
            mapper = RayMapper(settings.ray)
            nights = {factor: index(shop, mapper) for factor, shop in shops.items()}
        queries = evenly(
            read_judgments(settings, settings.evaluation.gate_split).texts, arguments.queries
        )
        measured = search(shops, queries)
    found = {
        "factor": arguments.factor,
        "catalogues": {
            f"x{factor}": {**nights[factor], **measured[factor]} for factor in sorted(shops)
        },
    }
    found |= verdict(found)
    print(text_table(found), file=sys.stderr)
    return found


def search(shops: dict[int, Grown], queries: list[str]) -> dict[int, dict[str, Any]]:
    """p50 and p95 of an answer and the dense side's recall@100 in each catalogue; queries alternate between them."""
    pipelines: dict[int, Pipeline] = {}
    measured: dict[int, dict[str, Any]] = {}
    for factor, shop in shops.items():
        library = Library(Store.open(shop.settings.store))
        snapshot = LoadedSnapshot.load(library, library.manifest(library.current()), shop.settings)
        snapshot.warm_up()
        depth = max(shop.settings.retrieval.dense_depth, 100)
        recall = dense_recall(snapshot, evenly(queries, RECALL_QUERIES), depth)
        pipelines[factor] = local_pipeline(snapshot, shop.settings)
        measured[factor] = {"dense_recall@100": round(recall, 4)}
    times: dict[int, list[float]] = {factor: [] for factor in shops}
    stages: dict[int, list[dict[str, float]]] = {factor: [] for factor in shops}
    warm_up = queries[:20]
    for text in [*warm_up, *queries]:
        for factor, pipeline in pipelines.items():
            ms, timings = asyncio.run(_timed(pipeline, text))
            times[factor].append(ms)
            stages[factor].append(timings)
    for factor in shops:
        spent = np.array(times[factor][len(warm_up) :])
        p50, p95 = np.quantile(spent, [0.5, 0.95])
        measured[factor] |= {
            "p50_ms": round(float(p50), 2),
            "p95_ms": round(float(p95), 2),
            "stage_p50_ms": {
                stage: round(
                    float(np.median([each[stage] for each in stages[factor][len(warm_up) :]])), 2
                )
                for stage in stages[factor][0]
            },
        }
    return measured


async def _timed(pipeline: Pipeline, text: str) -> tuple[float, dict[str, float]]:
    started = time.perf_counter()
    (answer,) = await pipeline.search([SearchRequest(query=text, k=K)], Deadline.after(DEADLINE_S))
    return (time.perf_counter() - started) * 1000, answer.timings_ms


def verdict(found: dict[str, Any]) -> dict[str, Any]:
    """The larger catalogue's ratios to the smaller, and whether both are as wanted."""
    small, large = found["catalogues"]["x1"], found["catalogues"][f"x{found['factor']}"]
    slower = large["p50_ms"] / small["p50_ms"]
    rate = large["rows_s"] / small["rows_s"]
    return {
        "p50_ratio": round(slower, 3),
        "rows_s_ratio": round(rate, 3),
        "ok": slower <= MOST_SLOWER and rate >= LEAST_RATE,
    }


def text_table(found: dict[str, Any]) -> str:
    """For a terminal: a column a catalogue."""
    names = ("rows", "indexing_s", "rows_s", "index_bytes", "p50_ms", "p95_ms", "dense_recall@100")
    columns = found["catalogues"]
    lines = [f"{'':18}" + "".join(f"{name:>16}" for name in columns)]
    lines += [
        f"{name:18}" + "".join(f"{each[name]:16,}" for each in columns.values()) for name in names
    ]
    wanted = {
        "p50_ratio": f"at most {MOST_SLOWER:g}",
        "rows_s_ratio": f"at least {LEAST_RATE:g}",
    }
    lines += [f"{name:18}{found[name]:16} {limit}" for name, limit in wanted.items()]
    stages = {name: json.dumps(each["stage_p50_ms"]) for name, each in columns.items()}
    return "\n".join([*lines, *(f"{name}: {each}" for name, each in stages.items())])


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--factor", type=int, default=10, help="how many times the catalogue")
    parser.add_argument("--queries", type=int, default=300, help="judged queries searched")
    parser.add_argument("--folder", help="keeps catalogues and indexes here; a passing folder else")


if __name__ == "__main__":
    command.main("tenfold", __doc__, run, add_arguments)
