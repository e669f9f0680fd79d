"""The sample catalogue on a cluster: published by a submitted job, deployed, and changed by further jobs."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aisle.catalog.sample import write_sample
from aisle.config import Settings, load
from jobs.cluster import LocalCluster
from jobs.serving import deploy

ROOT = Path(__file__).parents[1]
CONFIG = ROOT / "configs" / "local.yaml"


@dataclass(frozen=True)
class Shop:
    """A published snapshot and how to reach it."""

    cluster: LocalCluster
    overrides: list[str]
    settings: Settings
    submitted: subprocess.CompletedProcess[str]

    def deploy(self, *overrides: str) -> str:
        assert self.submitted.returncode == 0, self.submitted.stdout + self.submitted.stderr
        return deploy(self.cluster, CONFIG, [*self.overrides, *overrides])

    def run(
        self, job: str, *arguments: str
    ) -> tuple[dict[str, Any], subprocess.CompletedProcess[str]]:
        """A job as a process of its own on the cluster; its last line, parsed."""
        sets = [word for each in self.overrides for word in ("--set", each)]
        done = subprocess.run(
            [sys.executable, "-m", f"jobs.{job}", "--config", str(CONFIG), *sets, *arguments],
            cwd=ROOT,
            env=dict(self.cluster.env),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        return json.loads(done.stdout.strip().splitlines()[-1]), done


def reindexed(cluster: LocalCluster, home: Path) -> Shop:
    """The sample catalogue, reindexed by a submitted job; hashing vectors, because embedding is tested elsewhere."""
    write_sample(str(home / "catalogue"), n_products=1200)
    overrides = [
        f"store={home / 'store'}",
        f"work_dir={home / 'work'}",
        f"serving.cache_dir={home / 'cache'}",
        f"catalog.source.url={home / 'catalogue' / 'products.parquet'}",
        f"evaluation.judgments={home / 'catalogue' / 'judgments.parquet'}",
        "encoder.runtime=hashing",
        "relevance.model=cosine",
        # What is repaired is looked at here; a machine that tests keep busy may take longer than a shopper would wait.
        "rewriter.budget_ms=2000",
    ]
    sets = [word for each in overrides for word in ("--set", each)]
    submit = [
        "ray",
        "job",
        "submit",
        "--working-dir",
        ".",
        "--runtime-env",
        "infra/runtime_env.yaml",
        "--",
    ]
    job = ["python", "-m", "jobs.reindex", "--config", "configs/local.yaml", *sets]
    done = subprocess.run(
        [*submit, *job],
        cwd=ROOT,
        env=dict(cluster.env),
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    return Shop(cluster, overrides, load(CONFIG, overrides), done)
