"""Trains the small language model that the rewriter runs: a Llama of a few million weights, from nothing, on CPU.

Notable decisions:

* Examples are generated as training goes, never twice the same, so nothing is learnt by heart but the shop's words.
* Only the answer's tokens carry a loss; the prompt is what shoppers type and need not be predicted.
* The learning rate follows the share of the time budget that is used up, so a run of any length ends annealed.
* Weight matrices are trained with Muon (orthogonalised momentum, https://kellerjordan.github.io/posts/muon/), the rest
  with AdamW: on this task it reached a given loss in less time than AdamW alone.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from aisle.errors import ModelError
from aisle.rewrite.prompt import compact_answer, compact_prompt
from aisle.rewrite.training.examples import Example, Source, generate_examples
from aisle.rewrite.training.tokenizer import train_tokenizer

logger = logging.getLogger(__name__)

_IGNORED = -100
_CHUNK_EXAMPLES = 8192
_REPORT_EVERY_S = 30.0


@dataclass(frozen=True)
class TrainingPlan:
    """The choices of a run. `examples` bounds what is seen, whichever of it and `minutes` comes first."""

    minutes: float = 25.0
    seed: int = 7
    examples: int | None = None
    vocabulary: int = 1024
    tokenizer_examples: int = 30_000
    hidden: int = 192
    layers: int = 4
    heads: int = 3
    intermediate: int = 512
    batch: int = 48
    muon_rate: float = 0.02
    adam_rate: float = 0.003
    threads: int = 1
    checkpoint_every_s: float = 120.0


@dataclass(frozen=True)
class Progress:
    """How far a run is."""

    step: int
    examples: int
    loss: float
    elapsed_s: float
    left_s: float


Report = Callable[[Progress], None]


def train(
    plan: TrainingPlan,
    work_dir: Path,
    report: Report,
    source: Source = generate_examples,
    start: tuple[Any, Any] | None = None,
) -> tuple[Any, Any, Progress]:
    """Trains a model and its tokenizer, or goes on with the run that `work_dir` holds a checkpoint of.

    A run that stops at its time budget depends on the machine's speed; with `examples` reached first it repeats
    exactly for the same seed and thread count.

    Args:
        plan: what to train and for how long; a checkpoint of another plan is refused.
        work_dir: where the checkpoint is kept, made if missing.
        report: called about twice a minute and at the end.
        source: of the examples; a checkpoint does not know it, so give every source a `work_dir` of its own.
        start: model and tokenizer to begin with, the model is changed in place; a new pair where none.

    Returns:
        A `LlamaForCausalLM` in evaluation mode, its tokenizer, and where the run ended.
    """
    torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)
    work_dir.mkdir(parents=True, exist_ok=True)
    if start is None:
        tokenizer = _tokenizer_of(plan, source)
        model = build_model(plan, tokenizer)
    else:
        model, tokenizer = start[0].float(), start[1]
    optimisers = _optimisers(plan, model)
    checkpoint = work_dir / "checkpoint.pt"
    step, elapsed_s, smoothed = _resume(checkpoint, plan, model, optimisers)
    autocast = torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported())
    budget_s = 60 * plan.minutes

    model.train()
    started = time.monotonic() - elapsed_s
    saved = reported = time.monotonic()
    for inputs, labels in _batches(plan, tokenizer, source, skip=step):
        elapsed_s = time.monotonic() - started
        done = elapsed_s / budget_s
        if plan.examples is not None:
            done = max(done, step * plan.batch / plan.examples)
        if done >= 1:
            break
        _set_rates(optimisers, step, done)
        with autocast:
            states = model.model(input_ids=inputs, use_cache=False).last_hidden_state[:, :-1]
            wanted = labels[:, 1:]
            answer = wanted != _IGNORED
            logits = model.lm_head(states[answer])
        loss = torch.nn.functional.cross_entropy(logits.float(), wanted[answer])
        torch.autograd.backward(loss)
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for optimiser in optimisers:
            optimiser.step()
            optimiser.zero_grad()
        value = float(loss.detach())
        smoothed = value if math.isnan(smoothed) else 0.98 * smoothed + 0.02 * value
        step += 1
        now = time.monotonic()
        if now - reported > _REPORT_EVERY_S:
            reported = now
            report(_progress(plan, step, smoothed, now - started))
        if now - saved > plan.checkpoint_every_s:
            saved = now
            _save(
                checkpoint, plan, model, optimisers, _progress(plan, step, smoothed, now - started)
            )
    ended = _progress(plan, step, smoothed, time.monotonic() - started)
    _save(checkpoint, plan, model, optimisers, ended)
    report(ended)
    return model.eval(), tokenizer, ended


def build_model(plan: TrainingPlan, tokenizer: Any) -> Any:
    """A freshly initialised `LlamaForCausalLM` with tied embeddings."""
    import transformers

    library: Any = transformers  # it types its classes only in part
    config = library.LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=plan.hidden,
        intermediate_size=plan.intermediate,
        num_hidden_layers=plan.layers,
        num_attention_heads=plan.heads,
        num_key_value_heads=plan.heads,
        max_position_embeddings=256,
        tie_word_embeddings=True,
        bos_token_id=None,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        attn_implementation="sdpa",
    )
    return library.LlamaForCausalLM(config)


def save_model(model: Any, tokenizer: Any, out: Path) -> None:
    """Writes a folder that transformers and vLLM load: half-precision safetensors and the tokenizer's files."""
    out.mkdir(parents=True, exist_ok=True)
    model.to(torch.float16).save_pretrained(out)
    tokenizer.save_pretrained(out)
    for path in out.iterdir():
        path.chmod(0o644)  # safetensors writes files that only their owner may read


