"""The nightly job through the cluster's job API: one id a night, and what is said when that id is taken."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from ray.job_submission import JobSubmissionClient

from jobs.cluster import LocalCluster
from tests.shop import sample, write_source

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
NIGHT = "reindex-submitted-2026-11-28"


def submit(cluster: LocalCluster, folder: Path, *options: str) -> subprocess.Popen[str]:
    sets = {
        "name": "submitted",
        "store": folder / "store",
        "work_dir": folder / "work",
        "catalog.source.url": folder / "p.parquet",
        "encoder.runtime": "hashing",
        "rewriter.mode": "off",
        "ranker.model": "fused",
        "relevance.model": "cosine",
        "evaluation.judgments": "null",
        "index.shards": 1,
        "ray.part_fraction": 0.5,
    }
    command = [sys.executable, "-m", "jobs.submit", "--config", "configs/local.yaml"]
    command += ["--no-upload", "--date", "2026-11-28"]
    return subprocess.Popen(
        [*command, *(w for k, v in sets.items() for w in ("--set", f"{k}={v}")), *options],
        cwd=ROOT,
        env=dict(cluster.env),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, dict[str, Any], str]:
    out, err = process.communicate(timeout=200)
    return process.returncode, json.loads(out.splitlines()[-1]), err


def test_a_night_is_submitted_once_at_a_time_and_a_failed_one_again(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    status, said, log = ended(submit(cluster, tmp_path))
    assert (status, said["submission_id"], said["status"]) == (1, NIGHT, "FAILED")
    assert said["error"] == "CatalogError"  # the job's own last line
    assert "p.parquet: not found" in log  # its log

    write_source(tmp_path / "p.parquet", sample().products.slice(0, 60))
    night = submit(cluster, tmp_path)
    client = JobSubmissionClient(cluster.dashboard_url, headers=_token(cluster))
    give_up_at = time.monotonic() + 100
    while f"{NIGHT}-2" not in {job.submission_id for job in client.list_jobs()}:
        assert time.monotonic() < give_up_at
        assert night.poll() is None
        time.sleep(0.1)
    status, said, _ = ended(submit(cluster, tmp_path))
    assert (status, said["error"]) == (1, "JobFailed")
    assert f"{NIGHT}-2 is " in said["message"]
    assert f"ray job stop {NIGHT}-2" in said["message"]

    status, said, log = ended(night)
    assert (status, said["job"], said["ok"], said["published"]) == (0, "reindex", True, True)
    assert (said["submission_id"], said["status"]) == (f"{NIGHT}-2", "SUCCEEDED")
    assert f"after {NIGHT} FAILED" in log

    status, again, log = ended(submit(cluster, tmp_path))
    assert (status, again["already"], again["snapshot"]) == (0, True, said["snapshot"])
    assert "--again would run once more" in log
    assert sorted(str(job.submission_id) for job in client.list_jobs() if NIGHT in str(job)) == [
        NIGHT,
        f"{NIGHT}-2",
    ]


def test_a_cluster_that_is_not_there_is_named(cluster: LocalCluster, tmp_path: Path) -> None:
    status, said, _ = ended(submit(cluster, tmp_path, "--address", "http://127.0.0.1:9"))
    assert (status, said["error"]) == (1, "JobFailed")
    assert "http://127.0.0.1:9" in said["message"]
    assert "RAY_API_SERVER_ADDRESS" in said["message"]


def _token(cluster: LocalCluster) -> dict[str, str]:
    return {"Authorization": f"Bearer {cluster.env['RAY_AUTH_TOKEN']}"}
