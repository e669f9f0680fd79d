"""Fine-tunes a sentence encoder on a shop's judgments, on CPU.

Notable decisions:

* Texts are cut shorter than in serving and encoded in groups of about equal length: padding would cost most of it.
* Where the CPU has bfloat16 units the matrix products use them (autocast; weights, loss and optimiser stay float32).
* Attention is spelled out (`eager`): on a CPU the fused kernel's backward pass took half of a step (jobs/LOG.md).
* Dropout is off: runs are a few passes long and selected on dev, and a step without it is cheaper.
* The learning rate follows the share of the budget that is used up, so a run of any length ends annealed.
* The dev split is measured as training goes, the start included, and the best state is what comes out: a set too small
  to learn from gives back the model that it began with.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from aisle.embed.recipe import read_recipe, source_sha256
from aisle.embed.sentence import SentenceModule, load_sentence_module, load_tokenizer
from aisle.embed.spec import Side
from aisle.embed.tokens import TextTokens, batches_by_length, pad
from aisle.embed.training.batches import Batch, Batches, BatchPlan
from aisle.embed.training.loss import graded_contrastive_loss
from aisle.embed.training.material import Material
from aisle.embed.training.measure import DevScore, DevSet
from aisle.errors import ModelError

logger = logging.getLogger(__name__)

_GROUP_ROWS = 64
_NEIGHBOURS = 12


@dataclass(frozen=True)
class TrainingPlan:
    """The choices of a run; it ends with `minutes` or `steps`, whichever comes first.

    The learning rate falls with the steps where they are given, else with the time.
    """

    minutes: float = 30.0
    steps: int | None = None
    threads: int = 1
    checkpoint_every_s: float = 120.0
    report_every_s: float = 60.0
    measure_every_s: float = 300.0
    """Dev is measured this often, and at the start and the end."""
    measure_every_steps: int | None = None
    """Dev is measured after so many steps instead: what a run of fixed steps repeats exactly with."""
    learning_rate: float = 6e-5
    warmup_steps: int = 20
    weight_decay: float = 0.01
    scale: float = 20.0
    """Inverse temperature of the loss."""
    document_tokens: int = 40
    query_tokens: int = 24
    query_prefix: str = ""
    document_prefix: str = ""
    dev_queries: int = 200
    dev_others: int = 1500
    batch: BatchPlan = field(default_factory=BatchPlan)


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    step: int
    loss: float
    elapsed_s: float
    best_step: int
    dev: tuple[tuple[int, float, float], ...]
    """Each measurement: step, ndcg@10 over the pool, ndcg@10 over the judged pairs."""


Report = Callable[[Progress], None]


@dataclass
class _Run:
    """State of a run, all of it in the checkpoint."""

    step: int = 0
    elapsed_s: float = 0.0
    loss: float = math.nan
    best_step: int = 0
    best_value: float = -math.inf
    best: dict[str, Tensor] = field(default_factory=dict)
    dev: list[tuple[int, float, float]] = field(default_factory=list)

    def progress(self) -> Progress:
        return Progress(self.step, self.loss, self.elapsed_s, self.best_step, tuple(self.dev))


class Trainee:
    """The model with its tokenizer: texts in, unit vectors out, with or without gradients."""

    def __init__(self, folder: Path, plan: TrainingPlan) -> None:
        recipe = read_recipe(folder)
        tokenizer_json, self._pad_id, _ = load_tokenizer(recipe)
        self.source = source_sha256(recipe)
        self.tokenizer_json = tokenizer_json
        self.module: SentenceModule = load_sentence_module(recipe, attention="eager")
        for part in self.module.modules():
            if isinstance(part, torch.nn.Dropout):
                part.p = 0.0
        self._tokens = {
            "query": _side(tokenizer_json, plan.query_tokens, plan.query_prefix, self._pad_id),
            "document": _side(
                tokenizer_json, plan.document_tokens, plan.document_prefix, self._pad_id
            ),
        }
        fast = torch.cpu._is_avx512_bf16_supported()
        self._autocast: Callable[[], Any] = lambda: torch.autocast(
            "cpu", torch.bfloat16, enabled=fast
        )

    def vectors(self, texts: Sequence[str], kind: str) -> Tensor:
        """Float32 (n, d), unit rows, with gradients where they are enabled."""
        ids = self._tokens[kind].ids(texts)
        parts, places = [], []
        for numbers in batches_by_length(ids, max_rows=_GROUP_ROWS):
            padded, mask = pad([ids[i] for i in numbers], self._pad_id)
            with self._autocast():
                parts.append(self.module(torch.from_numpy(padded), torch.from_numpy(mask)).float())
            places += numbers
        return torch.cat(parts)[torch.from_numpy(np.argsort(places))]

    def encode(self, texts: Sequence[str], kind: str) -> NDArray[np.float32]:
        """The same without gradients, as an array."""
        self.module.eval()
        with torch.inference_mode():
            array: NDArray[np.float32] = self.vectors(texts, kind).numpy()
        self.module.train()
        return array


def train_encoder(
    folder: Path,
    material: Material,
    dev: Material,
    plan: TrainingPlan,
    work_dir: Path,
    report: Report = lambda _: None,
) -> tuple[SentenceModule, Progress]:
    """Trains the model in `folder`, or goes on with the run that `work_dir` holds a checkpoint of.

    With `steps` reached before `minutes` and `measure_every_steps` set, a seed and a thread count give the same weights
    whether the run was interrupted or not.

    Args:
        folder: a sentence-transformers folder; see `aisle.embed.resolve_model`.
        material: of the train split.
        dev: of the dev split, over the same catalogue.
        plan: what to train and for how long.
        work_dir: where the checkpoint is kept, made if missing.
        report: called about once a minute and at the end.

    Returns:
        The module in the state that was best on dev, in evaluation mode, and where the run ended.

    Raises:
        ModelError: the model cannot be loaded, the checkpoint is another run's, or the loss is not finite.
    """
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.batch.seed)
    trainee = Trainee(folder, plan)
    module = trainee.module
    optimiser = torch.optim.AdamW(
        module.parameters(), lr=plan.learning_rate, weight_decay=plan.weight_decay, fused=True
    )
    work_dir.mkdir(parents=True, exist_ok=True)
    checkpoint = work_dir / "checkpoint.pt"
    identity = _identity(plan, trainee.source, material)
    neighbours = similar_queries(trainee.encode(material.queries, "query"), _NEIGHBOURS)
    dev_set = DevSet(dev, queries=plan.dev_queries, others=plan.dev_others, seed=plan.batch.seed)
    run = _resume(checkpoint, identity, module, optimiser)
    if not run.dev:
        _measure(run, trainee, dev_set)
    module.train()
    started = time.monotonic() - run.elapsed_s
    saved = measured = reported = time.monotonic()
    for batch in Batches(material, plan.batch, neighbours).after(run.step):
        run.elapsed_s = time.monotonic() - started
        done = _share_done(plan, run)
        if done >= 1:
            break
        _set_rate(optimiser, plan, run.step, done)
        loss = _loss(trainee, material, batch, plan.scale)
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(module.parameters(), 1.0)
        optimiser.step()
        optimiser.zero_grad()
        value = float(loss.detach())
        if not math.isfinite(value):
            raise ModelError(
                f"step {run.step}: the loss is {value}; start again with a lower learning rate ({plan.learning_rate:g})"
            )
        run.loss = value if math.isnan(run.loss) else 0.95 * run.loss + 0.05 * value
        run.step += 1
        now = time.monotonic()
        if _measure_is_due(plan, run.step, now - measured):
            _measure(run, trainee, dev_set)
            measured = time.monotonic()
        if now - saved > plan.checkpoint_every_s:
            run.elapsed_s = time.monotonic() - started
            _save(checkpoint, identity, module, optimiser, run)
            saved = time.monotonic()
        if now - reported > plan.report_every_s:
            reported = now
            report(run.progress())
    if run.dev[-1][0] != run.step:
        _measure(run, trainee, dev_set)
    _save(checkpoint, identity, module, optimiser, run)
    report(run.progress())
    module.load_state_dict(run.best)
    return module.eval(), run.progress()


def similar_queries(vectors: NDArray[np.float32], m: int) -> NDArray[np.int64]:
    """The `m` queries nearest to each of (q, d) unit vectors, nearest first, itself left out: int64 (q, m or fewer)."""
    m = min(m, len(vectors) - 1)
    nearest = np.empty((len(vectors), m), dtype=np.int64)
    for start in range(0, len(vectors), 1024):
        cosines = vectors[start : start + 1024] @ vectors.T
        cosines[np.arange(len(cosines)), np.arange(start, start + len(cosines))] = -np.inf
        nearest[start : start + 1024] = np.argsort(-cosines, axis=1, kind="stable")[:, :m]
    return nearest


def _loss(trainee: Trainee, material: Material, batch: Batch, scale: float) -> Tensor:
    queries = trainee.vectors(batch.queries, "query")  # (q, d)
    documents = trainee.vectors(
        [material.documents[row] for row in batch.rows], "document"
    )  # (n, d)
    return graded_contrastive_loss(
        queries @ documents.T,
        torch.from_numpy(batch.gains),
        torch.from_numpy(batch.left_out),
        scale,
    )


def _measure(run: _Run, trainee: Trainee, dev_set: DevSet) -> DevScore:
    score = dev_set.score_cosines(
        trainee.encode(dev_set.queries, "query") @ trainee.encode(dev_set.documents, "document").T
    )
    run.dev.append((run.step, round(score.ndcg, 4), round(score.ndcg_pairs, 4)))
    if score.value > run.best_value:
        run.best_value, run.best_step = score.value, run.step
        run.best = {
            name: each.detach().clone() for name, each in trainee.module.state_dict().items()
        }
    logger.info(
        "step %d: dev ndcg@10 %.4f in the pool, %.4f over judged pairs; best is step %d",
        run.step,
        score.ndcg,
        score.ndcg_pairs,
        run.best_step,
    )
    return score


def _measure_is_due(plan: TrainingPlan, step: int, since_s: float) -> bool:
    if plan.measure_every_steps is not None:
        return step % plan.measure_every_steps == 0
    return since_s > plan.measure_every_s


def _share_done(plan: TrainingPlan, run: _Run) -> float:
    """Share of the budget that is used up: of the steps where they are given, else of the time; 1 ends the run."""
    elapsed = run.elapsed_s / (60 * plan.minutes)
    if plan.steps is None or elapsed >= 1:
        return min(elapsed, 1.0)
    return run.step / plan.steps if plan.steps else 1.0


def _set_rate(optimiser: torch.optim.Optimizer, plan: TrainingPlan, step: int, done: float) -> None:
    """Linear warm-up, then linear down to nothing at the end of the budget."""
    scale = min(1.0, (step + 1) / plan.warmup_steps) * (1 - done)
    for group in optimiser.param_groups:
        group["lr"] = plan.learning_rate * scale


def _side(tokenizer_json: str, max_tokens: int, prefix: str, pad_id: int) -> TextTokens:
    return TextTokens(tokenizer_json, Side("fp32", max_tokens, prefix), pad_id)


def _identity(plan: TrainingPlan, source: str, material: Material) -> dict[str, object]:
    """What a checkpoint has to agree in: all but how long, how often and with how many threads to go on."""
    ignored = (
        "minutes",
        "steps",
        "threads",
        "checkpoint_every_s",
        "report_every_s",
        "measure_every_s",
    )
    kept = {name: value for name, value in asdict(plan).items() if name not in ignored}
    data = [len(material.queries), len(material.documents), sum(map(len, material.judged))]
    return {**kept, "source": source, "data": data}


def _save(
    path: Path,
    identity: dict[str, object],
    module: SentenceModule,
    optimiser: torch.optim.Optimizer,
    run: _Run,
) -> None:
    unfinished = path.with_suffix(".part")
    torch.save(
        {
            "identity": identity,
            "module": module.state_dict(),
            "optimiser": optimiser.state_dict(),
            "run": vars(run),
        },
        unfinished,
    )
    unfinished.replace(path)


def _resume(
    path: Path,
    identity: dict[str, object],
    module: SentenceModule,
    optimiser: torch.optim.Optimizer,
) -> _Run:
    if not path.is_file():
        return _Run()
    state = torch.load(path, weights_only=True)
    if state["identity"] != identity:
        differs = [key for key in identity if state["identity"].get(key) != identity[key]]
        raise ModelError(
            f"{path} is the checkpoint of another run, it differs in {', '.join(differs)}; delete it to start anew"
        )
    module.load_state_dict(state["module"])
    optimiser.load_state_dict(state["optimiser"])
    run = _Run(**state["run"])
    logger.info("going on from %s at step %d", path, run.step)
    return run
