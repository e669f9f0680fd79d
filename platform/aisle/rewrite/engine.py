"""The rewriter over vLLM's asynchronous engine: bounded answers, a deadline that aborts, a cache in front.

The engine lives on an event loop of its own, in one thread, because vLLM binds its tasks to the loop that first
submits a request: so any caller may `await rewrite(...)`, from Serve's loop or from a fresh loop for each batch of an
offline job. Its forward passes run in a process of their own, which `close` ends.

vLLM is imported when the first rewriter is built, not before: it takes seconds, and the rest of aisle works without it.
"""

from __future__ import annotations

import asyncio
import atexit
import itertools
import json
import logging
from collections import Counter
from collections.abc import Coroutine, Sequence
from pathlib import Path
from threading import Thread
from typing import Any, TypeVar

from aisle.cache import Cache
from aisle.errors import DeadlineExceeded, ModelError, StageError
from aisle.rewrite.model import fingerprint_model, resolve_model
from aisle.rewrite.parse import Parsed, parse
from aisle.rewrite.prompt import answer_schema, choose_style, is_too_long, normalise
from aisle.rewrite.runtime import engine_process, import_vllm
from aisle.stages import Deadline, Rewrite

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_WARM_UP_QUERY = "usb cable"
_START_LIMIT_S = 600.0
_CLOSE_LIMIT_S = 5.0
_PROCESS_END_LIMIT_S = 2.0  # vLLM's process has nothing to save; past this it is killed
_GIB = 2**30


