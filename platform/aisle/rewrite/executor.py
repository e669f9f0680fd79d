"""What runs in the process of vLLM's engine: the model in that process itself, and an end when its parent has ended.

vLLM 0.32 leaves the engine behind where its parent is killed: a replica that ran out of memory would be replaced, and a
gigabyte of it would stay on the node each time.

Imported by that process, so nothing here may import numba; see `aisle.rewrite.runtime`.
"""

from __future__ import annotations

import os
import time
from threading import Thread

from vllm.v1.executor.uniproc_executor import UniProcExecutor

_LOOK_EVERY_S = 1.0


class WatchedExecutor(UniProcExecutor):
    """Computes in the engine's own process; one process a model is enough for one GPU, and on CPU."""

    def _init_executor(self) -> None:
        Thread(target=_end_with, args=(os.getppid(),), name="parent-watch", daemon=True).start()
        super()._init_executor()


def _end_with(parent: int) -> None:
    """Ends this process once its parent is another: an orphan's is."""
    while os.getppid() == parent:
        time.sleep(_LOOK_EVERY_S)
    os._exit(1)  # nothing to save, and threads of the engine may hang
