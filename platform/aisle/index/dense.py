"""The vector side of a segment, on FAISS: nearest rows by cosine, filters applied before the top k.

Vectors are unit rows, so inner product is cosine. The allowed rows of a filter decide how it is answered: graph and
list indexes silently lose rows under a selective filter, so below a configured share of allowed rows the search is
exact over just those. Whatever FAISS returns, the caller re-scores it from the stored vectors; FAISS only finds.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path

import faiss
import numpy as np
from numpy.typing import NDArray

from aisle.config import DenseConfig
from aisle.errors import ModelError, SnapshotError

logger = logging.getLogger(__name__)


def build_dense(vectors: NDArray[np.float16], config: DenseConfig, path: Path, threads: int = 1) -> None:
    """Writes a FAISS index over unit rows (n, d); equal vectors in equal order give equal bytes."""
    n, d = vectors.shape
    rows = vectors.astype(np.float32)
    faiss.omp_set_num_threads(threads)
    index: faiss.Index
    if config.kind == "flat":
        index = faiss.IndexFlatIP(d)
    elif config.kind == "sq8":
        index = faiss.IndexScalarQuantizer(d, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT)
    elif config.kind == "hnsw":
        index = faiss.IndexHNSWFlat(d, config.hnsw_m, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = config.hnsw_ef_construction
    else:
        lists = config.ivf_lists or max(1, round(4 * math.sqrt(n)))
        lists = max(1, min(lists, n // 39))  # FAISS wants 39 training points a list
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(d), d, lists, faiss.METRIC_INNER_PRODUCT)
    if n and not index.is_trained:
        index.train(rows)
    if n:
        index.add(rows)
    faiss.write_index(index, str(path))


class DenseIndex:
    """An opened FAISS index with the exact vectors beside it. Read only; safe to search from several threads."""

    def __init__(self, index: faiss.Index, vectors: NDArray[np.float16], config: DenseConfig) -> None:
        if (index.ntotal, index.d) != vectors.shape:
            raise SnapshotError(
                f"FAISS index holds {index.ntotal} x {index.d}, the vectors are {vectors.shape[0]} x "
                f"{vectors.shape[1]}; rebuild the segment with python -m jobs.reindex"
            )
        self._index = index
        self._vectors = vectors
        self._config = config
        self._on_gpu = False
        if config.device != "cpu" and gpu_count() > 0:
            self._to_gpu()

    @classmethod
    def open(cls, path: Path, vectors: NDArray[np.float16], config: DenseConfig) -> DenseIndex:
        """Opens a written index; raises SnapshotError where FAISS cannot read it."""
        try:
            return cls(faiss.read_index(str(path)), vectors, config)
        except RuntimeError as error:
            raise SnapshotError(f"{path}: FAISS cannot read it: {error}") from error

    def search(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None = None
    ) -> NDArray[np.int64]:
        """Rows of the `k` nearest vectors to one unit query (d,), nearest first.

        Args:
            query: float32 (d,), unit length.
            k: rows wanted.
            allowed: bool (n,), rows that may be returned; none allows all.

        Returns:
            int64 (at most k,); fewer only where fewer rows are allowed.
        """
        n = len(self._vectors)
        if allowed is None:
            return self._found(query, min(k, n), None, exact=False)
        count = int(np.count_nonzero(allowed))
        k = min(k, count)
        if k == 0:
            return np.empty(0, dtype=np.int64)
        if self._on_gpu or count <= max(k, 0.02 * n):
            # Few rows: gathering them costs less than walking the index. On a GPU build without cuVS a selector is
            # ignored without an error, so filters never rely on it there.
            rows = np.flatnonzero(allowed)
            cosines = self.cosines(query, rows)
            return rows[np.argsort(-cosines, kind="stable")[:k]]
        selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
        exact = count < self._config.brute_force_below_fraction * n
        rows = self._found(query, k, selector, exact=exact)
        if len(rows) < k:  # a graph ran out of allowed neighbours; the exact answer is still small work
            rows = self._found(query, k, selector, exact=True)
        return rows

    def cosines(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cosine of one query (d,) with some rows, from the stored vectors: float32 (n,)."""
        return self._vectors[rows].astype(np.float32) @ query

    def _found(
        self, query: NDArray[np.float32], k: int, selector: faiss.IDSelector | None, *, exact: bool
    ) -> NDArray[np.int64]:
        if k == 0:
            return np.empty(0, dtype=np.int64)
        index, parameters = self._index, faiss.SearchParameters(sel=selector)
        if not self._on_gpu and self._config.kind == "hnsw":
            if exact:
                index = faiss.downcast_index(index.storage)
            else:
                ef = self._config.hnsw_ef_filtered if selector else self._config.hnsw_ef_search
                parameters = faiss.SearchParametersHNSW(efSearch=max(ef, k), sel=selector)
        elif not self._on_gpu and self._config.kind == "ivf":
            probes = index.nlist if exact else min(self._config.ivf_probes, index.nlist)
            parameters = faiss.SearchParametersIVF(nprobe=probes, sel=selector)
        if self._on_gpu:
            parameters = None
        _, rows = index.search(query[None, :], k, params=parameters)
        return rows[0][rows[0] >= 0]

    def _to_gpu(self) -> None:
        """Moves the index to the GPU; the CPU copy is dropped."""
        try:
            resources = faiss.StandardGpuResources()
            self._index = faiss.index_cpu_to_gpu(resources, 0, self._index)
            self._on_gpu = True
            logger.info("dense index on GPU", extra={"rows": self._index.ntotal, "selectors": selectors_work_on_gpu()})
        except RuntimeError as error:
            if self._config.device == "gpu":
                raise ModelError(f"index.dense.device is gpu, but FAISS cannot use it: {error}") from error
            logger.warning("dense index stays on CPU", extra={"reason": str(error)})


def gpu_count() -> int:
    """GPUs that this build of FAISS sees; 0 for faiss-cpu."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0


def selectors_work_on_gpu() -> bool:
    """Start-up self-test: does a GPU flat index obey an `IDSelectorBitmap` that excludes the best row?

    Classic GPU builds accept a selector and ignore it without an error; only cuVS builds apply it.
    """
    if gpu_count() == 0:
        return False
    rows = np.eye(64, dtype=np.float32)
    index = faiss.index_cpu_to_gpu(faiss.StandardGpuResources(), 0, _flat(rows))
    allowed = np.ones(64, dtype=bool)
    allowed[7] = False
    selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    try:
        _, found = index.search(rows[7:8], 64, params=faiss.SearchParameters(sel=selector))
    except RuntimeError:
        return False
    return 7 not in found[0]


def _flat(rows: NDArray[np.float32]) -> faiss.IndexFlatIP:
    index = faiss.IndexFlatIP(rows.shape[1])
    index.add(rows)
    return index
