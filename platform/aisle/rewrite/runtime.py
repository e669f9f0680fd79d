"""vLLM as an optional part: imported once it is needed, with the environment that it reads while it is.

The settings that vLLM takes only from environment variables are written here and nowhere else, and never over a value
that the operator has given.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from aisle.errors import ModelError

_ENVIRONMENT = {
    # Letting vLLM pin threads to cores fails in containers that hide the machine's topology.
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",
    "VLLM_LOGGING_LEVEL": "WARNING",
    "VLLM_NO_USAGE_STATS": "1",
}
_CUDA_LINKED = ("torchvision", "torchaudio", "torchcodec")
_SMALL_MODEL_BYTES = 64 * 2**20


class Vllm:
    """The names that the rewriter needs of vLLM and transformers, imported together."""

    def __init__(self) -> None:
        from transformers import AutoTokenizer
        from vllm import AsyncEngineArgs, SamplingParams
        from vllm.inputs import tokens_input
        from vllm.platforms import current_platform
        from vllm.sampling_params import RequestOutputKind, StructuredOutputsParams
        from vllm.v1.engine.async_llm import AsyncLLM

        from aisle.rewrite.executor import WatchedExecutor

        self.AutoTokenizer: Any = AutoTokenizer
        self.AsyncEngineArgs: Any = AsyncEngineArgs
        self.AsyncLLM: Any = AsyncLLM
        self.RequestOutputKind: Any = RequestOutputKind
        self.SamplingParams: Any = SamplingParams
        self.StructuredOutputsParams: Any = StructuredOutputsParams
        self.WatchedExecutor: Any = WatchedExecutor
        self.current_platform: Any = current_platform
        self.tokens_input: Any = tokens_input


def import_vllm() -> Vllm:
    """Imports vLLM, having set what it reads from the environment where the operator has not.

    Raises:
        ModelError: it is not installed, or its installation cannot be imported.
    """
    for name, value in _ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    try:
        return Vllm()
    except ImportError as failure:
        raise ModelError(
            f"the rewriter needs vLLM, which could not be imported ({failure}); install aisle's extra 'rewrite' "
            "or 'rewrite-gpu', or set rewriter.mode to off"
        ) from failure
    except (RuntimeError, OSError) as failure:
        raise ModelError(
            f"vLLM is installed but cannot be imported ({failure}); on a machine without a GPU uninstall "
            f"{', '.join(_CUDA_LINKED)}, whose CUDA builds break it"
        ) from failure


@contextmanager
def engine_process(folder: Path) -> Iterator[None]:
    """Around the start of an engine: what its own process inherits.

    A small model computes in one thread, where the operator has not said how many: a few million weights gain nothing
    from a second one and wait for it on a busy machine. And this program's main module is not imported there, as
    multiprocessing would have it: vLLM 0.32 looks through the objects of every imported module and dies of one of
    llvmlite's, so nothing there may import numba.
    """
    weights_bytes = sum(path.stat().st_size for path in folder.glob("*.safetensors"))
    name = "OMP_NUM_THREADS"
    one_thread = name not in os.environ and 0 < weights_bytes < _SMALL_MODEL_BYTES
    main = sys.modules["__main__"]
    hidden = {key: getattr(main, key, None) for key in ("__spec__", "__file__")}
    if one_thread:
        os.environ[name] = "1"
    for key in hidden:
        setattr(main, key, None)
    try:
        yield
    finally:
        for key, value in hidden.items():
            setattr(main, key, value)
        if one_thread:
            del os.environ[name]
