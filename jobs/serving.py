"""Deploying the Serve application to a running cluster, as an operator would: `serve deploy` with a config file."""

from __future__ import annotations

import json
import logging
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from aisle.errors import JobFailed
from jobs.cluster import LocalCluster

logger = logging.getLogger(__name__)

APPLICATION = "aisle"
DEPLOY_ATTEMPTS = 3


GRAPH = "deployments.graph:build"


def serve_config(
    config: Path,
    overrides: Sequence[str],
    host: str,
    port: int,
    import_path: str = GRAPH,
    tracing: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """What `serve deploy` reads; `infra/serve/` holds the same as files."""
    return {
        **({"tracing_config": dict(tracing)} if tracing else {}),
        "proxy_location": "EveryNode",
        "http_options": {"host": host, "port": port},
        "applications": [
            {
                "name": APPLICATION,
                "route_prefix": "/",
                "import_path": import_path,
                "args": {"config": str(config), "overrides": list(overrides)},
            }
        ],
    }


def deploy(
    cluster: LocalCluster,
    config: Path,
    overrides: Sequence[str] = (),
    *,
    host: str = "127.0.0.1",
    port: int | None = None,
    timeout_s: float = 240.0,
    import_path: str = GRAPH,
    tracing: Mapping[str, Any] | None = None,
) -> str:
    """Deploys and waits until every deployment is healthy; returns the base URL.

    `tracing` is Serve's `tracing_config`; only the first deployment on a cluster sets it.

    Raises:
        JobFailed: the application failed or was not healthy in time; the message has Serve's own.
    """
    port = port or cluster.http_port
    with tempfile.NamedTemporaryFile("w", suffix=".yaml", delete=False) as file:
        content = serve_config(config.resolve(), overrides, host, port, import_path, tracing)
        yaml.safe_dump(content, file)
    try:
        _submit(cluster.env, file.name)
        _wait(cluster.env, timeout_s)
    finally:
        Path(file.name).unlink()
    url = f"http://{host}:{port}"
    _wait_for(url + "/readyz", 30.0)
    return url


def status(env: Mapping[str, str]) -> dict[str, Any]:
    """The application as Serve's REST API reports it, replicas with their pids; empty where it is not deployed."""
    request = urllib.request.Request(f"{env['RAY_DASHBOARD_ADDRESS']}/api/serve/applications/")
    if token := env.get("RAY_AUTH_TOKEN"):
        request.add_header("Authorization", f"Bearer {token}")
    with urllib.request.urlopen(request, timeout=30) as response:
        applications: dict[str, Any] = json.load(response)["applications"]
    found: dict[str, Any] = applications.get(APPLICATION, {})
    return found


def _submit(env: Mapping[str, str], file: str) -> None:
    """`serve deploy`, again where it fails: on a busy machine Serve may give its proxy up before that has started."""
    for attempt in range(DEPLOY_ATTEMPTS):
        try:
            _serve(env, "deploy", file)
        except JobFailed as error:
            if attempt + 1 == DEPLOY_ATTEMPTS:
                raise
            logger.warning("serve deploy failed, trying again: %s", str(error)[-300:])
        else:
            return


def _wait(env: Mapping[str, str], timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    shown = ""
    while True:
        application = status(env)
        state = application.get("status", "not there yet")
        deployments = application.get("deployments") or {}
        summary = ", ".join(
            f"{name} {each['status'].lower()}" for name, each in sorted(deployments.items())
        )
        if summary != shown:
            logger.info("serve: %s (%s)", str(state).lower(), summary or "starting")
            shown = summary
        if state == "RUNNING":
            return
        if state == "DEPLOY_FAILED" or time.monotonic() > deadline:
            messages = [application.get("message", "")]
            messages += [f"{name}: {each.get('message', '')}" for name, each in deployments.items()]
            raise JobFailed(
                f"the application is {state} after {timeout_s:.0f} s at most: {' '.join(messages)}"
            )
        time.sleep(1.0)


def _wait_for(url: str, timeout_s: float) -> None:
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as response:
                if response.status == 200:
                    return
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it is the response, connection and all
            if time.monotonic() > deadline:
                raise JobFailed(f"{url}: not ready after {timeout_s:.0f} s: {error}") from error
        time.sleep(0.25)


def _serve(env: Mapping[str, str], *arguments: str) -> str:
    command = [str(Path(sys.executable).with_name("serve")), *arguments]
    done = subprocess.run(command, env=dict(env), capture_output=True, text=True, check=False)
    if done.returncode:
        raise JobFailed(
            f"serve {arguments[0]} failed: {done.stderr[-2000:] or done.stdout[-2000:]}"
        )
    return done.stdout


def post(url: str, body: Mapping[str, Any], timeout_s: float = 30.0) -> dict[str, Any]:
    """POSTs JSON and reads JSON."""
    request = urllib.request.Request(
        url,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
        method="POST",
    )
    with urllib.request.urlopen(request, timeout=timeout_s) as response:
        answer: dict[str, Any] = json.load(response)
        return answer
