"""The whole product in one command: sample catalogue, nightly job, Serve application, five queries over HTTP.

    make demo            keeps serving until Ctrl-C
    make demo ONCE=1     ends after the queries

Everything is real: a Ray cluster started with `ray start --head`, `jobs.reindex` as a process of its own, `serve
deploy`, vLLM, HTTP. Only the catalogue is made up (`aisle.catalog.sample`). A second start finds the snapshot and
skips the job.
"""

from __future__ import annotations

import argparse
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from aisle.catalog.sample import write_sample
from aisle.config import Settings, load
from aisle.errors import AisleError, JobFailed
from aisle.nightly.publish import live_or_none
from aisle.snapshot import Library
from aisle.store import Store
from jobs.cluster import LocalCluster, local_cluster
from jobs.serving import deploy, post

logger = logging.getLogger("jobs.demo")

ROOT = Path(__file__).resolve().parent.parent
CONFIG = ROOT / "configs" / "local.yaml"
QUERIES: tuple[dict[str, Any], ...] = (
    {"query": "wireless headphones"},
    {"query": "runing shoes", "facets": ["brand"]},
    {"query": "office chair under 200", "filters": {"price": {"lt": 200}}},
    {"query": "red dress", "filters": {"available": True}, "sort": "price"},
    {"query": "submarine periscope"},
)
"""A plain one, a misspelt one, two with filters, and one with no right answer."""


def main() -> None:
    """Runs the demo and exits the process: 0 when every query was answered."""
    parser = argparse.ArgumentParser(prog="python -m jobs.demo", description=__doc__)
    parser.add_argument(
        "--once", action="store_true", help="end after the queries instead of serving on"
    )
    parser.add_argument("--port", type=int, help="HTTP port; a free one by default")
    parser.add_argument("--topology", choices=("fused", "split"), default="fused")
    arguments = parser.parse_args()
    logging.basicConfig(
        stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(name)s: %(message)s"
    )
    logging.getLogger("faiss").setLevel(logging.WARNING)
    os.environ.setdefault("AISLE_HOME", str(ROOT / ".aisle"))
    try:
        _run(arguments)
    except AisleError as error:
        sys.exit(f"{type(error).__name__}: {error}")
    except KeyboardInterrupt:
        logger.info("stopped")


def _run(arguments: argparse.Namespace) -> None:
    started = time.monotonic()
    settings = load(CONFIG)
    source = Path(str(settings.catalog.source.url))
    if not source.exists():
        logger.info("1/4 writing the sample catalogue to %s", source.parent)
        write_sample(str(source.parent))
    logger.info("2/4 starting a Ray cluster")
    with local_cluster(num_cpus=8, python_path=[ROOT, ROOT / "platform"]) as cluster:
        snapshot = _reindex(cluster, settings)
        logger.info("4/4 deploying snapshot %s", snapshot)
        url = deploy(
            cluster, CONFIG, [f"serving.topology={arguments.topology}"], port=arguments.port
        )
        first = True
        for body in QUERIES:
            answer = post(f"{url}/v1/search", {"k": 5, "timeout_ms": 2000, **body})
            if first:
                logger.info("first answer %.0f s after the start", time.monotonic() - started)
                first = False
            _show(body, answer)
        if arguments.once:
            return
        print(f"\nserving at {url}  (docs at {url}/docs); Ctrl-C stops it", flush=True)
        print(
            f"  curl -s {url}/v1/search -H 'Content-Type: application/json' "
            """-d '{"query": "laptop sleeve", "k": 3}'""",
            flush=True,
        )
        while True:
            time.sleep(3600)


def _reindex(cluster: LocalCluster, settings: Settings) -> str:
    """Runs the nightly job on the cluster unless a snapshot is there already."""
    library = Library(Store.open(settings.store, settings.store_options))
    live = live_or_none(library)
    if live is None:
        logger.info("3/4 running the nightly job: read, embed, index, evaluate, publish")
        command = [sys.executable, "-m", "jobs.reindex", "--config", str(CONFIG)]
        done = subprocess.run(command, env=dict(cluster.env), cwd=ROOT, check=False)
        if done.returncode:
            raise JobFailed(
                f"jobs.reindex ended with status {done.returncode}; its messages are above"
            )
        return library.current()
    logger.info("3/4 snapshot %s is there already; delete %s to begin anew", live, settings.store)
    return live


def _show(body: dict[str, Any], answer: dict[str, Any]) -> None:
    """Prints one answer: products with scores, what each stage did and its milliseconds."""
    conditions = {key: value for key, value in body.items() if key in ("filters", "sort")}
    print(f"\n> {body['query']}   {conditions or ''}")
    rewrite = answer["rewrite"]
    if rewrite:
        segments = " ".join(f"{text}/{kind}" for text, kind in rewrite["segments"])
        used = "used" if rewrite["applied"] else "not needed"
        print(
            f"  rewriter: {rewrite['query']!r} ({used}), also {rewrite['expansions']}; {segments}"
        )
    for hit in answer["hits"]:
        product = hit["product"]
        print(
            f"  {hit['relevance'] or 0:5.2f} {hit['score']:7.3f}  {product['title'][:70]:70} "
            f"{product['price']:>8.2f} {product['currency']}"
        )
    if answer["empty_reason"]:
        print(f"  nothing: {answer['empty_reason']}")
    for field, counts in answer["facets"].items():
        print(
            f"  {field}: " + ", ".join(f"{each['value']} ({each['count']})" for each in counts[:5])
        )
    stages = "  ".join(f"{stage} {ms:.1f}" for stage, ms in answer["timings_ms"].items())
    missing = f"  left out: {', '.join(answer['degraded'])}" if answer["degraded"] else ""
    print(f"  {answer['total']} kept; ms: {stages}{missing}", flush=True)


if __name__ == "__main__":
    main()
