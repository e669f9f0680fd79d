"""Trains a judge on people's grades: a cross-encoder that grades pairs nobody judged.

    python -m jobs.train_judge --config configs/benchmarks/homedepot.yaml --out DIR [--minutes 15] [--threads 2]

It reads the catalogue's source, learns from the judgments' train split alone, and is measured on the dev split, which
it never saw: Cohen's kappa with people, plain and quadratic, and the ndcg@10 of its order. Kappa on dev is what its
grades are worth; `jobs.judge` prints it beside everything that it measures. The folder holds the graph at fp32 and
int8, tokenizer and `judge.json`. Stopped and started again with the same options it goes on from its checkpoint.
"""

from __future__ import annotations

import argparse
import hashlib
import logging
import shlex
import shutil
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from aisle.config import Settings
from aisle.evaluation import Judgments
from aisle.judging.cross_encoder import (
    MODEL_FILE,
    TOKENIZER_FILE,
    CrossEncoderJudge,
    JudgeCard,
)
from aisle.judging.held_back import judge_pairs, measure_verdicts
from aisle.judging.judge import scale_of
from aisle.judging.pair_tokens import PairTokens
from aisle.judging.texts import product_texts
from jobs import command
from jobs.training_rows import splits

logger = logging.getLogger("jobs.train_judge")


def run(settings: Settings, arguments: argparse.Namespace) -> dict[str, Any]:
    """Reads, trains, exports, measures."""
    from aisle.embed.folder import chosen_model
    from aisle.embed.recipe import read_recipe
    from aisle.embed.resolve import resolve_model
    from aisle.embed.sentence import load_tokenizer
    from aisle.judging.module import export_cross_encoder
    from aisle.judging.train import JudgePlan, JudgeProgress, train_judge

    train, dev = splits(settings)
    levels = scale_of(train.lowest_grade, float(max(train.grades.max(), dev.grades.max())))
    fields, max_chars = settings.catalog.text_fields, settings.catalog.text_max_chars
    wanted = {*train.product_ids, *dev.product_ids}
    texts = product_texts(settings.catalog, wanted, fields, max_chars)
    train, dev = train.known_in(texts), dev.known_in(texts)

    plan = JudgePlan(
        minutes=arguments.minutes,
        epochs=arguments.epochs,
        seed=arguments.seed,
        threads=arguments.threads,
    )
    start = arguments.model or chosen_model(settings.encoder)
    recipe = read_recipe(resolve_model(start))
    tokenizer_json, pad_id, limit = load_tokenizer(recipe)
    max_tokens = min(arguments.max_tokens or settings.encoder.max_tokens, limit)
    query_max_tokens = min(settings.encoder.query_max_tokens, max_tokens // 2)
    tokens = PairTokens(tokenizer_json, max_tokens, query_max_tokens)
    pairs = [tokens.pair(q, texts[p]) for q, p in zip(*_columns(train), strict=True)]

    def report(progress: JudgeProgress) -> None:
        logger.info(
            "step %d, %d pairs, loss %.4f, %.0f s, %.0f %% done",
            progress.step,
            progress.pairs,
            progress.loss,
            progress.elapsed_s,
            100 * progress.done_fraction,
        )

    out = Path(arguments.out)
    work = out.with_name(out.name + ".work")
    module, ended = train_judge(recipe, pairs, train.grades, levels, pad_id, plan, work, report)
    out.mkdir(parents=True, exist_ok=True)
    export_cross_encoder(module, out)
    (out / TOKENIZER_FILE).write_text(tokenizer_json, encoding="utf-8")
    card = JudgeCard(
        model=start,
        levels=levels,
        max_tokens=max_tokens,
        query_max_tokens=query_max_tokens,
        text_fields=tuple(fields),
        text_max_chars=max_chars,
        pad_id=pad_id,
        typed=module.typed,
        fingerprint=hashlib.sha256((out / MODEL_FILE).read_bytes()).hexdigest()[:16],
    )
    card.write(out)
    measured = {"dev": _measured(out, dev, texts), "dev_int8": _measured(out, dev, texts, True)}
    training = {
        "made_by": _command_of(arguments),
        "plan": asdict(plan),
        "steps": ended.step,
        "pairs_seen": ended.pairs,
        "train_pairs": len(train),
        "train_queries": len(train.queries),
        "unknown_pairs": train.counts.unknown_pairs + dev.counts.unknown_pairs,
        "minutes": round(ended.elapsed_s / 60, 1),
        "loss": round(ended.loss, 4),
        **measured,
    }
    replace(card, training=training).write(out)
    shutil.rmtree(work)
    _print(measured["dev"], levels)
    return {"out": str(out), "judge": f"cross-encoder:{card.fingerprint}", **training}


def _columns(judgments: Judgments) -> tuple[list[str], list[str]]:
    queries = np.repeat(np.array(judgments.texts, dtype=object), np.diff(judgments.offsets))
    return list(queries), list(judgments.product_ids)


def _measured(
    folder: Path, judgments: Judgments, texts: dict[str, str], int8: bool = False
) -> dict[str, Any]:
    judge = CrossEncoderJudge.load(folder, int8=int8)
    return measure_verdicts(judge_pairs(judge, judgments, texts), judgments)


def _print(dev: dict[str, Any], levels: tuple[float, ...]) -> None:
    print(
        f"dev, {dev['pairs']} pairs of {dev['queries']} queries: kappa {dev['kappa']:.3f} {dev['kappa_interval']}, "
        f"quadratic {dev['quadratic_kappa']:.3f} {dev['quadratic_kappa_interval']}, equal {dev['exact_fraction']:.3f}, "
        f"ndcg@10 over pairs {dev['ndcg@10_pairs']:.4f}\npeople (rows) by judge:",
        file=sys.stderr,
    )
    for level, row in zip(levels, dev["confusion"], strict=True):
        print(f"{level:6g}" + "".join(f"{n:8d}" for n in row), file=sys.stderr)


def _command_of(arguments: argparse.Namespace) -> str:
    words = ["python", "-m", "jobs.train_judge", "--config", "CONFIG", "--out", "DIR"]
    for name in ("minutes", "epochs", "seed", "threads", "max_tokens", "model"):
        if (value := getattr(arguments, name)) is not None:
            words += [
                f"--{name.replace('_', '-')}",
                f"{value:g}" if name == "minutes" else str(value),
            ]
    return shlex.join(words)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """This job's options."""
    parser.add_argument("--out", required=True, help="folder to write")
    parser.add_argument("--minutes", type=float, default=15.0, help="time to train")
    parser.add_argument(
        "--epochs", type=float, default=4.0, help="passes over the train split at most"
    )
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--max-tokens", type=int, help="of a pair; encoder.max_tokens by default")
    parser.add_argument(
        "--model",
        help="encoder to start from; encoder.model by default, or encoder.base until that is there",
    )


if __name__ == "__main__":
    command.main("train_judge", __doc__, run, add_arguments)
