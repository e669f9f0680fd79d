"""A night that is killed anywhere and started again ends as one that was not, and does no part twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pytest

from aisle.config import Settings
from aisle.errors import CatalogError, GateBreached, JobFailed
from aisle.nightly import reindex
from aisle.nightly.run import Item, Run, Worker, serial
from aisle.snapshot import Manifest
from aisle.store import StoredFile
from tests.shop import library_of, live, run_night, sample, settings_for, write_source


class Killed(Exception):
    """Stands for SIGKILL: no code of the run catches it."""


class Parts:
    """A mapper that counts parts and dies when it has done some; enough, because only markers survive a process."""

    def __init__(self, dies_after: int | None = None, before_marker: bool = False) -> None:
        self.done: Counter[tuple[str, str]] = Counter()
        self._left = dies_after
        self._before_marker = before_marker

    def __call__(
        self,
        make_worker: Callable[[], Worker],
        items: Sequence[Item],
        *,
        step: str,
        actors: bool = False,
    ) -> Iterator[Item]:
        worker = make_worker()

        def counted(item: Item) -> Item:
            if self._left == 0 and not self._before_marker:
                raise Killed
            result = worker(item)
            self.done[step, item["part"]] += 1
            if self._left is not None:
                self._left -= 1
            return result

        return serial(lambda: counted, items, step=step, actors=actors)


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[Manifest, Counter[tuple[str, str]]]:
    folder = tmp_path_factory.mktemp("undisturbed")
    settings = small(folder)
    parts = Parts()
    run_night(settings, mapper=parts)
    return live(settings), parts.done


def small(folder: Path) -> Settings:
    """Two files, two shards, a part for every tenth of the rows."""
    products = sample().products.slice(0, 60)
    write_source(folder / "source" / "a.parquet", products.slice(0, 30))
    write_source(folder / "source" / "b.parquet", products.slice(30))
    return settings_for(folder, folder / "source")


def test_a_night_has_parts_in_every_step(
    undisturbed: tuple[Manifest, Counter[tuple[str, str]]],
) -> None:
    steps = Counter(step for step, _ in undisturbed[1])
    assert (steps["read"], steps["rows"], steps["index"]) == (2, 2, 2)
    assert steps["embed"] >= 10


def test_killed_after_any_part_it_goes_on_and_does_none_again(
    tmp_path: Path, undisturbed: tuple[Manifest, Counter[tuple[str, str]]]
) -> None:
    manifest, all_parts = undisturbed
    settings = small(tmp_path)
    done: Counter[tuple[str, str]] = Counter()
    attempts = 0
    while True:  # one run, killed after every single part
        parts = Parts(dies_after=1)
        attempts += 1
        try:
            run_night(settings, mapper=parts)
        except Killed:
            done += parts.done
            continue
        done += parts.done
        break
    assert done == all_parts
    assert set(done.values()) == {1}
    assert attempts >= len(all_parts)
    assert live(settings).comparable() == manifest.comparable()


def test_killed_before_a_marker_the_part_is_done_again_and_nothing_is_added(
    tmp_path: Path,
    undisturbed: tuple[Manifest, Counter[tuple[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    settings = small(tmp_path)
    finish, seen = Run.finish, set()

    def dies_once(
        self: Run, step: str, part: str, result: Item, wrote: Iterable[StoredFile]
    ) -> Item:
        if (step, part) not in seen and part.endswith(("0", "1")):
            seen.add((step, part))
            raise Killed
        return finish(self, step, part, result, wrote)

    monkeypatch.setattr(Run, "finish", dies_once)
    while True:
        try:
            run_night(settings)
            break
        except Killed:
            continue
    assert {step for step, _ in seen} == {"read", "rows", "embed", "index"}
    manifest = live(settings)
    assert manifest.comparable() == undisturbed[0].comparable()
    written = library_of(settings).store.list(f"snapshots/{manifest.snapshot_id}")
    assert len(written) == len(manifest.files) + 1  # no lexical file of the first attempt is left


@pytest.mark.parametrize("where", ["assemble", "complete", "publish", "forget_runs"])
def test_killed_between_the_steps_it_goes_on(
    tmp_path: Path,
    undisturbed: tuple[Manifest, Counter[tuple[str, str]]],
    monkeypatch: pytest.MonkeyPatch,
    where: str,
) -> None:
    settings = small(tmp_path)

    def die(*_: object, **__: object) -> None:
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(reindex, where, die)
        with pytest.raises(Killed):
            run_night(settings)
    again = Parts()
    summary = run_night(settings, mapper=again)
    assert live(settings).comparable() == undisturbed[0].comparable()
    if where == "forget_runs":  # CURRENT had moved already: the next night finds nothing to do
        assert summary["unchanged"]
    else:
        assert again.done == Counter()
    assert library_of(settings).store.folders("runs") == ()


def test_a_judge_that_fails_leaves_the_live_snapshot_alone(settings: Settings) -> None:
    def judge(_: Manifest) -> None:
        raise Killed

    with pytest.raises(Killed):
        run_night(settings, judge=judge)
    library = library_of(settings)
    assert library.ids() == []
    assert library.pointer_value().value is None


def test_until_stops_after_a_step_and_the_next_call_goes_on(settings: Settings) -> None:
    assert run_night(settings, until="read")["rows"] == 300
    assert run_night(settings, until="rows")["products"] == 300
    assert run_night(settings, until="embed")["embedded"] > 0
    assert "published" not in run_night(settings, until="index")
    parts = Parts()
    evaluated = run_night(settings, until="evaluate", mapper=parts)
    assert parts.done == Counter()
    assert library_of(settings).ids() == [evaluated["snapshot"]]
    assert library_of(settings).pointer_value().value is None
    assert run_night(settings)["published"]


def test_fresh_forgets_an_unfinished_run(settings: Settings) -> None:
    run_night(settings, until="embed")
    parts = Parts()
    run_night(settings, mapper=parts, fresh=True)
    assert {step for step, _ in parts.done} == {"read", "rows", "embed", "index"}


def test_a_source_replaced_between_attempts_begins_a_new_run(
    settings: Settings, source: Path
) -> None:
    run_night(settings, until="embed")
    write_source(source, sample().products.slice(0, 200))
    summary = run_night(settings)
    assert summary["counts"]["products"] == 200
    assert library_of(settings).store.folders("runs") == ()  # the abandoned run went with this one


def test_a_source_replaced_while_it_is_read_stops_the_night(
    settings: Settings, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    finished: list[str] = []

    def mapper(
        make_worker: Callable[[], Worker],
        items: Sequence[Item],
        *,
        step: str,
        actors: bool = False,
    ) -> Iterator[Item]:
        time.sleep(0.01)
        write_source(source, sample().products.slice(0, 200))
        for result in serial(make_worker, items, step=step, actors=actors):
            finished.append(step)
            yield result

    with pytest.raises(CatalogError, match="changed while it was read"):
        run_night(settings, mapper=mapper)
    assert finished == []


def test_a_source_replaced_after_it_was_read_is_left_to_the_next_night(
    settings: Settings, source: Path
) -> None:
    def mapper(
        make_worker: Callable[[], Worker],
        items: Sequence[Item],
        *,
        step: str,
        actors: bool = False,
    ) -> Iterator[Item]:
        if step == "embed":
            write_source(source, sample().products.slice(0, 290))
        return serial(make_worker, items, step=step, actors=actors)

    assert run_night(settings, mapper=mapper)["counts"]["products"] == 300
    assert run_night(settings)["counts"]["removed"] == 10


@pytest.mark.parametrize("rows", [0, 1])
def test_a_source_that_is_empty_or_nearly_so_tonight_leaves_the_live_snapshot_alone(
    settings: Settings, source: Path, rows: int
) -> None:
    run_night(settings)
    before = live(settings)
    write_source(source, sample().products.slice(0, rows))
    with pytest.raises((CatalogError, GateBreached), match="none is a valid product|-> 1"):
        run_night(settings)
    assert live(settings) == before
    write_source(source, sample().products)
    assert run_night(settings)["unchanged"]


# What lies in a store after `--until index`, by step: a part's marker and one of its files.
CHECKPOINTS = {
    "read": ("read/unit-00000.done.json", "read/unit-00000/0001-00000.parquet"),
    "rows": ("rows/0001.done.json", "rows/pending-0001-00002.parquet"),
    "embed": ("embed/0001-00002.done.json", "embed/0001-00002.parquet"),
    "index": ("index/0001.done.json", "index/counts-0001.parquet"),
}


def checkpoint(settings: Settings, name: str) -> Path:
    """The one file of the unfinished run whose path ends so."""
    folder = Path(settings.store) / "runs"
    (path,) = folder.glob(f"*/{name}")
    return path


@pytest.mark.parametrize(
    "damage", ["marker cut", "marker of another shape", "file cut", "file gone"]
)
@pytest.mark.parametrize("step", CHECKPOINTS)
def test_a_damaged_checkpoint_is_made_again_and_no_other(
    tmp_path: Path,
    undisturbed: tuple[Manifest, Counter[tuple[str, str]]],
    caplog: pytest.LogCaptureFixture,
    step: str,
    damage: str,
) -> None:
    settings = small(tmp_path)
    run_night(settings, until="index")
    marker, file = (checkpoint(settings, name) for name in CHECKPOINTS[step])
    damaged = marker if damage.startswith("marker") else file
    if damage == "file gone":
        damaged.unlink()
    else:
        damaged.write_bytes(b"{}" if "shape" in damage else damaged.read_bytes()[:20])
    parts = Parts()
    run_night(settings, mapper=parts)
    assert parts.done == Counter({(step, marker.name.removesuffix(".done.json")): 1})
    assert damaged.name in caplog.text
    assert live(settings).comparable() == undisturbed[0].comparable()


def test_a_segment_that_was_cut_short_is_built_again(
    tmp_path: Path, undisturbed: tuple[Manifest, Counter[tuple[str, str]]]
) -> None:
    settings = small(tmp_path)
    snapshot_id = run_night(settings, until="index")["snapshot"]
    folder = Path(settings.store) / "snapshots" / snapshot_id / "shards" / "0000"
    (vectors,) = folder.glob("*/vectors.npy")
    vectors.write_bytes(vectors.read_bytes()[:100])
    parts = Parts()
    run_night(settings, mapper=parts)
    assert parts.done == Counter({("index", "0000"): 1})
    assert live(settings).comparable() == undisturbed[0].comparable()
    written = library_of(settings).store.list(f"snapshots/{snapshot_id}")
    assert len(written) == len(live(settings).files) + 1  # nothing of the first attempt is left


@pytest.mark.parametrize("until", ["read", "rows", "embed"])
def test_a_flipped_byte_names_the_file_and_the_next_attempt_makes_that_part_again(
    tmp_path: Path, undisturbed: tuple[Manifest, Counter[tuple[str, str]]], until: str
) -> None:
    """Its length is right, so only reading it tells; Parquet's page checksums do."""
    settings = small(tmp_path)
    run_night(settings, until=until)
    marker, file = (checkpoint(settings, name) for name in CHECKPOINTS[until])
    data = bytearray(file.read_bytes())
    data[len(data) // 4] ^= 1
    file.write_bytes(data)
    with pytest.raises(JobFailed, match=rf"{file.name}: damaged .* and removed; start .* again"):
        run_night(settings)
    parts = Parts()
    run_night(settings, mapper=parts)
    assert parts.done[until, marker.name.removesuffix(".done.json")] == 1
    assert {step for step, _ in parts.done} <= {until, *("rows", "embed", "index")}
    assert live(settings).comparable() == undisturbed[0].comparable()


def test_a_run_whose_start_cannot_be_read_indexes_again_and_keeps_the_rest(
    tmp_path: Path, undisturbed: tuple[Manifest, Counter[tuple[str, str]]]
) -> None:
    settings = small(tmp_path)
    run_night(settings, until="index")
    checkpoint(settings, "run.json").write_bytes(b'{"started')
    parts = Parts()
    run_night(settings, mapper=parts)
    assert {step for step, _ in parts.done} == {"index"}
    manifest = live(settings)
    assert {entry.owner for entry in manifest.files.values()} == {manifest.snapshot_id}
    assert manifest.comparable() == undisturbed[0].comparable()


def test_the_parts_under_way_in_all_workers_hold_no_more_than_the_fraction(tmp_path: Path) -> None:
    source = write_source(tmp_path / "p.parquet", sample().products)
    for workers, rows in ((1, 30), (2, 15), (4, 7)):  # a tenth of 300, shared; whole rows
        ray = {"part_fraction": 0.1, "embed_workers": workers, "num_cpus": workers + 1}
        settings = settings_for(tmp_path / str(workers), source, ray=ray)
        run_night(settings, until="embed")
        store = library_of(settings).store
        (run_id,) = store.folders("runs")
        parts = Run(run_id, settings, store).done("embed").values()
        assert max(each["rows"] for each in parts) == rows
