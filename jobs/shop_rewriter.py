"""A shop's own rewriter: a start from its words, then rounds of search feedback; see `jobs.train_rewriter`."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from aisle.config import Settings
from aisle.evaluation import Interval, Judgments, paired_difference
from aisle.evaluation.systems import REWRITE
from aisle.local import open_rewriter
from aisle.pipeline import Pipeline
from aisle.rewrite import VllmRewriter
from aisle.rewrite.guard import verified
from aisle.rewrite.model import write_card
from aisle.rewrite.training.feedback import Floats, Group, Lessons, choose_expand_below, costs
from aisle.rewrite.training.shop import ShopExamples, shop_examples
from aisle.rewrite.training.train import Report, TrainingPlan, save_model, train
from aisle.searching import Opener
from aisle.snapshot import Library
from aisle.snapshot.catalogue import live_products
from aisle.stages import Deadline, Rewrite
from aisle.store import Store
from aisle.training.rewards import Rewards
from jobs.training_rows import splits

logger = logging.getLogger("jobs.train_rewriter")

_TUNING_RATES = 0.15
"""Learning rates of a feedback round, as a share of the start's: the model is not to forget how to spell."""
_ASKED_AT_ONCE = 64
_DEADLINE_S = 3600.0


@dataclass(frozen=True)
class FeedbackPlan:
    """How a model learns from search."""

    rounds: int = 2
    """At most: a round whose model is worth less on dev than the one before is the last, and is thrown away."""
    minutes: float = 4.0
    """To train, a round."""
    queries: int = 1500
    """Training queries that answers are sampled for, a round."""
    answers: int = 6
    """Of a group."""


@dataclass(frozen=True)
class OnDev:
    """What a model's rewrites are worth on queries that taught nothing; see `Rewards.worth`."""

    typed: Floats
    corrected: Floats
    """Its corrections alone."""
    expanded: Floats
    """With every expansion."""
    titles: tuple[int, ...]
    """Titles that hold every word, by query."""
    given: tuple[bool, ...]
    """Whether the query has expansions that the catalogue supports."""
    expand_below: int
    """The bound that serves best."""

    @property
    def served(self) -> Floats:
        """As it would be served, with expansions below the bound alone."""
        below = np.array(self.given) & (np.array(self.titles) < self.expand_below)
        return np.where(below, self.expanded, self.corrected)

    @property
    def gain(self) -> Interval:
        """Of what is served over the query as typed."""
        return paired_difference(self.served, self.typed, seed=0)

    def summary(self) -> dict[str, Any]:
        """Means, and how many queries the rewrites help and harm."""
        change, gain = self.served - self.typed, self.gain
        return {
            "worth_typed": _mean(self.typed),
            "worth_corrected": _mean(self.corrected),
            "worth_expanded": _mean(self.expanded),
            "worth_served": _mean(self.served),
            "gain": [round(each, 4) for each in (gain.mean, gain.low, gain.high)],
            "helped": int((change > 0).sum()),
            "harmed": int((change < 0).sum()),
            "queries": int(np.isfinite(self.typed).sum()),
            "with_expansions": int(np.sum(self.given)),
            "expand_below_titles": self.expand_below,
        }


def train_shop_rewriter(
    settings: Settings, plan: TrainingPlan, feedback: FeedbackPlan, out: Path, report: Report
) -> dict[str, Any]:
    """Trains on the train split, measures and chooses on dev, saves to `out`; returns what the card says.

    Raises:
        JudgmentError: there are too few judged queries to learn from.
        ModelError: a checkpoint of other settings lies in the work folder.
    """
    library = Library(Store.open(settings.store, settings.store_options))
    manifest = library.manifest(library.current())
    # Without a ranker, which would hide what retrieval misses.
    pipeline = Opener(REWRITE.settings(settings), manifest, rank=False).pipeline()
    # The bound of the model that is served so far says nothing about another one's expansions.
    pipeline.snapshot = replace(pipeline.snapshot, expand_below=None)
    train_split, dev = (each.measurable() for each in splits(settings))
    products = live_products(library, manifest, Path(settings.serving.cache_dir))
    shop = read_shop(pipeline, train_split, products)
    logger.info("%d queries and %d titles to learn from", len(shop.queries), len(shop.titles))
    key = hashlib.sha256(f"{manifest.snapshot_id} {plan.seed}".encode()).hexdigest()[:12]
    work = Path(settings.work_dir) / "train_rewriter" / f"{settings.name}-{key}"
    threads = settings.ray.embed_workers

    model, tokenizer, ended = train(plan, work / "start", report, shop)
    kept: OnDev | None = None
    rounds: list[dict[str, Any]] = []
    for number in range(feedback.rounds + 1):
        folder = work / f"model-{number}"
        save_model(model, tokenizer, folder)
        write_card(folder, {"round": number})
        with opened(folder, settings) as engine:
            found = measure(engine, pipeline, dev, threads)
            rounds.append({"round": number, "steps": ended.step, **found.summary()})
            logger.info("round %d on dev: %s", number, rounds[-1])
            if kept is not None and np.nanmean(found.served) < np.nanmean(kept.served):
                break
            kept, best = found, folder
            if number == feedback.rounds:
                break
            asked = train_split.sampled(feedback.queries)
            groups = sample_groups(engine, pipeline, asked, feedback.answers, threads, number)
        lessons = Lessons(tuple(group.lesson for group in groups), shop)
        rounds[-1] |= (lesson := taught(groups))
        logger.info("taught: %s", lesson)
        tuning = replace(
            plan,
            minutes=feedback.minutes,
            seed=plan.seed + number + 1,
            muon_rate=plan.muon_rate * _TUNING_RATES,
            adam_rate=plan.adam_rate * _TUNING_RATES,
        )
        model, tokenizer, ended = train(
            tuning, work / f"round-{number + 1}", report, lessons, (model, tokenizer)
        )
    assert kept is not None
    shutil.copytree(best, out, dirs_exist_ok=True)
    for checkpoint in work.glob("*/checkpoint.pt"):
        checkpoint.unlink()  # a finished run starts anew next time
    gain = kept.gain
    if gain.low <= 0:
        logger.warning(
            "nothing shows that these rewrites help on dev (%.4f, 95 %% interval %.4f to %.4f); spelling repair does "
            "without the model: leave rewriter.mode off",
            *(gain.mean, gain.low, gain.high),
        )
    return {
        "snapshot": manifest.snapshot_id,
        "helps": gain.low > 0,
        "expand_below_titles": kept.expand_below,
        "rounds": rounds,
    }


