"""Trains the rewriter that ships with the package, from the sample shop's queries, on CPU.

    python -m jobs.train_rewriter --config configs/local.yaml --out DIR [--minutes 25] [--seed 7] [--threads 1]

Writes a model folder that vLLM loads; set `rewriter.model` to it. Stopped and started again with the same settings it
goes on from its last checkpoint, which lies below `work_dir`. The measures at the end are over queries and words that
training did not see.
"""

from __future__ import annotations

import argparse
import json
import logging
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aisle.config import Settings
from aisle.rewrite.training.train import Progress, TrainingPlan, save_model, train
from jobs import command

logger = logging.getLogger("jobs.train_rewriter")


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains, saves, measures; returns what `rewriter.json` and the last line show."""
    from aisle.rewrite.training.measure import measure_rewriter

    plan = TrainingPlan(
        minutes=arguments.minutes,
        seed=arguments.seed,
        examples=arguments.examples,
        threads=arguments.threads,
    )
    work = Path(settings.work_dir) / "train_rewriter"
    model, tokenizer, ended = train(plan, work, log_progress)
    out = Path(arguments.out)
    save_model(model, tokenizer, out)
    logger.info("saved %s; measuring", out)
    measures = asdict(measure_rewriter(model.float(), tokenizer, arguments.measure))
    card = write_card(out, plan, ended, measures)
    return {"out": str(out), **card}


def log_progress(progress: Progress) -> None:
    """One line: how far, how good, how long still."""
    logger.info(
        "step %d, %d examples, loss %.3f, %.0f s done, %.0f s left",
        progress.step,
        progress.examples,
        progress.loss,
        progress.elapsed_s,
        progress.left_s,
    )


def write_card(
    out: Path, plan: TrainingPlan, ended: Progress, measures: dict[str, object]
) -> dict[str, object]:
    """Writes `rewriter.json`, by which the rewriter knows the folder as one of its own models."""
    from aisle.rewrite.prompt import FORMAT_VERSION

    card: dict[str, object] = {
        "format_version": FORMAT_VERSION,
        "made_by": command_of(plan),
        "plan": asdict(plan),
        "steps": ended.step,
        "examples": ended.examples,
        "loss": round(ended.loss, 4),
        "minutes": round(ended.elapsed_s / 60, 1),
        "measures": measures,
    }
    (out / "rewriter.json").write_text(json.dumps(card, indent=2) + "\n")
    return card


def command_of(plan: TrainingPlan) -> str:
    """The command that makes the model again."""
    words = ["python", "-m", "jobs.train_rewriter", "--config", "configs/local.yaml"]
    words += ["--out", "DIR", "--seed", str(plan.seed)]
    words += ["--minutes", f"{plan.minutes:g}", "--threads", str(plan.threads)]
    if plan.examples is not None:
        words += ["--examples", str(plan.examples)]
    return shlex.join(words)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--out", required=True, help="the model's folder; written at the end")
    parser.add_argument(
        "--minutes", type=float, default=25.0, help="time to train, without measuring"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--examples", type=int, help="stop after so many examples if that comes first"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; leave one core to others"
    )
    parser.add_argument(
        "--measure", type=int, default=1000, help="held-out sample queries to measure on"
    )


if __name__ == "__main__":
    command.main("train_rewriter", __doc__, run, add_arguments)