def _tokenizer_of(plan: TrainingPlan, source: Source) -> Any:
    def texts() -> Iterator[str]:
        for example in source(plan.tokenizer_examples, plan.seed):
            rewrite = example.rewrite
            for text in (rewrite.original, rewrite.query, *rewrite.expansions):
                yield f" {text}"

    return train_tokenizer(texts(), plan.vocabulary)


def _batches(
    plan: TrainingPlan, tokenizer: Any, source: Source, skip: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Endless batches of int64 (batch, longest), padded at the right; labels are `_IGNORED` outside the answer."""
    a_chunk = _CHUNK_EXAMPLES // plan.batch
    chunk, within = divmod(skip, a_chunk)
    while True:
        examples = list(source(a_chunk * plan.batch, plan.seed * 1_000_003 + chunk))
        rows = sorted(_encode(examples, tokenizer), key=lambda row: len(row[0]) + len(row[1]))
        # Neighbours in length share a batch, so little is padding; the batches themselves come in random order.
        starts = torch.randperm(a_chunk, generator=torch.Generator().manual_seed(chunk)).tolist()
        for at in starts[within:]:
            yield _pad(rows[at * plan.batch : (at + 1) * plan.batch], tokenizer.pad_token_id)
        chunk, within = chunk + 1, 0


def _encode(examples: list[Example], tokenizer: Any) -> list[tuple[list[int], list[int]]]:
    rewrites = [example.rewrite for example in examples]
    prompts = tokenizer([compact_prompt(r.original) for r in rewrites])["input_ids"]
    answers = tokenizer([compact_answer(r) for r in rewrites])["input_ids"]
    end = tokenizer.eos_token_id
    return [(prompt, [*answer, end]) for prompt, answer in zip(prompts, answers, strict=True)]


def _pad(rows: list[tuple[list[int], list[int]]], padding: int) -> tuple[Tensor, Tensor]:
    longest = max(len(prompt) + len(answer) for prompt, answer in rows)
    inputs = torch.full((len(rows), longest), padding)
    labels = torch.full((len(rows), longest), _IGNORED)
    for i, (prompt, answer) in enumerate(rows):
        total = len(prompt) + len(answer)
        inputs[i, :total] = torch.tensor(prompt + answer)
        labels[i, len(prompt) : total] = torch.tensor(answer)
    return inputs, labels


def _optimisers(plan: TrainingPlan, model: Any) -> list[torch.optim.Optimizer]:
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    return [
        torch.optim.Muon(matrices, lr=plan.muon_rate, momentum=0.95, weight_decay=0.01),
        torch.optim.AdamW(others, lr=plan.adam_rate, betas=(0.9, 0.98), weight_decay=0.0),
    ]


def _set_rates(optimisers: list[torch.optim.Optimizer], step: int, done: float) -> None:
    """Linear warm-up over 60 steps, constant to 40 % of the run, then linear to a fiftieth."""
    scale = min(1.0, (step + 1) / 60) * min(1.0, max(0.02, (1 - done) / 0.6))
    for optimiser in optimisers:
        for group in optimiser.param_groups:
            group["lr"] = scale * group.setdefault("peak_lr", group["lr"])


def _progress(plan: TrainingPlan, step: int, loss: float, elapsed_s: float) -> Progress:
    left_s = 60 * plan.minutes - elapsed_s
    if plan.examples is not None and step:
        left_s = min(left_s, elapsed_s * (plan.examples / (step * plan.batch) - 1))
    return Progress(step, step * plan.batch, loss, elapsed_s, max(0.0, left_s))


def _save(
    path: Path,
    plan: TrainingPlan,
    model: Any,
    optimisers: list[torch.optim.Optimizer],
    progress: Progress,
) -> None:
    state = {
        "plan": _identity(plan),
        "model": model.state_dict(),
        "optimisers": [optimiser.state_dict() for optimiser in optimisers],
        "step": progress.step,
        "loss": progress.loss,
        "elapsed_s": progress.elapsed_s,
    }
    unfinished = path.with_suffix(".part")
    torch.save(state, unfinished)
    unfinished.replace(path)


def _resume(
    path: Path, plan: TrainingPlan, model: Any, optimisers: list[torch.optim.Optimizer]
) -> tuple[int, float, float]:
    """Loads a checkpoint if there is one; gives its step, the seconds it took so far and its loss."""
    if not path.is_file():
        return 0, 0.0, math.nan
    state = torch.load(path, weights_only=True)
    if state["plan"] != _identity(plan):
        raise ModelError(
            f"{path} is the checkpoint of another training plan ({state['plan']}); "
            f"delete it or give another --work; this plan is {_identity(plan)}"
        )
    model.load_state_dict(state["model"])
    for optimiser, saved in zip(optimisers, state["optimisers"], strict=True):
        optimiser.load_state_dict(saved)
    logger.info("going on from %s at step %d", path, state["step"])
    return int(state["step"]), float(state["elapsed_s"]), float(state["loss"])


def _identity(plan: TrainingPlan) -> dict[str, object]:
    """What a checkpoint has to agree in: all but how long and with how many threads to go on."""
    ignored = ("minutes", "examples", "threads", "checkpoint_every_s")
    return {name: value for name, value in asdict(plan).items() if name not in ignored}
