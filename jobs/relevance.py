"""Rebuilds every model of a shop from its catalogue and judgments, in order, and says what each step cost.

    python -m jobs.relevance --config configs/benchmarks/homedepot.yaml [--encoder-minutes 25] [--threads 2]
        [--first STEP] [--last STEP]

Models are written where the config names them, so that `jobs.reindex` with the same config publishes them. Every step
is a job of its own in its own process: memory is given back between them, and a step that failed is run again alone, or
from there on with `--first`. The first night serves the base encoder, since hard negatives are mined from it. A model
that the config does not name as a folder is not trained. The table goes to standard error, the last line is one JSON
with each step's seconds, peak memory and last line.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psutil

from aisle.config import Settings
from aisle.errors import ConfigError, JobFailed
from jobs import command

logger = logging.getLogger("jobs.relevance")

_SAMPLE_EVERY_S = 0.5


@dataclass(frozen=True)
class Step:
    """A job with the arguments that come after those which all steps share."""

    name: str
    job: str
    arguments: tuple[str, ...] = ()


def steps_of(settings: Settings, encoder_minutes: float, threads: int) -> list[Step]:
    """The steps in order; each publication is forced, because a night without models must follow one with them."""
    bare = ["--force", *_set("ranker.model=fused"), *_set("relevance.model=cosine")]
    steps = [
        Step("base night", "reindex", (*bare, *_set(f"encoder.model={settings.encoder.base}")))
    ]
    if settings.encoder.missing == "base" and encoder_minutes > 0:
        out = ("--out", settings.encoder.model)
        budget = ("--minutes", f"{encoder_minutes:g}", "--threads", str(threads))
        steps += [
            Step("encoder", "train_encoder", (*out, *budget)),
            Step("encoder's night", "reindex", tuple(bare)),
        ]
    if settings.rewriter.mode == "vllm" and settings.rewriter.missing == "off":
        rewriter = ("--out", settings.rewriter.model, "--threads", str(threads))
        steps += [
            Step("rewriter", "train_rewriter", rewriter),
            Step("rewriter's night", "reindex", tuple(bare)),
        ]
    ranker: tuple[str, ...] = ()
    if settings.ranker.model not in ("fused", "builtin"):
        ranker = ("--ranker", settings.ranker.model)
        steps.append(Step("ranker", "train_ranker", ("--out", settings.ranker.model)))
    if settings.relevance.model not in ("cosine", "builtin"):
        out = ("--out", settings.relevance.model)
        steps.append(Step("relevance", "train_relevance", (*ranker, *out)))
    return [*steps, Step("last night", "reindex", ("--force",)), Step("evaluate", "evaluate")]


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Runs the steps; JobFailed where one fails, the table up to there is printed first."""
    steps = steps_of(settings, arguments.encoder_minutes, arguments.threads)
    shared = ["--config", arguments.config]
    for override in arguments.overrides:
        shared += _set(override)
    rows: list[dict[str, Any]] = []
    try:
        for step in chosen(steps, arguments.first, arguments.last):
            logger.info("%s: jobs.%s", step.name, step.job)
            argv = [sys.executable, "-m", f"jobs.{step.job}", *shared, *step.arguments]
            rows.append({"step": step.name, "job": step.job, **measured(argv)})
            result = rows[-1]["result"]
            if not result.get("ok"):
                raise JobFailed(
                    f"step {step.name!r} (jobs.{step.job}) failed: {result.get('message', 'no last line')}; correct "
                    f"that and go on with --first {step.name!r}"
                )
    finally:
        print(text_table(rows), file=sys.stderr)
    return {"steps": rows}


def chosen(steps: Sequence[Step], first: str | None, last: str | None) -> list[Step]:
    """The steps from `first` to `last`, both included; ConfigError for a name that no step has."""
    names = [step.name for step in steps]
    for name in (first, last):
        if name is not None and name not in names:
            raise ConfigError(
                f"no step {name!r} with this config; its steps are {', '.join(names)}"
            )
    start = names.index(first) if first is not None else 0
    end = names.index(last) + 1 if last is not None else len(names)
    return list(steps[start:end])


def measured(argv: Sequence[str]) -> dict[str, Any]:
    """Runs a command: `seconds`, `peak_bytes` of its process and all below it, and its last line as `result`.

    Memory that processes share (libraries, Ray's object store) is counted once, in none of them: it is the sum of what
    each has for itself.
    """
    started = time.perf_counter()
    peak = 0
    with tempfile.TemporaryFile("w+", encoding="utf-8") as out:
        with subprocess.Popen(argv, stdout=out) as process:
            while process.poll() is None:
                peak = max(peak, _private_bytes(process.pid))
                time.sleep(_SAMPLE_EVERY_S)
        out.seek(0)
        lines = out.read().strip().splitlines()
    try:
        result = json.loads(lines[-1])
    except (IndexError, ValueError):
        result = {"ok": False, "message": f"exit status {process.returncode} without a last line"}
    seconds = round(time.perf_counter() - started, 1)
    return {"seconds": seconds, "peak_bytes": peak, "result": result}


def _private_bytes(pid: int) -> int:
    total = 0
    try:
        parent = psutil.Process(pid)
        for process in (parent, *parent.children(recursive=True)):
            try:
                memory = process.memory_info()
            except psutil.Error:  # it ended between listing and looking
                continue
            total += max(0, memory.rss - memory.shared)
    except psutil.Error:
        pass
    return total


def text_table(rows: Sequence[dict[str, Any]]) -> str:
    """One line a step."""
    lines = [f"{'step':18}{'minutes':>9}{'peak GB':>9}"]
    for row in rows:
        lines.append(f"{row['step']:18}{row['seconds'] / 60:9.1f}{row['peak_bytes'] / 1e9:9.2f}")
    lines.append(f"{'all':18}{sum(row['seconds'] for row in rows) / 60:9.1f}")
    return "\n".join(lines)


def _set(override: str) -> list[str]:
    return ["--set", override]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument(
        "--encoder-minutes", type=float, default=30.0, help="0 leaves the encoder as it is"
    )
    parser.add_argument(
        "--threads", type=int, default=2, help="CPU threads of the encoder's training"
    )
    parser.add_argument("--first", metavar="STEP", help="begin with this step")
    parser.add_argument("--last", metavar="STEP", help="end after this step")


if __name__ == "__main__":
    command.main("relevance", __doc__, run, add_arguments)
