"""A night that is killed anywhere and started again ends as one that was not, and does no part twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from aisle.config import Settings
from aisle.errors import CatalogError, JobFailed
from aisle.nightly import reindex
from aisle.nightly.run import Item, Run, Worker, serial
from aisle.snapshot import Manifest
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

    def dies_once(self: Run, step: str, part: str, result: Item) -> Item:
        if (step, part) not in seen and part.endswith(("0", "1")):
            seen.add((step, part))
            raise Killed
        return finish(self, step, part, result)

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


@pytest.mark.parametrize("what", ["table", "marker"])
def test_a_damaged_checkpoint_names_itself_and_fresh_helps(settings: Settings, what: str) -> None:
    run_night(settings, until="embed")
    store = library_of(settings).store
    ending = ".parquet" if what == "table" else ".done.json"
    damaged = next(n for n in store.list("runs") if "/embed/" in n and n.endswith(ending))
    store.write_bytes(damaged, store.read_bytes(damaged)[:20])
    with pytest.raises(JobFailed, match=r"embed/.*damaged.*--fresh"):
        run_night(settings)
    assert run_night(settings, fresh=True)["published"]
