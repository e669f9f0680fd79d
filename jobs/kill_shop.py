"""What the kill matrix works on: a catalogue in several files, a live parent snapshot, and an undisturbed night.

The parent holds the first hundredth of the rows, so that CURRENT names something from the first moment on and the night
is a delta. The undisturbed night is the library's own, in this process and without Ray: what a cluster that was killed
ends with is compared with that.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pyarrow as pa
import pyarrow.parquet as pq

from aisle.catalog.sample import write_sample
from aisle.config import GateConfig, Settings, load
from aisle.errors import CatalogError
from aisle.nightly.read import plan
from aisle.nightly.reindex import Night
from aisle.nightly.run import serial
from aisle.snapshot import Library, Manifest
from aisle.store import Store

SOURCE_FILES = 8
SHARDS = 4
PARENT_FRACTION = 0.01
MADE = ("read", "rows", "embed", "index")
"""Steps that leave parts in the run's folder."""
# What is tested here is that a night ends right, not that a hundredfold catalogue passes for its parent.
GATE_OFF = tuple(
    f"gate.{rule}=null"
    for rule, field in GateConfig.model_fields.items()
    if type(None) in get_args(field.annotation)
)
SMALL = ("encoder.runtime=hashing", "ranker.model=fused", "relevance.model=cosine")


@dataclass(frozen=True)
class Shop:
    """Everything that the cells of a matrix share; each has a store of its own."""

    config: Path
    overrides: tuple[str, ...]
    """Settings of every cell, but for `store` and `evaluation.judgments`."""
    judgments: str
    folder: Path
    parent_id: str
    undisturbed: Manifest
    parts: dict[str, int]
    """By step: how many parts it has."""
    part_rows: int
    """Rows of the largest part of embedding."""

    def settings(self, store: Path) -> Settings:
        """Settings of one cell."""
        return load(self.config, [*self.overrides, f"store={store}"])

    def new_store(self, name: str, step: str, *, prepared: bool) -> Path:
        """A store with the live parent, and, if `prepared`, what the steps before `step` made in the undisturbed night.

        Embedding is dear, so its parts are there for `read` and `rows` too; a cell of `embed` begins with nothing.
        """
        store = self.folder / "cells" / name
        shutil.rmtree(store, ignore_errors=True)
        shutil.copytree(self.folder / "template", store)
        if prepared and step != "embed":
            made = [each for each in MADE if each == "embed" or _before(each, step)]
            (run,) = (self.folder / "made" / "runs").iterdir()
            for each in made:
                shutil.copytree(run / each, store / "runs" / run.name / each)
            if "index" in made:
                shutil.copy2(run / "run.json", store / "runs" / run.name)
                shutil.copytree(
                    self.folder / "made" / "snapshots", store / "snapshots", dirs_exist_ok=True
                )
        return store


def _before(made: str, step: str) -> bool:
    return step not in MADE or MADE.index(made) < MADE.index(step)


def open_shop(
    folder: Path, config: Path, changes: Sequence[str] = (), products: int | None = None
) -> Shop:
    """Builds the shop below `folder`, or takes what an earlier call with the same arguments built there.

    Args:
        folder: for sources, stores and work files.
        config: an environment whose source is one Parquet file, or any with `products`.
        changes: further `--set` overrides of every cell.
        products: take the sample catalogue in this size, hashing vectors and no trained model.
    """
    asked = json.dumps([str(config), list(changes), products])
    note = folder / "shop.json"
    if not note.is_file() or json.loads(note.read_text())["asked"] != asked:
        shutil.rmtree(folder, ignore_errors=True)
        _build(folder, config, changes, products, note, asked)
    told = json.loads(note.read_text())
    return Shop(
        config=config,
        overrides=tuple(told["overrides"]),
        judgments=told["judgments"],
        folder=folder,
        parent_id=told["parent_id"],
        undisturbed=Manifest.from_json(told["undisturbed"].encode(), str(note)),
        parts=told["parts"],
        part_rows=told["part_rows"],
    )


def _build(
    folder: Path, config: Path, changes: Sequence[str], products: int | None, note: Path, asked: str
) -> None:
    settings = load(config, changes)
    judgments = settings.evaluation.judgments or "null"
    small: tuple[str, ...] = ()
    if products:
        written = write_sample(str(folder / "sample"), products)
        rows, judgments, small = (
            pq.read_table(written["products.parquet"]),
            str(written["judgments.parquet"]),
            SMALL,
        )
    else:
        rows = _one_table(settings)
    overrides = (
        *(f"work_dir={folder / 'work'}", f"serving.cache_dir={folder / 'cache'}"),
        *(f"index.shards={SHARDS}", "rewriter.mode=off", "evaluation.judgments=null"),
        *(*GATE_OFF, *small, *changes),
    )
    _cut(rows.slice(0, max(int(rows.num_rows * PARENT_FRACTION), 1)), folder / "parent", 1)
    _cut(rows, folder / "source", SOURCE_FILES)
    parent = load(config, _at(overrides, folder / "parent", folder / "template"))
    parent_id = str(_night(parent).run()["snapshot"])
    overrides = _at(overrides, folder / "source")
    settings = load(config, [*overrides, f"store={folder / 'undisturbed'}"])
    shutil.copytree(folder / "template", folder / "undisturbed")
    snapshot_id = str(_night(settings).run(until="index")["snapshot"])
    (run,) = [each for each in (folder / "undisturbed" / "runs").iterdir() if each.is_dir()]
    shutil.copytree(run, folder / "made" / "runs" / run.name)
    shutil.copytree(
        folder / "undisturbed" / "snapshots" / snapshot_id,
        folder / "made" / "snapshots" / snapshot_id,
    )
    _night(settings).run()
    manifest = Library(Store.open(settings.store)).manifest(snapshot_id)
    markers = (run_of(folder / "made") / "embed").glob("*.done.json")
    part_rows = [json.loads(each.read_text())["result"]["rows"] for each in markers]
    told = {
        "asked": asked,
        "overrides": overrides,
        "judgments": judgments,
        "parent_id": parent_id,
        "undisturbed": manifest.to_json().decode(),
        "parts": {
            "read": len(plan(settings.catalog)),
            "rows": SHARDS,
            "embed": len(part_rows),
            "index": SHARDS,
        },
        "part_rows": max(part_rows),
    }
    note.write_text(json.dumps(told))


def run_of(store: Path) -> Path:
    """The folder of the one unfinished run in a store."""
    (run,) = [each for each in (store / "runs").iterdir() if each.is_dir()]
    return run


def _night(settings: Settings) -> Night:
    return Night(settings, serial, lambda _: None)


def _at(overrides: Sequence[str], source: Path, store: Path | None = None) -> tuple[str, ...]:
    where = [f"store={store}"] if store else []
    return (*overrides, f"catalog.source.url={source}", *where)


def _one_table(settings: Settings) -> pa.Table:
    url = settings.catalog.source.url
    if not isinstance(url, str) or not Path(url).is_file():
        raise CatalogError(
            f"{url}: not one local file; the kill matrix cuts one Parquet file into {SOURCE_FILES}, name such a source"
        )
    return pq.read_table(url)


def _cut(rows: pa.Table, folder: Path, files: int) -> None:
    folder.mkdir(parents=True)
    step = -(-rows.num_rows // files)
    for number in range(files):
        pq.write_table(rows.slice(number * step, step), folder / f"part-{number:02d}.parquet")
