"""Trains the segmenter: a small sentence encoder with a tag classifier on top, fine-tuned on tagged queries, on CPU.

Notable decisions:

* It starts from the retrieval encoder's weights, which know what products are called; 7,800 queries are too few to
  learn that from.
* Word embeddings stay as they are: half of the weights, none of which this little text could improve, and training is
  a third faster without them.
* Only a word's first piece carries a loss and is read; queries are lower-cased, as shoppers write.
* The learning rate falls with the share of the budget that is used up, so a run of any length ends annealed. Of the
  epochs' ends the one with the best entity F1 on queries held out of training is kept, never the test queries'.
"""

from __future__ import annotations

import copy
import logging
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from aisle.errors import ModelError
from aisle.rewrite.entities import EntityScore, entity_score
from aisle.rewrite.segmenter import MAX_PIECES, allowed_moves, best_path, first_pieces
from aisle.rewrite.training.tagged import TaggedQuery, tags_of

logger = logging.getLogger(__name__)

_IGNORED = -100


@dataclass(frozen=True)
class SegmenterPlan:
    """The choices of a run; training ends with `epochs` or `minutes`, whichever comes first."""

    minutes: float = 30.0
    epochs: int = 6
    batch: int = 64
    rate: float = 2.5e-4
    head_rate: float = 2.5e-3
    warm_up_steps: int = 50
    dropout: float = 0.1
    label_smoothing: float = 0.05
    held_out_fraction: float = 0.08
    seed: int = 7
    threads: int = 1


@dataclass(frozen=True)
class Epoch:
    """Where a run stood at the end of an epoch."""

    epoch: int
    steps: int
    loss: float
    held_out: EntityScore
    elapsed_s: float


