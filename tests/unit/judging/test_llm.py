"""A language model as a judge, over real vLLM; the built-in model knows nothing of grades, so only parts are tested."""

from __future__ import annotations

import numpy as np
import psutil
import pytest

from aisle.errors import ModelError
from aisle.judging.llm import LlmJudge

# vLLM's imports use what torch has deprecated.
pytestmark = [
    pytest.mark.slow,
    pytest.mark.filterwarnings("ignore::DeprecationWarning"),
    pytest.mark.filterwarnings("ignore::FutureWarning"),
    pytest.mark.filterwarnings("ignore::UserWarning"),
]

QUERIES = ["yoga mat", "yoga mat", "usb cable"]
PRODUCTS = ["Blue yoga mat 6 mm", "Garden hose " * 200, "USB-C cable"]


def test_grades_are_of_the_scale_and_the_engines_process_ends_with_it() -> None:
    pytest.importorskip("vllm", reason="the extra 'rewrite' is not installed")
    judge = LlmJudge("builtin", (0.0, 1.0, 2.0))
    try:
        verdicts = judge.judge(QUERIES, PRODUCTS)
        assert verdicts.probabilities.shape == (3, 3)
        assert np.allclose(verdicts.probabilities.sum(axis=1), 1.0)
        assert set(verdicts.grade) <= {0.0, 1.0, 2.0}
        assert set(judge.guidelines) == {"yoga mat", "usb cable"}
        again = judge.judge(QUERIES[2:], PRODUCTS[2:])
        assert np.allclose(again.probabilities, verdicts.probabilities[2:], atol=0.02)
        assert judge.judge([], []).probabilities.shape == (0, 3)
        assert judge.name.startswith("llm:")
    finally:
        children = psutil.Process().children(recursive=True)
        engines = [each for each in children if "EngineCore" in " ".join(each.cmdline())]
        judge.close()
    judge.close()
    assert engines
    assert not psutil.wait_procs(engines, timeout=10)[1]


def test_a_scale_between_whole_grades_is_refused() -> None:
    with pytest.raises(ModelError, match="whole grades"):
        LlmJudge("builtin", (1.0, 1.5, 2.0))
