"""The vector side of a segment, on FAISS: nearest rows by cosine, filters applied before the top k.

Vectors are unit rows, so inner product is cosine. The allowed rows of a filter decide how it is answered: graph and
list indexes silently lose rows under a selective filter, so below a configured share of allowed rows the search is
exact over just those. Whatever FAISS returns, the caller re-scores it from the stored vectors; FAISS only finds.
"""

from __future__ import annotations

import logging
import math
import threading
from pathlib import Path
from typing import Any

import faiss
import numpy as np
from numpy.typing import NDArray

from aisle.config import DenseConfig
from aisle.errors import ModelError, SnapshotError
from aisle.index import kernel_basic

logger = logging.getLogger(__name__)

GPU_MAX_K = 2048
"""Deepest search that FAISS allows on a GPU."""

_GATHER_BELOW_FRACTION = 0.02
"""Up to this share of allowed rows, multiplying just those costs less than walking an index."""

_GPU_ROWS = 1 << 20
"""Rows copied to a GPU at once."""


def build_dense(
    vectors: NDArray[np.float16], config: DenseConfig, path: Path, threads: int = 1
) -> None:
    """Writes a FAISS index over unit rows (n, d); equal vectors in equal order give equal bytes."""
    n, d = vectors.shape
    rows = vectors.astype(np.float32)
    faiss.omp_set_num_threads(threads)
    index: faiss.Index
    if config.kind == "flat":
        index = faiss.IndexFlatIP(d)
    elif config.kind == "sq8":
        index = faiss.IndexScalarQuantizer(
            d, faiss.ScalarQuantizer.QT_8bit, faiss.METRIC_INNER_PRODUCT
        )
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

    def __init__(
        self, index: faiss.Index, vectors: NDArray[np.float16], config: DenseConfig
    ) -> None:
        if (index.ntotal, index.d) != vectors.shape:
            raise SnapshotError(
                f"FAISS index holds {index.ntotal} x {index.d}, the vectors are {vectors.shape[0]} x "
                f"{vectors.shape[1]}; rebuild the segment with python -m jobs.reindex"
            )
        self._vectors = vectors
        self._config = config
        self._index: Any = index
        self._gpu: GpuIndex | None = None
        if config.device != "cpu" and gpu_count() > 0 and len(vectors):
            self._gpu = self._on_gpu(index)
        if self._gpu is not None:
            self._index = self._exact = None  # one copy is enough
            return
        # The vectors inside an HNSW index: exact search over them needs no second copy.
        self._exact = faiss.downcast_index(index.storage) if config.kind == "hnsw" else index

    @property
    def exhaustive(self) -> bool:
        """True where a search looks at every row, so that a deeper one costs no more."""
        return self._config.kind in ("flat", "sq8") or self._gpu is not None

    @classmethod
    def open(cls, path: Path, vectors: NDArray[np.float16], config: DenseConfig) -> DenseIndex:
        """Opens a written index; raises SnapshotError where FAISS cannot read it."""
        try:
            index = faiss.read_index(str(path))
        except RuntimeError as error:
            raise SnapshotError(f"{path}: FAISS cannot read it: {error}") from error
        return cls(index, vectors, config)

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
        count = n if allowed is None else int(np.count_nonzero(allowed))
        k = min(k, count)
        if k <= 0:
            return np.empty(0, dtype=np.int64)
        if count <= max(k, _GATHER_BELOW_FRACTION * n):
            return self._gathered(query, k, allowed)
        if self._gpu is not None:
            found = self._gpu.search(query, k, allowed)
            return found if found is not None else self._gathered(query, k, allowed)
        if allowed is None:
            rows = self._found(query, k, None)
        else:
            selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
            rows = self._found(query, k, selector, count / n)
        if len(rows) < k:
            # Graphs and lists run out of rows, of allowed ones before long; the exact answer holds k of them.
            return self._gathered(query, k, allowed)
        return rows

    def cosines(self, query: NDArray[np.float32], rows: NDArray[np.int64]) -> NDArray[np.float32]:
        """Cosine of one query (d,) with some rows, from the stored vectors: float32 (n,)."""
        return kernel_basic.cosines(rows, self._vectors, query)

    def _gathered(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64]:
        """Exact answer from the stored vectors of the allowed rows; equal cosines by ascending row."""
        rows = np.arange(len(self._vectors)) if allowed is None else np.flatnonzero(allowed)
        cosines = self.cosines(query, rows)
        if k < len(rows):
            best = np.argpartition(-cosines, k - 1)[:k]
            # With everything that ties for the last place.
            kept = np.flatnonzero(cosines >= cosines[best].min())
            rows, cosines = rows[kept], cosines[kept]
        order: NDArray[np.intp] = np.argsort(-cosines, kind="stable")[:k]
        return rows[order]

    def _found(
        self,
        query: NDArray[np.float32],
        k: int,
        selector: faiss.IDSelector | None,
        share: float = 1.0,
    ) -> NDArray[np.int64]:
        """What the CPU index finds among a share of allowed rows; HNSW and IVF may find fewer than k."""
        index, config = self._index, self._config
        exact = share < config.brute_force_below_fraction
        if exact:
            index = self._exact
        if config.kind == "hnsw" and not exact:
            # FAISS's bounded queue looks for its least entry one by one; a heap finds the same rows in a quarter less
            # time, but knows no selector.
            parameters = faiss.SearchParametersHNSW(
                efSearch=_effort(config, k, share),
                sel=selector,
                bounded_queue=selector is not None,
            )
        elif config.kind == "ivf":
            probes = index.nlist if exact else min(config.ivf_probes, index.nlist)
            parameters = faiss.SearchParametersIVF(nprobe=probes, sel=selector)
        else:
            parameters = faiss.SearchParameters(sel=selector) if selector else None
        _, rows = index.search(query[None, :], k, params=parameters)
        found: NDArray[np.int64] = rows[0][rows[0] >= 0]
        return found

    def _on_gpu(self, index: faiss.Index) -> GpuIndex | None:
        try:
            gpu = GpuIndex(index, self._vectors, self._config.kind)
        except RuntimeError as error:
            if self._config.device == "gpu":
                raise ModelError(
                    f"index.dense.device is gpu, but FAISS cannot use it: {error}; set it to cpu or auto"
                ) from error
            logger.warning("dense index stays on CPU", extra={"reason": str(error)})
            return None
        logger.info("dense index on GPU", extra={"rows": len(self._vectors)})
        return gpu


