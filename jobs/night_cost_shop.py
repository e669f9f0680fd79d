"""The catalogues and nights of `jobs.night_cost`: each done once in its folder, so that a second start goes on."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from aisle.batch import SearchBatch
from aisle.config import Settings, load
from aisle.errors import JobFailed
from aisle.nightly.reindex import Night
from aisle.nightly.run import serial
from aisle.searching import Opener
from aisle.snapshot import Library
from aisle.store import Store

ROOT = Path(__file__).resolve().parent.parent
DEPTH = 100
SEED = 7


def write_catalogues(settings: Settings, n_rows: int, share: float, folder: Path) -> None:
    """Writes `before.parquet`, the first rows of the source (one Parquet file), and `after.parquet`, some changed."""
    folder.mkdir(parents=True, exist_ok=True)
    source = pq.read_table(str(settings.catalog.source.url))
    before = source.slice(0, n_rows)
    pq.write_table(before, folder / "before.parquet")
    pq.write_table(changed(before, source.slice(n_rows), share), folder / "after.parquet")


def changed(products: pa.Table, spare: pa.Table, share: float) -> pa.Table:
    """Products after a day: of a share of them half have another title, a quarter is gone, a quarter is new.

    Args:
        products: with a column `title`.
        spare: where new ones come from, in order.
        share: of the rows that differ afterwards, the new ones included.
    """
    rows = products.to_pylist()
    n = round(share * len(rows))
    picked = np.random.default_rng(SEED).permutation(len(rows))[: n - n // 4]
    gone, renamed = set(picked[: n // 4].tolist()), picked[n // 4 :].tolist()
    titles = [rows[i]["title"] for i in renamed]
    for i, other in zip(renamed, [*titles[1:], *titles[:1]], strict=True):
        rows[i]["title"] = f"{rows[i]['title']} {other.split()[-1]}"  # a word that shoppers know
    left = [row for i, row in enumerate(rows) if i not in gone]
    return pa.Table.from_pylist(left + spare.slice(0, n // 4).to_pylist(), products.schema)


@dataclass(frozen=True)
class Nights:
    """Nights over the catalogues of one folder, into stores below it."""

    config: Path
    folder: Path

    def timed(self, name: str, catalogue: str, store: str) -> dict[str, Any]:
        """One `jobs.reindex` in a process of its own: its last line, and `wall_s`, process start to exit.

        A night that was interrupted goes on, and its wall time is that of all attempts.
        """
        record = self.folder / f"{name}.json"
        known = json.loads(record.read_text()) if record.is_file() else {"wall_s": 0.0}
        if "snapshot" in known:
            return dict(known)
        sets = [word for each in self._overrides(catalogue, store) for word in ("--set", each)]
        command = [sys.executable, "-m", "jobs.reindex", "--config", str(self.config), *sets]
        began_s = time.monotonic()
        with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as running:
            try:
                output, _ = running.communicate()
            finally:
                running.terminate()  # does nothing where it has ended
                running.wait()
                known["wall_s"] += time.monotonic() - began_s
                record.write_text(json.dumps(known))
        result = json.loads(output.splitlines()[-1])
        if running.returncode:
            raise JobFailed(
                f"night {name}: jobs.reindex ended with status {running.returncode}: {result}"
            )
        known = {**result, **known}
        record.write_text(json.dumps(known))
        return known

    def copy(self, store: str, name: str) -> None:
        """Another store with the same snapshots, whole or not at all."""
        if not (self.folder / name).is_dir():
            half = self.folder / f"{name}.partial"
            shutil.copytree(self.folder / store, half, dirs_exist_ok=True)
            half.rename(self.folder / name)

    def exact(self, store: str, catalogues: Sequence[str]) -> str:
        """The store's snapshot with an exact dense index after nights over some catalogues; embeds only what is new."""
        record = self.folder / f"{store}-exact.json"
        if not record.is_file():
            for catalogue in catalogues:
                exact = ["index.dense.kind=flat", "evaluation.judgments=null"]
                settings = load(self.config, [*self._overrides(catalogue, store), *exact])
                done = Night(settings, serial, lambda _: None).run()
            record.write_text(json.dumps(done))
        return str(json.loads(record.read_text())["snapshot"])

    def answers(self, store: str, snapshot: str, queries: Sequence[str]) -> pa.Table:
        """The first hits of some queries as the pipeline answers them, dropped ones included."""
        settings = load(self.config, self._overrides("after", store))
        manifest = Library(Store.open(settings.store)).manifest(snapshot)
        pipeline = Opener(settings, manifest).pipeline()
        return SearchBatch(pipeline, DEPTH)(pa.table({"query": pa.array(queries, pa.string())}))

    def _overrides(self, catalogue: str, store: str) -> list[str]:
        return [
            f"catalog.source.url={self.folder / catalogue}.parquet",
            f"store={self.folder / store}",
            f"serving.cache_dir={self.folder / 'cache'}",
            # What the gate judges is what this job compares; latencies of two nights, minutes apart on a machine that
            # does other work too, refused a good one here.
            "gate.max_latency_ratio=null",
        ]
