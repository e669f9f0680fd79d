"""Ray for jobs: connect to the cluster that RAY_ADDRESS names or start one, and map work with Ray Data.

Workers are plain callables of the library; what Ray adds is where they run. An error that a worker raises on purpose
comes out here as it was raised, not wrapped in Ray's.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import ray
from ray.data import ActorPoolStrategy, DataContext

from aisle.config import RayConfig
from aisle.errors import AisleError, JobFailed
from aisle.nightly.cpu import hand_over, spent_s
from aisle.nightly.run import Item, Worker

_ROOT = str(Path(__file__).resolve().parent.parent)


@contextmanager
def cluster(config: RayConfig) -> Iterator[None]:
    """Connects for the length of a job; a cluster that was started for it ends with it."""
    address = os.environ.get("RAY_ADDRESS")
    if address:
        ray.init(address=address, log_to_driver=False)
    else:
        # The workers of a cluster of our own import the checkout that this job runs from.
        ray.init(
            address="local",
            num_cpus=config.num_cpus,
            object_store_memory=config.object_store_bytes,
            include_dashboard=False,
            log_to_driver=False,
            runtime_env={"env_vars": {"PYTHONPATH": f"{_ROOT}:{_ROOT}/platform"}},
        )
    DataContext.get_current().enable_progress_bars = False
    try:
        yield
    finally:
        ray.shutdown()


@dataclass(frozen=True)
class RayMapper:
    """A `Mapper` on Ray Data: one block an item, so that a part is the unit of retry and of progress."""

    config: RayConfig

    def __call__(
        self,
        make_worker: Callable[[], Worker],
        items: Sequence[Item],
        *,
        step: str,
        actors: bool = False,
    ) -> Iterator[Item]:
        """Yields results as blocks finish; see `Mapper`."""
        dataset = ray.data.from_items([{"item": json.dumps(item)} for item in items]).repartition(
            len(items)
        )
        if actors:
            pool = ActorPoolStrategy(size=min(self.config.embed_workers, len(items)))
            mapped = dataset.map_batches(
                _WorkerActor,
                batch_size=1,
                compute=pool,
                fn_constructor_args=(make_worker,),
                num_cpus=1,
                num_gpus=self.config.embed_gpus or None,
            )
        else:
            mapped = dataset.map_batches(
                _once,  # type: ignore[arg-type]  # Ray's types know no fn_args
                batch_size=1,
                fn_args=(make_worker,),
                num_cpus=1,
            )
        with raised_as_is(step):
            for row in mapped.iter_rows():
                yield json.loads(row["result"])


class _WorkerActor:
    """Holds a worker in an actor of the pool."""

    def __init__(self, make_worker: Callable[[], Worker]) -> None:
        self._worker = make_worker()

    def __call__(self, batch: dict[str, Any]) -> dict[str, list[str]]:
        return {"result": [json.dumps(self._worker(json.loads(item))) for item in batch["item"]]}


def _once(batch: dict[str, Any], make_worker: Callable[[], Worker]) -> dict[str, list[str]]:
    return _WorkerActor(make_worker)(batch)


def map_table(
    table: pa.Table,
    steps: Sequence[tuple[Callable[[], Callable[[pa.Table], pa.Table]], int]],
    *,
    batch_rows: int,
    step: str,
) -> pa.Table:
    """Maps a table through actor pools, one a step: (maker of the callable, size of the pool).

    Rows may come back in another order. What the actors spent is handed to the next `spent_s` of this process.
    """
    blocks = max(1, -(-table.num_rows // batch_rows))
    mapped = ray.data.from_arrow(table).repartition(blocks)
    for make, size in steps:
        mapped = mapped.map_batches(
            _TableActor,
            batch_size=batch_rows,
            batch_format="pyarrow",
            compute=ActorPoolStrategy(size=min(size, blocks)),
            fn_constructor_args=(make,),
            num_cpus=1,
        )
    with raised_as_is(step):
        tables = [each for each in ray.get(mapped.to_arrow_refs()) if each.num_columns]
    found = pa.concat_tables(tables)
    hand_over(pc.sum(found[_SPENT]).as_py() or 0.0)
    return found.drop_columns([_SPENT])


_SPENT = "_core_s"
"""Column in which actors report their CPU time."""


class _TableActor:
    """Holds a table callable in an actor of the pool."""

    def __init__(self, make: Callable[[], Callable[[pa.Table], pa.Table]]) -> None:
        self._call = make()

    def __call__(self, batch: pa.Table) -> pa.Table:
        earlier = 0.0
        if _SPENT in batch.column_names:
            earlier = pc.sum(batch[_SPENT]).as_py() or 0.0
            batch = batch.drop_columns([_SPENT])
        found = self._call(batch)
        # With the first row, because a column is all that Ray Data carries along; no row, and it waits for the next.
        spent = [earlier + spent_s()] if found.num_rows else []
        column = pa.array(spent + [0.0] * (found.num_rows - len(spent)), pa.float64())
        return found.append_column(_SPENT, column)


@contextmanager
def raised_as_is(step: str) -> Iterator[None]:
    """Turns Ray's wrapping of a worker's error back into the error."""
    try:
        yield
    except AisleError:
        raise
    except ray.exceptions.RayError as error:
        cause: BaseException | None = error
        while cause is not None:
            inner = getattr(cause, "cause", None) or cause.__cause__
            for each in (cause, inner):
                if isinstance(each, AisleError):
                    raise each from error
            cause = inner if isinstance(inner, BaseException) and inner is not cause else None
        raise JobFailed(
            f"step {step}: a worker failed and Ray's retries did not help: {error}"
        ) from error