def _effort(config: DenseConfig, k: int, share: float) -> int:
    """HNSW's ef for a share of allowed rows, because disallowed ones take places in its queue.

    With hardly any row missing (tombstones) it stays near `hnsw_ef_search`; from six tenths down it is
    `hnsw_ef_filtered`, and never so small that k allowed rows do not fit.
    """
    wanted = max(config.hnsw_ef_search, k)
    ef = min(wanted / share**2, max(config.hnsw_ef_filtered, wanted))
    return math.ceil(max(ef, 1.1 * k / share if share < 1 else k))


class GpuIndex:
    """A segment's vectors on a GPU: IVF as it was built, everything else as exact float16 rows.

    Builds of FAISS without cuVS accept a selector and ignore it without an error. So a self-test at start-up decides:
    where selectors are obeyed, filters go to the GPU; where not, the GPU answers as deep as it can and the filter is
    applied to that, which is exact where enough rows remain.
    """

    def __init__(self, index: faiss.Index, vectors: NDArray[np.float16], kind: str) -> None:
        self._resources = faiss.StandardGpuResources()
        self._lock = threading.Lock()  # one set of resources must not serve two searches at once
        self._selects = False
        if kind == "ivf":
            self._index = faiss.index_cpu_to_gpu(self._resources, 0, index)
            return
        options = faiss.GpuIndexFlatConfig()
        options.useFloat16 = True
        self._selects = selectors_work(self._resources, options)
        self._index = faiss.GpuIndexFlatIP(self._resources, vectors.shape[1], options)
        for begin in range(0, len(vectors), _GPU_ROWS):
            self._index.add(vectors[begin : begin + _GPU_ROWS].astype(np.float32))

    def search(
        self, query: NDArray[np.float32], k: int, allowed: NDArray[np.bool_] | None
    ) -> NDArray[np.int64] | None:
        """The `k` nearest allowed rows, nearest first; none where they lie deeper than a GPU can look."""
        if k > GPU_MAX_K:
            return None
        depth, parameters = k, None
        if allowed is not None and self._selects:
            selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
            parameters = faiss.SearchParameters(sel=selector)
        elif allowed is not None:
            depth = min(GPU_MAX_K, self._index.ntotal)
        with self._lock:
            _, rows = self._index.search(query[None, :], depth, params=parameters)
        found: NDArray[np.int64] = rows[0][rows[0] >= 0]
        if allowed is not None:
            found = found[allowed[found]]
        return found[:k] if len(found) >= k else None


def selectors_work(resources: Any, options: Any) -> bool:
    """Self-test: does a GPU flat index of this build leave out the row that a selector excludes?"""
    rows = np.eye(64, dtype=np.float32)
    index = faiss.GpuIndexFlatIP(resources, 64, options)
    index.add(rows)
    allowed = np.ones(64, dtype=bool)
    allowed[7] = False
    selector = faiss.IDSelectorBitmap(np.packbits(allowed, bitorder="little"))
    try:
        _, found = index.search(rows[7:8], 8, params=faiss.SearchParameters(sel=selector))
    except RuntimeError as error:
        logger.info("selectors are refused on this GPU build", extra={"reason": str(error)})
        return False
    obeyed = 7 not in found[0]
    logger.info("selector self-test on GPU: %s", "obeyed" if obeyed else "ignored")
    return obeyed


def gpu_count() -> int:
    """GPUs that this build of FAISS sees; 0 for faiss-cpu."""
    return int(faiss.get_num_gpus()) if hasattr(faiss, "StandardGpuResources") else 0