def read_shop(pipeline: Pipeline, judgments: Judgments, products: pa.Table) -> ShopExamples:
    """The examples of a catalogue and of judged queries."""
    snapshot = pipeline.snapshot
    assert snapshot.spelling is not None  # REWRITE has it on
    titles = products["title"].to_pylist()
    title_of = dict(zip(products["product_id"].to_pylist(), titles, strict=True))
    relevant = {}
    for text, (_, ids, grades) in zip(judgments.texts, judgments, strict=True):
        right = ids[grades >= judgments.relevant_from]
        relevant[text] = [title_of[each] for each in right if each in title_of]
    return shop_examples(
        judgments.texts, relevant, titles, snapshot.spelling, snapshot.statistics, snapshot.analyzer
    )


def measure(engine: VllmRewriter, pipeline: Pipeline, dev: Judgments, threads: int) -> OnDev:
    """What the engine's greedy rewrites are worth, and below which bound its expansions help."""
    snapshot = pipeline.snapshot
    assert snapshot.spelling is not None
    said: list[Rewrite] = []
    for some in _slices(dev.texts):
        said += asyncio.run(engine.rewrite(some, Deadline.after(_DEADLINE_S)))
    checked = [verified(each, snapshot.statistics, snapshot.analyzer) for each in said]
    rewards = Rewards(pipeline, dev, threads)
    typed = rewards.worth([Rewrite.unchanged(text) for text in dev.texts])
    corrected = rewards.worth([replace(each, expansions=()) for each in said])
    expanded = rewards.worth(said)
    titles = tuple(snapshot.spelling.titles_with(each.query) for each in checked)
    given = tuple(bool(each.expansions) for each in checked)
    at = np.flatnonzero(np.array(given) & np.isfinite(typed))
    bound, _ = choose_expand_below([titles[i] for i in at], (expanded - corrected)[at])
    return OnDev(typed, corrected, expanded, titles, given, bound)


def sample_groups(
    engine: VllmRewriter,
    pipeline: Pipeline,
    judgments: Judgments,
    answers: int,
    threads: int,
    seed: int,
) -> list[Group]:
    """A group of rewarded answers for every judged query that the model is asked and a worth is defined for."""
    snapshot = pipeline.snapshot
    drawn = []
    for some in _slices(judgments.texts):
        drawn += asyncio.run(engine.sample(some, answers, seed=seed))
    rewards = Rewards(pipeline, judgments, threads)
    unchanged = [Rewrite.unchanged(text) for text in judgments.texts]
    typed = rewards.worth(unchanged)
    columns = []
    for number in range(answers):
        told = [
            each[number].rewrite if each else same
            for each, same in zip(drawn, unchanged, strict=True)
        ]
        forms = [
            costs(each[number], snapshot.statistics, snapshot.analyzer) if each else 0.0
            for each in drawn
        ]
        columns.append(rewards.worth(told) - np.array(forms))
        logger.info(
            "answer %d of %d: mean reward %.4f", number + 1, answers, np.nanmean(columns[-1])
        )
    table = np.stack(columns, axis=1)
    return [
        Group(each[0].rewrite.original, float(typed[i]), tuple(a.rewrite for a in each), table[i])
        for i, each in enumerate(drawn)
        if each and np.isfinite(typed[i])
    ]


def taught(groups: Sequence[Group]) -> dict[str, Any]:
    """How many groups hold an answer that beats the query as typed, and by how much."""
    better = [group for group in groups if group.lesson != Rewrite.unchanged(group.query)]
    gains = [float(group.rewards.max()) - group.typed for group in better]
    return {
        "groups": len(groups),
        "groups_with_a_better_answer": len(better),
        "mean_gain_of_those": round(float(np.mean(gains)), 4) if gains else 0.0,
    }


@contextmanager
def opened(folder: Path, settings: Settings) -> Iterator[VllmRewriter]:
    """A model's engine, closed at the end."""
    engine = open_rewriter(folder, settings.rewriter)
    try:
        yield engine
    finally:
        engine.close()


def _slices(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for at in range(0, len(texts), _ASKED_AT_ONCE):
        yield texts[at : at + _ASKED_AT_ONCE]


def _mean(values: Floats) -> float:
    return round(float(np.nanmean(values)), 4)
