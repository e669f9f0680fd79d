"""A judge that is a language model: guidelines first, then a grade from a fixed set, through vLLM.

Any causal language model will do by name; how good its grades are is another matter, and `jobs.judge` measures its
agreement with people before anything else. The answer is constrained to the scale's digits, so that it always is a
grade, and the probabilities of the digits are the judge's own. The rewriter that ships with the package is far too
small to judge anything; it serves to test that the parts fit.
"""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from aisle.errors import ModelError
from aisle.judging.guidelines import grade_prompt, guidelines_prompt
from aisle.judging.judge import Verdicts
from aisle.rewrite.model import fingerprint_model, resolve_model
from aisle.rewrite.runtime import engine_process, import_vllm

logger = logging.getLogger(__name__)

_GIB = 2**30


class LlmJudge:
    """Implements `aisle.judging.Judge` over vLLM. Greedy decoding; not safe to call from several threads.

    Args:
        model: `builtin`, a folder or a Hugging Face name of any causal language model.
        levels: the scale, whole numbers from 0 to 9.
        guideline_tokens: longest guidelines of a query.
        max_model_len: prompt and answer together, in tokens, or fewer where the model has no room for them; of a longer
            prompt both ends are kept.
        kv_cache_gib: key-value cache on CPU.
        gpu_memory_fraction: share of a GPU's memory that the engine may take.

    Raises:
        ModelError: vLLM is not installed, the model cannot be loaded, or the scale does not fit one digit.
    """

    def __init__(
        self,
        model: str | Path,
        levels: Sequence[float],
        *,
        guideline_tokens: int = 160,
        max_model_len: int = 1024,
        kv_cache_gib: float = 0.5,
        gpu_memory_fraction: float = 0.8,
    ) -> None:
        if any(level != int(level) or not 0 <= level <= 9 for level in levels):
            raise ModelError(
                f"the scale {tuple(levels)} is not of whole grades from 0 to 9, which a language model answers in one "
                "digit; judge with a cross-encoder"
            )
        folder = resolve_model(model)
        vllm = import_vllm()
        from vllm import LLM

        self.levels = tuple(float(level) for level in levels)
        self.name = f"llm:{fingerprint_model(folder)[:16]}"
        self.guidelines: dict[str, str] = {}
        """Written so far, by query."""
        self._vllm = vllm
        max_model_len = min(max_model_len, _positions(folder))
        # Both prompts share the room with what is written; a short context is for tests, no judge would have one.
        guideline_tokens = min(guideline_tokens, max_model_len // 2)
        self._max_prompt = max_model_len - max(guideline_tokens, 1)
        on_cpu = vllm.current_platform.is_cpu()
        try:
            with engine_process(folder):
                self._engine: Any = LLM(
                    model=str(folder),
                    seed=0,
                    max_model_len=max_model_len,
                    kv_cache_memory_bytes=int(kv_cache_gib * _GIB) if on_cpu else None,
                    gpu_memory_utilization=gpu_memory_fraction,
                    enforce_eager=on_cpu,
                    disable_log_stats=True,
                    distributed_executor_backend=vllm.WatchedExecutor,
                )
        except Exception as failure:
            raise ModelError(
                f"judge model {folder}: vLLM could not load it ({type(failure).__name__}: {failure}); it has to be a "
                f"causal language model with room for {max_model_len} tokens"
            ) from failure
        self._tokenizer: Any = self._engine.get_tokenizer()
        self._write = vllm.SamplingParams(temperature=0.0, max_tokens=guideline_tokens)
        self._answer = vllm.SamplingParams(
            temperature=0.0,
            max_tokens=1,
            logprobs=len(self.levels),
            structured_outputs=vllm.StructuredOutputsParams(
                choice=[f"{level:g}" for level in self.levels]
            ),
        )

    def judge(self, queries: Sequence[str], products: Sequence[str]) -> Verdicts:
        """See `Judge`; guidelines are written once a query and kept."""
        fresh = [query for query in dict.fromkeys(queries) if query not in self.guidelines]
        written = self._generate([guidelines_prompt(q, self.levels) for q in fresh], self._write)
        for query, output in zip(fresh, written, strict=True):
            self.guidelines[query] = output.outputs[0].text
        prompts = [
            grade_prompt(query, self.guidelines[query], product, self.levels)
            for query, product in zip(queries, products, strict=True)
        ]
        rows = [self._distribution(each) for each in self._generate(prompts, self._answer)]
        return Verdicts(self.levels, np.array(rows, np.float64).reshape(-1, len(self.levels)))

    def close(self) -> None:
        """Ends the engine's process; a second call does nothing."""
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.llm_engine.engine_core.shutdown()

    def _generate(self, prompts: Sequence[str], sampling: Any) -> list[Any]:
        if not prompts:
            return []
        inputs = [self._vllm.tokens_input(self._tokens(prompt)) for prompt in prompts]
        outputs: list[Any] = self._engine.generate(inputs, sampling, use_tqdm=False)
        return outputs

    def _tokens(self, prompt: str) -> list[int]:
        """The prompt's tokens, as a chat where the model has a template; the middle is cut where it is too long."""
        if getattr(self._tokenizer, "chat_template", None):
            message = [{"role": "user", "content": prompt}]
            tokens: list[int] = list(
                self._tokenizer.apply_chat_template(
                    message, add_generation_prompt=True, tokenize=True, return_dict=False
                )
            )
        else:
            tokens = list(self._tokenizer.encode(prompt))
        if len(tokens) > self._max_prompt:
            # Both ends matter: the query stands in front, the product and the question at the end.
            front = self._max_prompt // 2
            tokens = tokens[:front] + tokens[len(tokens) - (self._max_prompt - front) :]
        return tokens

    def _distribution(self, output: Any) -> list[float]:
        """Probabilities of the levels from the log probabilities of the answer's token, scaled to sum to 1."""
        place = {f"{level:g}": i for i, level in enumerate(self.levels)}
        masses = [0.0] * len(self.levels)
        answer = output.outputs[0]
        for token in answer.logprobs[0].values():
            at = place.get((token.decoded_token or "").strip())
            if at is not None and math.isfinite(token.logprob):
                masses[at] += math.exp(token.logprob)
        total = sum(masses)
        if total <= 0.0:  # only the chosen digit is certain
            masses[place[answer.text.strip()]] = total = 1.0
        return [mass / total for mass in masses]


def _positions(folder: Path) -> int:
    """How many tokens a model was made for."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    return int(config.get("max_position_embeddings") or 2**31)
