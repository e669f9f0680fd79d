"""Trains a query rewriter on CPU: a shop's own, which learns from search feedback, or the one that ships.

    python -m jobs.train_rewriter --config configs/benchmarks/homedepot.yaml --out DIR [--minutes 12] [--rounds 2]
    python -m jobs.train_rewriter --config configs/local.yaml --words sample --out DIR --minutes 45

`--words shop`, the default, begins with the live snapshot's titles and the training queries, misspelt and as they are,
and with phrases that relevant products have in common. Then, a round at a time, it samples several answers to each of
some training queries through vLLM, searches every one, and learns from those that beat the query as typed. On the dev
split it chooses the round to keep and for which queries expansions are searched; gain and harm are reported.
`--words sample` trains on the sample shop's queries, which are generated as it goes.

Writes a model folder that vLLM loads; set `rewriter.model` to it. Stopped and started again with the same settings it
goes on from its last checkpoint, which lies below `work_dir`.
"""

from __future__ import annotations

import argparse
import logging
import shlex
from dataclasses import asdict
from pathlib import Path
from typing import Any

from aisle.config import Settings
from aisle.rewrite.model import write_card
from aisle.rewrite.prompt import FORMAT_VERSION
from aisle.rewrite.training.train import Progress, TrainingPlan, save_model, train
from jobs import command
from jobs.shop_rewriter import FeedbackPlan, train_shop_rewriter

logger = logging.getLogger("jobs.train_rewriter")


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Trains, saves, measures; returns what `rewriter.json` and the last line show."""
    plan = TrainingPlan(
        minutes=arguments.minutes,
        seed=arguments.seed,
        examples=arguments.examples,
        vocabulary=1024 if arguments.words == "sample" else 2048,
        threads=arguments.threads,
    )
    out = Path(arguments.out)
    if arguments.words == "sample":
        found = train_sample_rewriter(settings, plan, out, arguments.measure)
    else:
        feedback = FeedbackPlan(
            rounds=arguments.rounds,
            minutes=arguments.round_minutes,
            queries=arguments.round_queries,
            answers=arguments.answers,
        )
        found = train_shop_rewriter(settings, plan, feedback, out, log_progress)
        found["feedback"] = asdict(feedback)
    card = {
        "format_version": FORMAT_VERSION,
        "made_by": command_of(arguments),
        "plan": asdict(plan),
        **found,
    }
    write_card(out, card)
    return {"out": str(out), **card}


def train_sample_rewriter(
    settings: Settings, plan: TrainingPlan, out: Path, measured: int
) -> dict[str, Any]:
    """The built-in model: the sample shop's queries, no feedback, measured on queries and words it did not see."""
    from aisle.rewrite.training.measure import measure_rewriter

    model, tokenizer, ended = train(plan, Path(settings.work_dir) / "train_rewriter", log_progress)
    save_model(model, tokenizer, out)
    logger.info("saved %s; measuring", out)
    return {
        "steps": ended.step,
        "examples": ended.examples,
        "loss": round(ended.loss, 4),
        "minutes": round(ended.elapsed_s / 60, 1),
        "measures": asdict(measure_rewriter(model.float(), tokenizer, measured)),
    }


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


def command_of(arguments: argparse.Namespace) -> str:
    """The command that makes the model again."""
    words = ["python", "-m", "jobs.train_rewriter", "--config", str(arguments.config)]
    words += ["--words", arguments.words, "--out", "DIR", "--seed", str(arguments.seed)]
    words += ["--minutes", f"{arguments.minutes:g}", "--threads", str(arguments.threads)]
    if arguments.examples is not None:
        words += ["--examples", str(arguments.examples)]
    if arguments.words == "shop":
        words += ["--rounds", str(arguments.rounds)]
        words += ["--round-minutes", f"{arguments.round_minutes:g}"]
        words += ["--round-queries", str(arguments.round_queries)]
        words += ["--answers", str(arguments.answers)]
    return shlex.join(words)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--out", required=True, help="the model's folder; written at the end")
    parser.add_argument(
        "--words", choices=("shop", "sample"), default="shop", help="whose queries are learnt from"
    )
    parser.add_argument(
        "--minutes", type=float, default=12.0, help="of the supervised start, on CPU"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument(
        "--examples", type=int, help="of the start: stop after so many if that comes first"
    )
    parser.add_argument(
        "--threads", type=int, default=1, help="CPU threads; leave one core to others"
    )
    parser.add_argument(
        "--measure", type=int, default=1000, help="sample: held-out queries to measure on"
    )
    parser.add_argument(
        "--rounds", type=int, default=2, help="shop: of search feedback; 0 for none"
    )
    parser.add_argument("--round-minutes", type=float, default=4.0, help="to train in a round")
    parser.add_argument(
        "--round-queries", type=int, default=1500, help="training queries sampled for in a round"
    )
    parser.add_argument("--answers", type=int, default=6, help="sampled for each of them")


if __name__ == "__main__":
    command.main("train_rewriter", __doc__, run, add_arguments)
