"""Starts a private Ray head node as an operator would, and stops exactly what it started.

    with local_cluster(num_cpus=2) as cluster:
        subprocess.run(["ray", "job", "submit", "--", "python", "-m", "jobs.reindex", ...], env=cluster.env)

`ray start --head` runs with ports, temporary folder and token of its own, so several clusters share a machine, and
`ray stop`, which ends all of them, is never used: `jobs.supervise` holds the processes and ends them when the block
is left, by an exception or Ctrl-C too, and when this process is killed. Drivers are meant to be subprocesses with
`cluster.env`; one in this process must call `ray.shutdown()` before it leaves the block.

What binds where: the dashboard, with the job and Serve APIs, binds 127.0.0.1, and so do Serve's HTTP and its
replicas' where the application's `http_options.host` says so. GCS, raylet, object manager, workers, the gRPC between
replicas, and the metrics of Ray and HAProxy bind every interface; Ray 2.60 replaces `--node-ip-address 127.0.0.1` by
the machine's address. Ray's APIs and calls want the token, random unless the operator set one; the metrics ports show
their counters to whoever asks.
"""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from aisle.errors import JobFailed

START_TIMEOUT_S = 180.0
STOP_TIMEOUT_S = 60.0
# Below Linux's range for outgoing connections (32768 up) and Serve's replicas (30000 up), above Ray's defaults.
PORT_BLOCKS = range(20_000, 29_800, 200)
PORTS = (
    "port",
    "dashboard-port",
    "dashboard-agent-listen-port",
    "dashboard-agent-grpc-port",
    "runtime-env-agent-port",
    "metrics-export-port",
    "node-manager-port",
    "object-manager-port",
    "ray-client-server-port",
    "http",
    "fallback-http",
    "fallback-grpc",
    "haproxy-stats",
    "haproxy-metrics",
    "autoscaler-metrics",
    "dashboard-metrics",
)
WORKER_PORTS = 150
"""Workers' ports in a block, one for each worker and driver alive; a two-core machine sees about thirty."""


@dataclass(frozen=True, slots=True)
class LocalCluster:
    """How to reach a running cluster; plain values, nothing to close."""

    address: str
    """GCS as `ip:port`, for `ray.init(address=...)`."""
    dashboard_url: str
    """For `ray job submit --address` and `serve deploy --address`."""
    http_port: int
    """A free port for Serve's HTTP, reserved for this cluster: put it in `http_options.port`."""
    metrics_url: str
    """Where Prometheus scrapes this node."""
    temp_dir: Path
    """Ray's sessions and logs, under `session_latest/logs`; removed with the cluster."""
    env: Mapping[str, str]
    """Whole environment for client subprocesses: addresses, token, and this Python first on PATH."""


@contextmanager
def local_cluster(
    *,
    num_cpus: int = 4,
    object_store_bytes: int = 1_000_000_000,
    fast_serve: bool = True,
    python_path: Sequence[str | Path] = (),
) -> Iterator[LocalCluster]:
    """A Ray head node for the length of the block, ready when it begins and gone when it has ended.

    Args:
        num_cpus: CPUs that Ray schedules; may exceed the machine's, which then shares them.
        object_store_bytes: shared memory that the object store may take.
        fast_serve: HAProxy in front of Serve and its throughput mode, as in production.
        python_path: folders put first on PYTHONPATH of every worker and client.

    Raises:
        JobFailed: no block of ports is free, or `ray start` failed; the message ends with what it printed.
    """
    with ExitStack() as stack:
        ports = stack.enter_context(_port_block())
        # Unix sockets lie below it and their paths hold 107 bytes, so a long TMPDIR does not do.
        parent = tempfile.gettempdir() if len(tempfile.gettempdir()) <= 20 else "/tmp"
        temp_dir = Path(tempfile.mkdtemp(prefix="aisle-", dir=parent))
        stack.callback(shutil.rmtree, temp_dir, ignore_errors=True)
        env = _server_env(ports, temp_dir, fast_serve, python_path)
        command = _start_command(ports, temp_dir, num_cpus, object_store_bytes)
        stack.enter_context(_supervised(command, temp_dir, env))
        address = (temp_dir / "ray_current_cluster").read_text(encoding="utf-8").strip()
        dashboard_url = f"http://127.0.0.1:{ports['dashboard-port']}"
        clients = {
            "RAY_ADDRESS": address,
            "RAY_API_SERVER_ADDRESS": dashboard_url,  # ray job ...; takes precedence there
            "RAY_DASHBOARD_ADDRESS": dashboard_url,  # serve ...
        }
        metrics_url = f"http://127.0.0.1:{ports['metrics-export-port']}/metrics"
        yield LocalCluster(
            address, dashboard_url, ports["http"], metrics_url, temp_dir, env | clients
        )


@contextmanager
def _port_block() -> Iterator[dict[str, int]]:
    """Claims 200 ports for this cluster: its own by name, then from `min-worker` to `max-worker`.

    The block's first port stays bound as the claim, so two clusters that start together never share a block. The
    others are tried once and left free for Ray: a foreign process may still take one in between, and `ray start` then
    fails with its name.
    """
    for first in random.sample(PORT_BLOCKS, len(PORT_BLOCKS)):
        with ExitStack() as claim:
            try:
                claim.enter_context(_bound(first))
                named = {name: first + 1 + i for i, name in enumerate(PORTS)}
                lowest = first + 1 + len(PORTS)
                with ExitStack() as tried:
                    for port in range(first + 1, lowest + WORKER_PORTS):
                        tried.enter_context(_bound(port))
            except OSError:
                continue
            yield named | {"min-worker": lowest, "max-worker": lowest + WORKER_PORTS - 1}
            return
    raise JobFailed(
        f"no free block of ports between {PORT_BLOCKS.start} and {PORT_BLOCKS.stop}: each cluster takes 200; "
        "stop clusters that are no longer needed"
    )