class TagModule(nn.Module):
    """Token ids and mask, int64 (n, t), to tag scores (n, t, tags)."""

    def __init__(self, folder: Path, tags: int, dropout: float) -> None:
        super().__init__()
        from transformers import AutoModel

        # Explicit attention: fused kernels decompose differently from one torch release to the next.
        self.encoder: Any = AutoModel.from_pretrained(str(folder), attn_implementation="eager")
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.encoder.config.hidden_size, tags)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """See the class."""
        states = self.encoder(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        scores: Tensor = self.head(self.dropout(states))
        return scores


def train_segmenter(
    plan: SegmenterPlan,
    folder: Path,
    queries: Sequence[TaggedQuery],
    report: Callable[[Epoch], None],
) -> tuple[TagModule, Any, tuple[str, ...], Epoch]:
    """Trains on tagged queries.

    Args:
        plan: how long and how.
        folder: a transformers encoder and its tokenizer.
        queries: to train on; a share is held out to choose the epoch.
        report: called at the end of every epoch.

    Returns:
        The module in evaluation mode, its tokenizer, its tags, and the epoch that was kept.

    Raises:
        ModelError: too few queries to hold any out, or the folder's tokenizer cannot say which word a piece is of.
    """
    from transformers import AutoTokenizer

    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    rng = random.Random(plan.seed)
    shuffled = list(queries)
    rng.shuffle(shuffled)
    held = int(plan.held_out_fraction * len(shuffled))
    if held < 1:
        raise ModelError(
            f"{len(shuffled)} tagged queries are too few to hold {plan.held_out_fraction:.0%} of them out; "
            f"give at least {round(1 / plan.held_out_fraction) + 1}"
        )
    kept_out, rest = shuffled[:held], shuffled[held:]
    tokenizer: Any = AutoTokenizer.from_pretrained(str(folder))
    if not tokenizer.is_fast:
        raise ModelError(f"{folder}: its tokenizer is a slow one; a tokenizer.json is needed")
    tags = tags_of(queries)
    model = TagModule(folder, len(tags), plan.dropout)
    model.encoder.embeddings.requires_grad_(False)
    optimiser = _optimiser(model, plan)
    base_rates = [group["lr"] for group in optimiser.param_groups]
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())
    steps_an_epoch = -(-len(rest) // plan.batch)
    started, step, smoothed = time.monotonic(), 0, float("nan")
    best: tuple[Epoch, dict[str, Tensor]] | None = None
    for epoch in range(1, plan.epochs + 1):
        model.train()
        done = 0.0
        for rows in _batches(rest, plan.batch, rng):
            elapsed_s = time.monotonic() - started
            done = max(step / (plan.epochs * steps_an_epoch), elapsed_s / (60 * plan.minutes))
            if done >= 1:
                break
            for group, rate in zip(optimiser.param_groups, base_rates, strict=True):
                group["lr"] = rate * min(1.0, (step + 1) / plan.warm_up_steps) * (1 - done)
            inputs, mask, wanted = _encoded(rows, tokenizer, tags)
            with autocast:
                scores = model(inputs, mask)
            loss = nn.functional.cross_entropy(
                scores.float().flatten(0, 1),
                wanted.flatten(),
                ignore_index=_IGNORED,
                label_smoothing=plan.label_smoothing,
            )
            optimiser.zero_grad()
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            step += 1
            value = float(loss.detach())
            smoothed = value if step == 1 else 0.98 * smoothed + 0.02 * value
        score = measure_segmenter(model, tokenizer, tags, kept_out)
        ended = Epoch(epoch, step, smoothed, score, time.monotonic() - started)
        report(ended)
        if best is None or score.f1 > best[0].held_out.f1:
            best = ended, copy.deepcopy(model.state_dict())
        if done >= 1:
            break
    if best is None:
        raise ModelError(f"no epoch was trained: epochs is {plan.epochs}; give at least 1")
    model.load_state_dict(best[1])
    return model.eval(), tokenizer, tags, best[0]


def measure_segmenter(
    model: TagModule, tokenizer: Any, tags: Sequence[str], queries: Sequence[TaggedQuery]
) -> EntityScore:
    """Entity F1 of a module in torch; the exported one is measured where it is served."""
    model.eval()
    moves = allowed_moves(tags)
    pairs = []
    for begin in range(0, len(queries), 64):
        rows = queries[begin : begin + 64]
        inputs, mask, _ = _encoded(rows, tokenizer, tags)
        with torch.inference_mode():
            scores = model(inputs, mask).float().numpy()
        firsts = _first_pieces(rows, tokenizer)
        for row, of_pieces, first in zip(rows, scores, firsts, strict=True):
            path = best_path(of_pieces[first[first >= 0]], *moves)
            found = [tags[i] for i in path] + ["O"] * int((first < 0).sum())
            pairs.append((row.tags, found))
    return entity_score(pairs)


def _optimiser(model: TagModule, plan: SegmenterPlan) -> torch.optim.AdamW:
    body = [p for p in model.encoder.parameters() if p.requires_grad]
    groups = [
        {"params": body, "lr": plan.rate},
        {"params": list(model.head.parameters()), "lr": plan.head_rate},
    ]
    return torch.optim.AdamW(groups, weight_decay=0.01, fused=True)


def _batches(
    queries: Sequence[TaggedQuery], size: int, rng: random.Random
) -> list[list[TaggedQuery]]:
    """Batches of about equally long queries, in random order."""
    order = sorted(queries, key=lambda each: len(each.words) + 3 * rng.random())
    batches = [order[i : i + size] for i in range(0, len(order), size)]
    rng.shuffle(batches)
    return batches


def _encoded(
    rows: Sequence[TaggedQuery], tokenizer: Any, tags: Sequence[str]
) -> tuple[Tensor, Tensor, Tensor]:
    """Ids, mask and wanted tags, all int64 (n, t); pieces that are not a word's first are ignored."""
    encoding = _tokenised(rows, tokenizer)
    wanted = torch.full(encoding["input_ids"].shape, _IGNORED)
    for i, row in enumerate(rows):
        first = first_pieces(encoding.word_ids(i), len(row.words))
        for at, tag in zip(first, row.tags, strict=True):
            if at >= 0:
                wanted[i, at] = tags.index(tag)
    return encoding["input_ids"], encoding["attention_mask"], wanted


def _first_pieces(rows: Sequence[TaggedQuery], tokenizer: Any) -> list[Any]:
    encoding = _tokenised(rows, tokenizer)
    return [first_pieces(encoding.word_ids(i), len(row.words)) for i, row in enumerate(rows)]


def _tokenised(rows: Sequence[TaggedQuery], tokenizer: Any) -> Any:
    return tokenizer(
        [list(row.words) for row in rows],
        is_split_into_words=True,
        padding=True,
        truncation=True,
        max_length=MAX_PIECES,
        return_tensors="pt",
    )