class VllmRewriter:
    """Corrects, expands and segments queries with a causal language model; implements `aisle.stages.Rewriter`.

    Safe to call from several tasks, loops and threads. Greedy decoding: the same model and query give the same
    rewrite, up to rounding between batch sizes. Queries past the length bounds of `aisle.rewrite.prompt` come back
    unchanged without asking the model.

    Args:
        model_dir: `builtin`, a folder or a Hugging Face name of any causal language model.
        max_tokens: longest answer; one that is cut off counts as `not_json` and leaves the query unchanged.
        cache_entries: rewrites kept in memory; 0 switches the cache off.
        dtype: vLLM's name of the precision; `auto` takes the weights' own.
        max_model_len: prompt and answer together, in tokens.
        max_num_seqs: queries that the engine decodes at once.
        kv_cache_gib: key-value cache on CPU, where `VLLM_CPU_KVCACHE_SPACE` does not say otherwise.
        gpu_memory_fraction: share of a GPU's memory that the engine may take.
        enforce_eager: skip compilation. None skips it on CPU, where compiling costs more start-up than it saves.

    Attributes:
        fingerprint: sha256 over the model's files.
        cache: the rewrites kept, with its hits and misses.
        counts: how often the model answered (`answered`), each `Fault` of its answers, and queries that came back
            unchanged because they were `too_long`, `refused` by the engine or cut off by the `deadline`.

    Raises:
        ModelError: vLLM is not installed, or the model cannot be found, loaded or asked within `max_model_len`.
    """

    def __init__(
        self,
        model_dir: str | Path,
        *,
        max_tokens: int = 64,
        cache_entries: int = 10_000,
        dtype: str = "auto",
        max_model_len: int = 256,
        max_num_seqs: int = 64,
        kv_cache_gib: float = 0.5,
        gpu_memory_fraction: float = 0.1,
        enforce_eager: bool | None = None,
    ) -> None:
        folder = resolve_model(model_dir)
        vllm = import_vllm()
        self.fingerprint = fingerprint_model(folder)
        self.cache = Cache[str, Rewrite](cache_entries)
        self.counts: Counter[str] = Counter()
        self._request_numbers = itertools.count()
        self._prompt_limit_tokens = max_model_len - max_tokens
        self._engine: Any = None
        self._closed = False

        on_cpu = vllm.current_platform.is_cpu()
        self._tokens_input = vllm.tokens_input
        self._sampling = vllm.SamplingParams(
            temperature=0.0,
            max_tokens=max_tokens,
            structured_outputs=vllm.StructuredOutputsParams(json=json.dumps(answer_schema())),
            output_kind=vllm.RequestOutputKind.FINAL_ONLY,
        )
        arguments = vllm.AsyncEngineArgs(
            model=str(folder),
            dtype=dtype,
            seed=0,
            max_model_len=max_model_len,
            max_num_seqs=max_num_seqs,
            kv_cache_memory_bytes=int(kv_cache_gib * _GIB) if on_cpu else None,
            gpu_memory_utilization=gpu_memory_fraction,
            enforce_eager=on_cpu if enforce_eager is None else enforce_eager,
            structured_outputs_config={"backend": "xgrammar", "disable_any_whitespace": True},
            disable_log_stats=True,
            # On CPU vLLM would put the model into a third process, to pin threads that we leave unpinned.
            distributed_executor_backend=vllm.WatchedExecutor,
        )
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="aisle-rewriter", daemon=True)
        self._thread.start()
        atexit.register(self.close)
        try:
            self._tokenizer = vllm.AutoTokenizer.from_pretrained(folder)
            self._style = choose_style(folder, self._tokenizer)
            self._check_room(folder, max_model_len, max_tokens)
            with engine_process(folder):
                self._run(self._start(vllm.AsyncLLM, arguments), _START_LIMIT_S)
        except ModelError:
            self.close()
            raise
        except Exception as failure:
            self.close()
            raise ModelError(
                f"rewriter model {folder}: vLLM could not load it ({type(failure).__name__}: {failure}); "
                "it has to be a causal language model with its tokenizer, and fit the memory given to it"
            ) from failure

    async def rewrite(self, queries: Sequence[str], deadline: Deadline) -> list[Rewrite]:
        """One rewrite a query, in order; empty input gives an empty list.

        What is not finished by the deadline is aborted in the engine and comes back unchanged, as does an answer that
        fails the checks of `aisle.rewrite.parse`.

        Raises:
            DeadlineExceeded: the model was asked and finished none, and no query of the batch was in the cache.
            StageError: the engine has stopped; the process has to be replaced.
        """
        if self._closed:
            raise StageError("the rewriter is closed; build a new VllmRewriter")
        if not queries:
            return []
        answer = asyncio.run_coroutine_threadsafe(
            self._rewrite(tuple(queries), deadline), self._loop
        )
        try:
            return await asyncio.wrap_future(answer)
        except asyncio.CancelledError:
            if not self._closed:
                raise
            raise StageError("the rewriter was closed while it answered") from None

    async def sample(
        self, queries: Sequence[str], n: int, *, temperature: float = 1.0, seed: int = 0
    ) -> list[list[Parsed]]:
        """`n` answers to each query drawn at a temperature, in order: what search feedback chooses from.

        Nothing is cached, and no deadline counts. A query that is not asked (`is_too_long`) has no answers.

        Raises:
            StageError: the engine has stopped.
        """
        self.check_health()
        drawn = self._sampling.clone()
        drawn.n, drawn.temperature, drawn.seed = n, temperature, seed
        work = self._sample([normalise(query) for query in queries], drawn)
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, self._loop))

    async def _sample(self, texts: list[str], sampling: Any) -> list[list[Parsed]]:
        prompts = [self._ask_with(text) for text in texts]
        asked = [self._generate(tokens, sampling) for tokens in prompts if tokens is not None]
        answers = iter(await asyncio.gather(*asked))
        return [
            [] if tokens is None else [parse(text, answer) for answer in next(answers)]
            for text, tokens in zip(texts, prompts, strict=True)
        ]

    def check_health(self) -> None:
        """Returns while the engine can answer.

        Raises:
            StageError: the engine or its process has stopped.
        """
        if self._closed or self._engine is None or self._engine.errored:
            raise StageError("the rewrite engine has stopped; replace this process")

    def close(self) -> None:
        """Ends the engine's process and thread. Requests under way fail; a second call does nothing."""
        if self._closed:
            return
        self._closed = True
        atexit.unregister(self.close)
        # First the tasks, the engine's own reader among them: it takes the end of its process for a crash.
        self._run(_cancel_all_tasks(), _CLOSE_LIMIT_S)
        engine, self._engine = self._engine, None
        if engine is not None:
            engine.shutdown(timeout=_PROCESS_END_LIMIT_S)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_CLOSE_LIMIT_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _start(self, engine_class: Any, arguments: Any) -> None:
        # Built inside the loop, so that every task of the engine is bound to it from the start.
        self._engine = engine_class.from_engine_args(arguments)
        # The first request compiles the answer's grammar; a shopper should not wait for that.
        await self._generate(self._prompt_tokens(_WARM_UP_QUERY))

    async def _rewrite(self, queries: tuple[str, ...], deadline: Deadline) -> list[Rewrite]:
        normalised = [normalise(query) for query in queries]
        known: dict[str, Rewrite] = {}
        asked: dict[str, list[int]] = {}
        for text in dict.fromkeys(normalised):
            if (cached := self.cache.get(text)) is not None:
                known[text] = cached
            elif (tokens := self._ask_with(text)) is not None:
                asked[text] = tokens
            else:
                known[text] = Rewrite.unchanged(text)
        if asked:
            budget_ms = 1000 * max(0.0, deadline.remaining_s())
            answers = await self._generate_until(asked, deadline)
            if not answers and not known:
                raise DeadlineExceeded(
                    f"rewriter: 0 of {len(asked)} queries were rewritten in the {budget_ms:.1f} ms that were left; "
                    "search the original queries, or raise rewriter.budget_ms"
                )
            known.update(answers)
        return [
            _restore(query, known.get(text))
            for query, text in zip(queries, normalised, strict=True)
        ]

    def _ask_with(self, text: str) -> list[int] | None:
        """The prompt's tokens, or None for a text that the model is not asked about."""
        if not text:
            return None
        if not is_too_long(text):
            tokens = self._prompt_tokens(text)
            if len(tokens) <= self._prompt_limit_tokens:
                return tokens
        self.counts["too_long"] += 1
        return None

    async def _generate_until(
        self, asked: dict[str, list[int]], deadline: Deadline
    ) -> dict[str, Rewrite]:
        """The rewrites that were finished, and had their place in the cache, before the deadline."""
        remaining_s = deadline.remaining_s()
        if remaining_s <= 0:
            self.counts["deadline"] += len(asked)
            return {}
        tasks = {
            text: self._loop.create_task(self._generate(tokens)) for text, tokens in asked.items()
        }
        try:
            await asyncio.wait(tasks.values(), timeout=remaining_s)
        finally:
            unfinished = [task for task in tasks.values() if not task.done()]
            for task in unfinished:
                task.cancel()
            await asyncio.gather(*unfinished, return_exceptions=True)
        answers = {}
        for text, task in tasks.items():
            if task.cancelled():
                self.counts["deadline"] += 1
            else:
                answers[text] = self._read(text, task)
        return answers

    def _read(self, text: str, task: asyncio.Task[list[str]]) -> Rewrite:
        failure = task.exception()
        if failure is not None:
            if self._engine is None or self._engine.errored:
                raise StageError(
                    f"the rewrite engine has stopped ({type(failure).__name__}: {failure}); replace this process"
                ) from failure
            logger.warning("the rewrite engine refused a query: %s", failure)
            self.counts["refused"] += 1
            return Rewrite.unchanged(text)
        parsed = parse(text, task.result()[0])
        self.counts["answered"] += 1
        if parsed.fault is not None:
            self.counts[parsed.fault] += 1
        self.cache.put(text, parsed.rewrite)
        return parsed.rewrite

    async def _generate(self, tokens: list[int], sampling: Any = None) -> list[str]:
        """As many texts as the sampling wants, one by default."""
        request_id = f"rewrite-{next(self._request_numbers)}"
        texts = [""]
        try:
            prompt = self._tokens_input(tokens)
            async for output in self._engine.generate(
                prompt, sampling or self._sampling, request_id
            ):
                texts = [each.text for each in output.outputs]
        except asyncio.CancelledError:
            # NOTE: vLLM aborts a cancelled request only once it is fully submitted; before that it would run on.
            if self._engine is not None:
                await self._engine.abort(request_id)
            raise
        return texts

    def _prompt_tokens(self, text: str) -> list[int]:
        prompt = self._style.render(text)
        tokens: list[int] = self._tokenizer.encode(
            prompt.text, add_special_tokens=prompt.add_special_tokens
        )
        return tokens

    def _check_room(self, folder: Path, max_model_len: int, max_tokens: int) -> None:
        needed = len(self._prompt_tokens(_WARM_UP_QUERY))
        if needed > self._prompt_limit_tokens:
            raise ModelError(
                f"rewriter model {folder}: a prompt takes {needed} tokens and an answer up to {max_tokens}, but "
                f"max_model_len is {max_model_len}; raise it to {needed + max_tokens + 64} or more"
            )

    def _run(self, work: Coroutine[Any, Any, _T], limit_s: float) -> _T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(limit_s)


async def _cancel_all_tasks() -> None:
    """Ends every other task of this loop, so that nobody waits for an answer that will not come."""
    tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _restore(query: str, rewrite: Rewrite | None) -> Rewrite:
    """A rewrite of the normalised query as the rewrite of the query as it was typed."""
    if rewrite is None:
        return Rewrite.unchanged(query)
    unchanged = rewrite.query == rewrite.original
    return Rewrite(
        original=query,
        query=query if unchanged else rewrite.query,
        expansions=rewrite.expansions,
        segments=rewrite.segments,
    )
