"""The floor: `aisle.pipeline` in processes of its own, without HTTP, queues or Ray.

    python -m jobs.rivals.floor --config configs/benchmarks/homedepot.yaml

Two measures. One query after another in one thread says what an answer costs at least. Batches on every core at once
say what the machine answers at most: the ceiling that a service is measured against.
"""

from __future__ import annotations

import argparse
import asyncio
import multiprocessing
import os
import time
from collections.abc import Sequence
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from typing import Any

import numpy as np

from aisle.config import Settings
from aisle.evaluation.probe import K, dense_recall
from aisle.pipeline import Pipeline
from aisle.schema import SearchRequest
from aisle.stages import Deadline
from jobs import command
from jobs.rivals.opened import bench_queries, open_pipeline

BATCH = 16
DEADLINE_S = 60.0


def measure(settings: Settings, k: int, seconds: float) -> dict[str, Any]:
    """Percentiles of single queries in ms, stages' medians, recall@100 of the dense side, and the ceiling."""
    queries = bench_queries(settings)
    pipeline = open_pipeline(settings)
    times, stages = asyncio.run(_singles(pipeline, queries, k, seconds))
    recall = dense_recall(pipeline.snapshot, queries[:100], settings.retrieval.dense_depth or K)
    del pipeline
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "p50_ms": round(float(np.percentile(times, 50)), 3),
        "p99_ms": round(float(np.percentile(times, 99)), 3),
        "stage_p50_ms": {name: round(float(np.median(ms)), 3) for name, ms in stages.items()},
        "dense_recall@100": round(recall, 4),
        "ceiling_per_s": round(_ceiling(settings, queries, k, seconds, cores or 1), 1),
        "cores": cores,
    }


async def _singles(
    pipeline: Pipeline, queries: Sequence[str], k: int, seconds: float
) -> tuple[list[float], dict[str, list[float]]]:
    times: list[float] = []
    stages: dict[str, list[float]] = {}
    ends = time.perf_counter() + seconds
    number = -50  # to warm up
    while time.perf_counter() < ends:
        started = time.perf_counter()
        request = SearchRequest(query=queries[number % len(queries)], k=k, rewrite="off")
        (answer,) = await pipeline.search([request], Deadline.after(DEADLINE_S))
        if number >= 0:
            times.append((time.perf_counter() - started) * 1000)
            for stage, ms in answer.timings_ms.items():
                stages.setdefault(stage, []).append(ms)
        number += 1
    return times, stages


def _ceiling(
    settings: Settings, queries: Sequence[str], k: int, seconds: float, cores: int
) -> float:
    """Queries a second of one process a core, all at once, in batches."""
    context = multiprocessing.get_context("spawn")  # forked threads of FAISS and ONNX would hang
    barrier = context.Barrier(cores)
    pipes = [context.Pipe(duplex=False) for _ in range(cores)]
    workers = [
        context.Process(target=_batches, args=(settings, queries, k, seconds, barrier, sink))
        for _, sink in pipes
    ]
    for worker in workers:
        worker.start()
    rates = [float(source.recv()) for source, _ in pipes]
    for worker in workers:
        worker.join()
    return sum(rates)


def _batches(
    settings: Settings,
    queries: Sequence[str],
    k: int,
    seconds: float,
    barrier: Barrier,
    sink: Connection,
) -> None:
    pipeline = open_pipeline(settings)

    async def run() -> float:
        done, number = 0, 0
        barrier.wait(120)
        started = time.perf_counter()
        while time.perf_counter() - started < seconds:
            requests = [
                SearchRequest(query=queries[(number + i) % len(queries)], k=k, rewrite="off")
                for i in range(BATCH)
            ]
            await pipeline.search(requests, Deadline.after(DEADLINE_S))
            done, number = done + BATCH, number + BATCH
        return done / (time.perf_counter() - started)

    sink.send(asyncio.run(run()))


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Measures the floor alone."""
    return measure(settings, arguments.k, arguments.seconds)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--k", type=int, default=24)
    parser.add_argument("--seconds", type=float, default=8.0)


if __name__ == "__main__":
    command.main("rivals.floor", __doc__, run, add_arguments)
