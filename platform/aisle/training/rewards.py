"""What rewrites are worth: the environment of learning from search feedback.

A rewrite is searched as it would be served, verification by the catalogue included, and its worth is the mean of
recall@100 and nDCG@10 of what retrieval finds, on people's judgments, products that nobody judged counting as 0.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import faiss
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from aisle.batch import SearchBatch, dump_rewrite
from aisle.evaluation import Judgments, Run, ndcg, recall
from aisle.pipeline import Pipeline
from aisle.stages import Rewrite

Floats = NDArray[np.float64]

_DEPTH = 100
_BATCH_ROWS = 64


class Rewards:
    """Searches rewrites of judged queries over one pipeline, in some threads.

    Args:
        pipeline: without a ranker, which would hide what retrieval misses.
        judgments: of the queries.
        threads: searching at once.
    """

    def __init__(self, pipeline: Pipeline, judgments: Judgments, threads: int = 1) -> None:
        self._search = SearchBatch(pipeline, _DEPTH)
        self._judgments = judgments
        self._threads = threads

    def worth(self, rewrites: Sequence[Rewrite]) -> Floats:
        """What one rewrite for every query of the judgments, in their order, is worth.

        float64 (q,) between 0 and 1; NaN where a query has no relevant product.
        """
        assert len(rewrites) == len(self._judgments.queries)
        table = pa.table(
            {
                "query": pa.array(list(self._judgments.texts), pa.string()),
                "rewrite": pa.array([dump_rewrite(each) for each in rewrites], pa.string()),
            }
        )
        slices = [table.slice(at, _BATCH_ROWS) for at in range(0, table.num_rows, _BATCH_ROWS)]
        with ThreadPoolExecutor(
            # OpenMP keeps its number of threads by thread, and one that is new would take every core.
            self._threads,
            initializer=faiss.omp_set_num_threads,
            initargs=(1,),
        ) as pool:
            found = pa.concat_tables(pool.map(self._search, slices))
        run = Run.from_columns(
            found["query"].to_pylist(), found["product_id"].to_pylist(), found["rank"].to_numpy()
        )
        together = recall(self._judgments, run, _DEPTH) + ndcg(self._judgments, run, 10)
        worth: Floats = together / 2
        return worth
