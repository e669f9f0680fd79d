"""Trains the cross-encoder judge on people's grades, within a budget of minutes, on CPU.

Notable decisions:

* A mean of several raters lies between two levels; the target spreads it over both, so that no rater is rounded away.
* Token embeddings stay as they were: a few thousand pairs name few words, and the others must not drift from them.
* The learning rate follows the share of the budget that is used up, so a run of any length ends annealed.
* A checkpoint every two minutes; the same plan started again goes on from it.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from aisle.embed.recipe import Recipe
from aisle.errors import ModelError
from aisle.judging.judge import spread_over_levels
from aisle.judging.module import CrossEncoder, fresh_cross_encoder
from aisle.judging.pair_tokens import Pair, pad_pairs

logger = logging.getLogger(__name__)

_BUCKET_BATCHES = 32
_REPORT_EVERY_S = 30.0


@dataclass(frozen=True, slots=True)
class JudgePlan:
    """The choices of a run; it ends after `minutes` or `epochs`, whichever comes first."""

    minutes: float = 15.0
    epochs: float = 4.0
    seed: int = 7
    batch_rows: int = 32
    learning_rate: float = 1e-4
    """Of the transformer; the new head takes ten times as much."""
    threads: int = 2
    checkpoint_every_s: float = 120.0


@dataclass(frozen=True, slots=True)
class JudgeProgress:
    """How far a run is."""

    step: int
    pairs: int
    loss: float
    elapsed_s: float
    done_fraction: float


Report = Callable[[JudgeProgress], None]


def train_judge(
    recipe: Recipe,
    pairs: Sequence[Pair],
    grades: NDArray[np.float64],
    levels: Sequence[float],
    pad_id: int,
    plan: JudgePlan,
    work_dir: Path,
    report: Report,
) -> tuple[CrossEncoder, JudgeProgress]:
    """Trains from an encoder's weights, or goes on from the checkpoint in `work_dir`.

    A run that ends by its minutes depends on the machine's speed; one that ends by its epochs repeats exactly for the
    same seed and thread count. Raises ModelError where the checkpoint is another plan's or the weights cannot be read.
    """
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    module = fresh_cross_encoder(recipe, len(levels))
    optimiser = _optimiser(module, plan)
    targets = torch.from_numpy(spread_over_levels(grades, levels)).float()
    work_dir.mkdir(parents=True, exist_ok=True)
    identity = {k: v for k, v in asdict(plan).items() if k not in _MAY_CHANGE} | {
        "pairs": len(pairs),
        "levels": list(levels),
    }
    checkpoint = work_dir / "checkpoint.pt"
    step, elapsed_s, smoothed = _resume(checkpoint, identity, module, optimiser)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())
    total = plan.epochs * len(pairs)

    module.train()
    started = time.monotonic() - elapsed_s
    saved = reported = time.monotonic()
    done = 0.0
    for rows in _batches(pairs, plan, skip=step):
        elapsed_s = time.monotonic() - started
        done = max(elapsed_s / (60 * plan.minutes), step * plan.batch_rows / total)
        if done >= 1:
            break
        _set_rates(optimiser, step, done)
        ids, mask, types = (
            torch.from_numpy(each) for each in pad_pairs([pairs[i] for i in rows], pad_id)
        )
        with autocast:
            logits = module(ids, mask, types)
        loss = torch.nn.functional.cross_entropy(logits.float(), targets[rows])
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        value = float(loss.detach())
        smoothed = value if math.isnan(smoothed) else 0.98 * smoothed + 0.02 * value
        step += 1
        now = time.monotonic()
        progress = JudgeProgress(step, step * plan.batch_rows, smoothed, now - started, done)
        if now - reported > _REPORT_EVERY_S:
            reported = now
            report(progress)
        if now - saved > plan.checkpoint_every_s:
            saved = now
            _save(checkpoint, identity, module, optimiser, progress)
    ended = JudgeProgress(
        step, step * plan.batch_rows, smoothed, time.monotonic() - started, min(done, 1.0)
    )
    _save(checkpoint, identity, module, optimiser, ended)
    report(ended)
    return module.eval(), ended


_MAY_CHANGE = ("minutes", "epochs", "threads", "checkpoint_every_s")
"""What a run that goes on may have otherwise than the one that was stopped."""


def _batches(pairs: Sequence[Pair], plan: JudgePlan, skip: int) -> Iterator[list[int]]:
    """Endless batches of row numbers, an epoch after the other; neighbours in length share a batch."""
    per_epoch = max(len(pairs) // plan.batch_rows, 1)
    epoch, within = divmod(skip, per_epoch)
    while True:
        rng = np.random.default_rng([plan.seed, epoch])
        order = rng.permutation(len(pairs))
        batches: list[list[int]] = []
        bucket = plan.batch_rows * _BUCKET_BATCHES
        for start in range(0, len(order), bucket):
            rows = sorted(order[start : start + bucket].tolist(), key=lambda i: len(pairs[i]))
            batches += [rows[i : i + plan.batch_rows] for i in range(0, len(rows), plan.batch_rows)]
        for at in rng.permutation(len(batches))[within:per_epoch]:
            yield batches[at]
        epoch, within = epoch + 1, 0


def _optimiser(module: CrossEncoder, plan: JudgePlan) -> torch.optim.AdamW:
    for name, parameter in module.backbone.named_parameters():
        if "embeddings" in name:
            parameter.requires_grad_(False)
    body = [p for p in module.backbone.parameters() if p.requires_grad]
    groups: list[dict[str, Any]] = [
        {"params": body, "lr": plan.learning_rate, "peak": plan.learning_rate},
        {
            "params": list(module.head.parameters()),
            "lr": 10 * plan.learning_rate,
            "peak": 10 * plan.learning_rate,
        },
    ]
    return torch.optim.AdamW(groups, weight_decay=0.01)


def _set_rates(optimiser: torch.optim.Optimizer, step: int, done: float) -> None:
    """Linear warm-up over 50 steps and linear decay to a fiftieth at the end of the budget."""
    scale = min(1.0, (step + 1) / 50) * max(0.02, 1.0 - done)
    for group in optimiser.param_groups:
        group["lr"] = scale * group["peak"]


def _save(
    path: Path,
    identity: dict[str, Any],
    module: CrossEncoder,
    optimiser: torch.optim.Optimizer,
    progress: JudgeProgress,
) -> None:
    state = {
        "identity": identity,
        "module": module.state_dict(),
        "optimiser": optimiser.state_dict(),
        "step": progress.step,
        "loss": progress.loss,
        "elapsed_s": progress.elapsed_s,
    }
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.replace(path)


def _resume(
    path: Path, identity: dict[str, Any], module: CrossEncoder, optimiser: torch.optim.Optimizer
) -> tuple[int, float, float]:
    if not path.is_file():
        return 0, 0.0, math.nan
    state = torch.load(path, weights_only=True)
    if state["identity"] != identity:
        raise ModelError(
            f"{path} is the checkpoint of another run ({state['identity']}); delete it, or name another --out; this "
            f"run is {identity}"
        )
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    logger.info("going on from %s at step %d", path, state["step"])
    return int(state["step"]), float(state["elapsed_s"]), float(state["loss"])
