"""Every kind of dense index under filters of every width, against exact search by NumPy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import faiss
import numpy as np
import pytest
from numpy.typing import NDArray

from aisle.config import DenseConfig
from aisle.errors import ModelError, SnapshotError
from aisle.index.dense import DenseIndex, build_dense, selectors_work
from aisle.index.kernel_basic import cosines

ROWS, DIMENSION, K = 4000, 32, 20

# Lowest mean recall of 20 rows. Clustered data, so that neighbourhoods are as dense as a shop's.
FLOORS = {
    "flat": {1.0: 1.0, 0.5: 1.0, 0.2: 1.0, 0.05: 1.0, 0.001: 1.0},
    "sq8": {1.0: 0.96, 0.5: 0.96, 0.2: 0.96, 0.05: 0.96, 0.001: 1.0},
    "hnsw": {1.0: 0.97, 0.5: 0.95, 0.2: 1.0, 0.05: 1.0, 0.001: 1.0},
    "ivf": {1.0: 0.75, 0.5: 0.75, 0.2: 1.0, 0.05: 1.0, 0.001: 1.0},
}
SCENARIOS = [(kind, share) for kind, floors in FLOORS.items() for share in floors]


def unit(vectors: NDArray[np.float64]) -> NDArray[np.float32]:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> NDArray[np.float16]:
    rng = np.random.default_rng(1)
    centres = rng.normal(size=(80, DIMENSION))
    points = centres[rng.integers(80, size=ROWS)] + 0.6 * rng.normal(size=(ROWS, DIMENSION))
    return unit(points).astype(np.float16)


@pytest.fixture(scope="module")
def queries(vectors: NDArray[np.float16]) -> NDArray[np.float32]:
    rng = np.random.default_rng(2)
    return unit(vectors[::200].astype(float) + 0.1 * rng.normal(size=(20, DIMENSION)))


@pytest.fixture(scope="module")
def index_of(
    vectors: NDArray[np.float16], tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], DenseIndex]:
    folder, opened = tmp_path_factory.mktemp("dense"), {}

    def of(kind: str) -> DenseIndex:
        if kind not in opened:
            config = DenseConfig.model_validate({"kind": kind, "device": "cpu"})
            build_dense(vectors, config, folder / kind)
            opened[kind] = DenseIndex.open(folder / kind, vectors, config)
        return opened[kind]

    return of


@pytest.mark.parametrize(("kind", "share"), SCENARIOS)
def test_a_filter_gives_its_k_best_rows(
    kind: str,
    share: float,
    vectors: NDArray[np.float16],
    queries: NDArray[np.float32],
    index_of: Callable[[str], DenseIndex],
) -> None:
    index, rng = index_of(kind), np.random.default_rng(3)
    allowed = np.zeros(ROWS, dtype=bool)
    allowed[rng.permutation(ROWS)[: round(share * ROWS)]] = True
    wanted = min(K, int(allowed.sum()))
    recalls = []
    for query in queries:
        rows = index.search(query, K, None if share == 1.0 else allowed)
        assert allowed[rows].all()
        assert len(rows) == len(set(rows.tolist())) == wanted
        exact = np.where(allowed, vectors.astype(float) @ query, -2.0)
        best = np.argsort(-exact)[:wanted]
        recalls.append(len(set(rows.tolist()) & set(best.tolist())) / wanted)
    assert np.mean(recalls) >= FLOORS[kind][share]


@pytest.mark.parametrize("kind", FLOORS)
def test_k_is_filled_whatever_is_asked(
    kind: str, queries: NDArray[np.float32], index_of: Callable[[str], DenseIndex]
) -> None:
    index = index_of(kind)
    most = np.ones(ROWS, dtype=bool)
    most[::10] = False  # what tombstones leave
    assert len(index.search(queries[0], ROWS + 5)) == ROWS
    assert len(index.search(queries[0], 3000)) == 3000
    assert len(index.search(queries[0], 3000, most)) == 3000
    assert len(index.search(queries[0], 0)) == 0
    assert len(index.search(queries[0], 5, np.zeros(ROWS, dtype=bool))) == 0


@pytest.mark.parametrize("kind", FLOORS)
def test_a_whole_cluster_forbidden_still_fills_k(
    kind: str,
    vectors: NDArray[np.float16],
    queries: NDArray[np.float32],
    index_of: Callable[[str], DenseIndex],
) -> None:
    # The worst filter for a graph: everything near the query is disallowed.
    near = np.argsort(-(vectors.astype(float) @ queries[0]))
    allowed = np.ones(ROWS, dtype=bool)
    allowed[near[: ROWS // 2]] = False
    rows = index_of(kind).search(queries[0], K, allowed)
    assert len(rows) == K
    assert allowed[rows].all()


@pytest.mark.parametrize("kind", FLOORS)
def test_equal_vectors_give_equal_bytes(
    kind: str, vectors: NDArray[np.float16], tmp_path: Path
) -> None:
    config = DenseConfig.model_validate({"kind": kind})
    for name in ("a", "b"):
        build_dense(vectors[:500], config, tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


@pytest.mark.parametrize("kind", FLOORS)
@pytest.mark.parametrize("rows", [0, 1, 5])
def test_few_rows_can_be_built_and_searched(kind: str, rows: int, tmp_path: Path) -> None:
    angles = np.linspace(0, 1, 5)[:rows]
    vectors = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float16)
    config = DenseConfig.model_validate({"kind": kind})
    build_dense(vectors, config, tmp_path / "x")
    index = DenseIndex.open(tmp_path / "x", vectors, config)
    assert index.search(np.array([1, 0], np.float32), 3).tolist() == list(range(rows))[:3]


def test_cosines_equal_numpys_for_every_float16(vectors: NDArray[np.float16]) -> None:
    rows = np.array([5, 0, 3999, 5])
    query = vectors[17].astype(np.float32)
    assert cosines(rows, vectors, query) == pytest.approx(
        vectors[rows].astype(np.float64) @ query, abs=1e-6
    )
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    finite = every[np.isfinite(every)].reshape(-1, 1)  # subnormals and both zeros included
    one = np.ones(1, dtype=np.float32)
    got = cosines(np.arange(len(finite)), finite, one)
    assert np.array_equal(got, finite[:, 0].astype(np.float32))


def test_an_index_over_other_vectors_is_refused(
    vectors: NDArray[np.float16], tmp_path: Path
) -> None:
    build_dense(vectors[:10], DenseConfig(kind="flat"), tmp_path / "x")
    with pytest.raises(SnapshotError, match=r"holds 10 x 32, the vectors are 9 x 32"):
        DenseIndex.open(tmp_path / "x", vectors[:9], DenseConfig(kind="flat"))
    (tmp_path / "x").write_bytes(b"not faiss")
    with pytest.raises(SnapshotError, match="FAISS cannot read it"):
        DenseIndex.open(tmp_path / "x", vectors[:10], DenseConfig(kind="flat"))


class _FakeGpuFlat(faiss.IndexFlatIP):  # type: ignore[misc]
    """A GPU flat index as builds without cuVS have it: refuses k above 2048 and ignores selectors in silence."""

    obeys_selectors = False

    def __init__(self, resources: object, dimension: int, options: object) -> None:
        super().__init__(dimension)

    def search(self, x: Any, k: int, params: Any = None) -> Any:
        if k > 2048:
            raise RuntimeError(f"GPU index only supports up to k = 2048 (requested {k})")
        return super().search(x, k, params=params if self.obeys_selectors else None)


class _FakeCuvsFlat(_FakeGpuFlat):
    """The same as a build with cuVS has it."""

    obeys_selectors = True


@pytest.fixture(params=[_FakeGpuFlat, _FakeCuvsFlat], ids=["classic", "cuvs"])
def fake_gpu(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    options = type("GpuIndexFlatConfig", (), {"useFloat16": False})
    monkeypatch.setattr(faiss, "StandardGpuResources", object, raising=False)
    monkeypatch.setattr(faiss, "GpuIndexFlatConfig", options, raising=False)
    monkeypatch.setattr(faiss, "GpuIndexFlatIP", request.param, raising=False)
    monkeypatch.setattr(faiss, "get_num_gpus", lambda: 1)


@pytest.mark.usefixtures("fake_gpu")
@pytest.mark.parametrize("kind", ["flat", "sq8", "hnsw"])
@pytest.mark.parametrize("share", [1.0, 0.5, 0.05, 0.001])
@pytest.mark.parametrize("k", [20, 2048, 2049, 10_000])
def test_a_gpu_answers_exactly_whatever_k_and_filter(
    kind: str,
    share: float,
    k: int,
    vectors: NDArray[np.float16],
    queries: NDArray[np.float32],
    tmp_path: Path,
) -> None:
    config = DenseConfig.model_validate({"kind": "flat"})
    build_dense(vectors, config, tmp_path / "x")
    index = DenseIndex.open(tmp_path / "x", vectors, DenseConfig.model_validate({"kind": kind}))
    allowed = np.zeros(ROWS, dtype=bool)
    allowed[np.random.default_rng(4).permutation(ROWS)[: round(share * ROWS)]] = True
    rows = index.search(queries[0], k, None if share == 1.0 else allowed)
    exact = np.sort(np.where(allowed, vectors.astype(float) @ queries[0], -2.0))[::-1]
    assert len(rows) == len(set(rows.tolist())) == min(k, int(allowed.sum()))
    assert allowed[rows].all()
    got = vectors[rows].astype(float) @ queries[0]
    assert got == pytest.approx(exact[: len(rows)], abs=1e-5)


@pytest.mark.parametrize("build", [_FakeGpuFlat, _FakeCuvsFlat])
def test_the_self_test_tells_builds_that_obey_selectors_from_those_that_ignore_them(
    build: type[_FakeGpuFlat], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(faiss, "GpuIndexFlatIP", build, raising=False)
    assert selectors_work(None, None) is build.obeys_selectors


def test_a_gpu_that_fails_is_an_error_only_where_it_was_asked_for(
    fake_gpu: None, vectors: NDArray[np.float16], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse() -> None:
        raise RuntimeError("no kernel image")

    build_dense(vectors, DenseConfig(kind="flat"), tmp_path / "x")
    monkeypatch.setattr(faiss, "StandardGpuResources", refuse)
    with pytest.raises(ModelError, match=r"device is gpu.*no kernel image.*cpu or auto"):
        DenseIndex.open(tmp_path / "x", vectors, DenseConfig(kind="flat", device="gpu"))
    index = DenseIndex.open(tmp_path / "x", vectors, DenseConfig(kind="flat", device="auto"))
    assert len(index.search(vectors[0].astype(np.float32), 5)) == 5