def free_port() -> int:
    """A port that nobody has bound now; outside the clusters' blocks."""
    with _bound(0) as held:
        return int(held.getsockname()[1])


def _bound(port: int) -> socket.socket:
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        held.bind(("", port))
    except OSError:
        held.close()
        raise
    return held


def _start_command(
    ports: Mapping[str, int], temp_dir: Path, num_cpus: int, object_store_bytes: int
) -> list[str]:
    numbered = [f"--{name}={ports[name]}" for name in PORTS if name.endswith("port")]
    return [
        str(Path(sys.executable).parent / "ray"),
        "start",
        "--head",
        "--disable-usage-stats",
        "--include-dashboard=true",
        "--dashboard-host=127.0.0.1",
        f"--num-cpus={num_cpus}",
        f"--object-store-memory={object_store_bytes}",
        f"--temp-dir={temp_dir}",
        *numbered,
        f"--min-worker-port={ports['min-worker']}",
        f"--max-worker-port={ports['max-worker']}",
    ]


def _server_env(
    ports: Mapping[str, int], temp_dir: Path, fast_serve: bool, python_path: Sequence[str | Path]
) -> dict[str, str]:
    """This process's environment, less what points at another cluster, with the cluster's own."""
    elsewhere = ("RAY_ADDRESS", "RAY_API_SERVER_ADDRESS", "RAY_DASHBOARD_ADDRESS", "RAY_NAMESPACE")
    env = {name: value for name, value in os.environ.items() if name not in elsewhere}
    # `ray job submit -- python ...` takes the node's first python, and that must be the one with ray in it.
    env["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), env.get("PATH", os.defpath)])
    if python_path:
        folders = [str(Path(folder).resolve()) for folder in python_path]
        env["PYTHONPATH"] = os.pathsep.join([*folders, *filter(None, [env.get("PYTHONPATH")])])
    env |= {"RAY_USAGE_STATS_ENABLED": "0", "RAY_DISABLE_IMPORT_WARNING": "1"}
    if not {"RAY_AUTH_MODE", "RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH"} & env.keys():
        env |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    haproxy = temp_dir / "haproxy"
    # NOTE: the fallback port is bound with SO_REUSEPORT: two clusters on one number answer for each other.
    return env | {
        "AUTOSCALER_METRIC_PORT": str(ports["autoscaler-metrics"]),
        "DASHBOARD_METRIC_PORT": str(ports["dashboard-metrics"]),
        "RAY_SERVE_ENABLE_HA_PROXY": str(int(fast_serve)),
        "RAY_SERVE_THROUGHPUT_OPTIMIZED": str(int(fast_serve)),
        # For load balancers that learn late that a replica leaves; here HAProxy is told by Serve, and the default of
        # 30 s would be spent on each gateway of a redeployment, one after the other.
        "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "5",
        # Ray starts its workers, replicas too, at niceness 15: behind everything else on the machine, the load
        # generator and the editor included. Here nothing else matters more.
        "RAY_worker_niceness": "0",
        # Within 5 s, Ray's default, a proxy on a busy machine has not even imported ray: it is killed, starts anew, and
        # `serve deploy` fails.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "60",
        # A gateway that dies leaves its requests without a byte of answer; a search may be asked again, so another
        # gateway is. Ray's default tries again only where no connection was made.
        "RAY_SERVE_HAPROXY_RETRY_ON": "conn-failure empty-response",
        # How soon a burst can be answered with replicas: by default what is inside them is reported every 10 s.
        "RAY_SERVE_REPLICA_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2",
        "RAY_SERVE_HANDLE_AUTOSCALING_METRIC_PUSH_INTERVAL_S": "2",
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(ports["fallback-http"]),
        "RAY_SERVE_FALLBACK_PROXY_GRPC_PORT": str(ports["fallback-grpc"]),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(ports["haproxy-stats"]),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(ports["haproxy-metrics"]),
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
    }


@contextmanager
def _supervised(command: list[str], temp_dir: Path, env: Mapping[str, str]) -> Iterator[None]:
    """Holds `command` and its descendants below `jobs.supervise` until the block is left."""
    supervisor = Path(__file__).with_name("supervise.py")
    # -P: the script's folder, full of job names, stays off sys.path. A session of its own: Ctrl-C in the terminal
    # reaches this process only, and the daemons go after the block has had its say.
    process = subprocess.Popen(
        [sys.executable, "-P", str(supervisor), str(temp_dir), str(START_TIMEOUT_S), *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env=dict(env),
        text=True,
        start_new_session=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        report = json.loads(process.stdout.readline() or '{"returncode": null, "output": ""}')
        if report["returncode"] != 0:
            raise JobFailed(
                f"`ray start --head` ended with {report['returncode']} (null: not within {START_TIMEOUT_S:.0f} s); "
                f"it printed:\n{report['output']}"
            )
        yield
    finally:
        process.stdin.close()
        process.stdout.close()
        process.wait(STOP_TIMEOUT_S)
