"""Which engines the rewriter's replica starts, and when; engines are counted here, not run (the cluster tests do)."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest

from aisle.cache import Cache
from aisle.config import Settings
from aisle.errors import ModelError, StageError
from aisle.stages import Deadline, Rewrite
from deployments import rewriter
from deployments.rewriter import RewriterStage
from tests import shop


class Engine:
    """Stands for vLLM's: answers, dies on request, and says when it was closed."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.dead, self.closed = folder, False, False
        self.cache = Cache[str, Rewrite](0)

    async def rewrite(self, queries: list[str], _: Deadline) -> list[Rewrite]:
        self.check_health()
        return [Rewrite.unchanged(query) for query in queries]

    def check_health(self) -> None:
        if self.dead:
            raise StageError("the rewrite engine has stopped")

    def close(self) -> None:
        self.closed = True


class Engines:
    """Opens engines; a folder that is named in `broken` does not start, and `gate` holds a start back."""

    def __init__(self) -> None:
        self.opened: list[Engine] = []
        self.broken: set[str] = set()
        self.gate = threading.Event()
        self.gate.set()

    def __call__(self, folder: Path, _: Any) -> Engine:
        self.gate.wait(10)
        if folder.name in self.broken:
            raise ModelError(f"{folder.name}: no weights")
        self.opened.append(Engine(folder))
        return self.opened[-1]


@pytest.fixture
def engines(monkeypatch: pytest.MonkeyPatch) -> Engines:
    made = Engines()
    monkeypatch.setattr(rewriter, "open_rewriter", made)
    monkeypatch.setattr(rewriter, "_FIRST_PAUSE_S", 0.05)
    return made


class Models:
    """Stands for the residents' store: the rewriter of each snapshot, and CURRENT."""

    def __init__(self) -> None:
        self.current = "a"

    def current_id(self) -> str:
        return self.current

    def folder_of(self, snapshot_id: str, _: str) -> tuple[str, Path]:
        return snapshot_id, Path(snapshot_id)


@pytest.fixture
def models() -> Models:
    return Models()


@pytest.fixture
def stage(
    engines: Engines, models: Models, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> RewriterStage:
    """A replica whose live snapshot has the model `a`, with room for two engines."""
    monkeypatch.setattr(rewriter, "Residents", lambda *_: models)
    settings: Settings = shop.settings_for(tmp_path, tmp_path / "none.parquet")
    return RewriterStage(settings)


async def asked(stage: RewriterStage, fingerprint: str) -> list[Rewrite]:
    return await stage.rewrite(fingerprint, ["red shoes"], Deadline.after(1.0))


async def ready(stage: RewriterStage, fingerprint: str) -> None:
    for _ in range(200):
        try:
            await asked(stage, fingerprint)
        except StageError:
            await asyncio.sleep(0.01)
        else:
            return
    pytest.fail(f"{fingerprint} never became ready: {await stage.problem()}")


async def test_two_preparations_of_one_model_start_one_engine(stage, engines):
    engines.gate.clear()
    await asyncio.gather(*(stage.prepare("b") for _ in range(3)))
    with pytest.raises(StageError, match="the engine of model b is not ready"):
        await asked(stage, "b")
    assert await stage.problem() == "the engine of model b is starting"
    engines.gate.set()
    await ready(stage, "b")
    assert [each.folder.name for each in engines.opened] == ["a", "b"]
    assert await stage.problem() is None


async def test_a_start_that_fails_is_reported_and_tried_again(stage, engines, models):
    engines.broken.add("b")
    await stage.prepare("b")
    await asyncio.sleep(0.05)
    assert "model b did not start, tries: 1: b: no weights" in (await stage.problem() or "")
    assert await asked(stage, "a") == [Rewrite.unchanged("red shoes")]
    engines.broken.clear()
    models.current = "b"
    await ready(stage, "b")
    assert await stage.problem() is None


async def test_a_replica_that_missed_the_preparation_starts_what_is_asked_for(
    stage, engines, models
):
    models.current = "b"
    await ready(stage, "b")
    assert [each.folder.name for each in engines.opened] == ["a", "b"]


async def test_the_engine_asked_for_last_stays_when_room_is_made(stage, engines):
    await stage.prepare("b")
    await ready(stage, "b")
    await asked(stage, "a")  # rolled back
    await stage.prepare("c")
    await ready(stage, "c")
    a, b, c = engines.opened
    assert (a.closed, b.closed, c.closed) == (False, True, False)


async def test_an_engine_that_died_is_replaced_in_its_replica(stage, engines):
    (first,) = engines.opened
    first.dead = True
    await stage.check_health()
    await ready(stage, "a")
    assert first.closed
    assert [each.folder.name for each in engines.opened] == ["a", "a"]


async def test_whoever_finds_an_engine_dead_has_it_replaced(stage, engines):
    (first,) = engines.opened
    first.dead = True
    with pytest.raises(StageError):
        await asked(stage, "a")
    await ready(stage, "a")
    assert len(engines.opened) == 2


async def test_an_idle_engine_that_died_is_let_go(stage, engines):
    await stage.prepare("b")
    await ready(stage, "b")
    first, second = engines.opened
    first.dead = True
    await stage.check_health()
    await asyncio.sleep(0.05)
    assert (first.closed, second.closed) == (True, False)
    assert len(engines.opened) == 2


async def test_a_replica_in_which_no_engine_starts_any_more_is_given_up(stage, engines):
    (first,) = engines.opened
    first.dead = True
    engines.broken.add("a")

    async def many_checks() -> None:
        for _ in range(200):
            await stage.check_health()
            await asyncio.sleep(0.01)

    with pytest.raises(StageError, match="no rewrite engine starts in this replica: .*no weights"):
        await many_checks()
