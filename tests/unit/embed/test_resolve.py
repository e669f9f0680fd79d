from __future__ import annotations

import json
from pathlib import Path

import pytest

from aisle.embed.recipe import read_recipe, source_sha256
from aisle.embed.resolve import resolve_model
from aisle.errors import ModelError

NAME = "acme/shop-encoder"
PACKAGES = {NAME: ("acme_shop_encoder", "model")}


def write_model(folder: Path, *, weights: str = "model.safetensors") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text("{}")
    (folder / weights).write_bytes(b"weights")
    return folder


def write_cached(hub: Path, *, complete: bool = True) -> Path:
    """The layout of Hugging Face's cache, written by hand: refs/main names the folder below snapshots/."""
    repo = hub / "models--acme--shop-encoder"
    (repo / "refs").mkdir(parents=True)
    (repo / "refs" / "main").write_text("0" * 40)
    snapshot = write_model(repo / "snapshots" / ("0" * 40))
    if not complete:
        (snapshot / "model.safetensors").unlink()
    return snapshot


def write_package(site: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package whose import would fail: finding it must not run it."""
    package = site / "acme_shop_encoder"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("raise RuntimeError('imported')")
    monkeypatch.syspath_prepend(str(site))
    return write_model(package / "model")


def no_network(name: str, cache_dir: Path | None) -> Path:
    raise OSError("connection refused")


@pytest.fixture(autouse=True)
def hf_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    hub = tmp_path / "hf-home" / "hub"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(hub))
    return hub


# Which places hold the model -> the place that wins: the order of design.md part 4.
ORDER = {
    "cache before package and hub": (("cache", "package", "hub"), "cache"),
    "own cache folder like the Hugging Face one": (("own cache", "package", "hub"), "own cache"),
    "package before hub": (("package", "hub"), "package"),
    "incomplete cache is passed over": (("broken cache", "package", "hub"), "package"),
    "hub when nothing else": (("hub",), "hub"),
}


@pytest.mark.parametrize(("present", "winner"), ORDER.values(), ids=ORDER.keys())
def test_resolve_takes_the_first_place_that_holds_the_model(
    present: tuple[str, ...],
    winner: str,
    tmp_path: Path,
    hf_cache: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cache_dir = tmp_path / "aisle-cache"
    places: dict[str, Path] = {}
    for place in present:
        if place == "cache":
            places[place] = write_cached(hf_cache)
        elif place == "broken cache":
            places[place] = write_cached(hf_cache, complete=False)
        elif place == "own cache":
            places[place] = write_cached(cache_dir / "hub")
        elif place == "package":
            places[place] = write_package(tmp_path / "site", monkeypatch)
        else:
            places[place] = tmp_path / "downloaded"

    found = resolve_model(
        NAME,
        cache_dir,
        packages=PACKAGES,
        download=lambda name, to: write_model(tmp_path / "downloaded"),
    )

    assert found == places[winner]


def test_a_local_folder_wins_over_everything(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "mine", weights="pytorch_model.bin")
    assert resolve_model(str(folder), download=no_network) == folder


def test_an_old_model_keeps_its_transformer_in_a_subfolder(tmp_path: Path) -> None:
    write_model(tmp_path / "old" / "0_Transformer")
    assert resolve_model(str(tmp_path / "old"), download=no_network) == tmp_path / "old"


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    (write_model(tmp_path / "mine") / "model.safetensors").unlink()
    with pytest.raises(ModelError, match="no config.json or no weights"):
        resolve_model(str(tmp_path / "mine"))


def test_a_path_that_is_not_there_is_never_taken_for_a_hub_name(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no such folder"):
        resolve_model(str(tmp_path / "absent"), download=no_network)


def test_a_network_failure_names_all_four_places_and_a_way_out(tmp_path: Path) -> None:
    with pytest.raises(ModelError) as caught:
        resolve_model(NAME, tmp_path, packages=PACKAGES, download=no_network)
    message = str(caught.value)
    for part in (
        NAME,
        "1. local folder",
        "2. Hugging Face cache",
        "acme_shop_encoder",
        "connection refused",
        "Copy",
    ):
        assert part in message


def test_a_name_that_no_hub_allows_is_a_model_error(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="was not found"):
        resolve_model("a/b/c", tmp_path, download=no_network)


REFUSED = {
    "unknown module": ([("models.LSTM", "x")], {}, "LSTM"),
    "no pooling": ([("models.Transformer", "")], {}, "no Pooling module"),
    "two poolings": (
        [("models.Transformer", ""), ("models.Pooling", "p")],
        {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True},
        "exactly one of",
    ),
    "weighted mean": (
        [("models.Transformer", ""), ("models.Pooling", "p")],
        {"pooling_mode": "weightedmean"},
        "weightedmean",
    ),
}


@pytest.mark.parametrize(("modules", "pooling", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_a_recipe_that_cannot_be_reproduced_is_refused(
    modules: list[tuple[str, str]], pooling: dict[str, object], message: str, tmp_path: Path
) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "p").mkdir()
    (folder / "p" / "config.json").write_text(json.dumps(pooling))
    records = [{"type": f"sentence_transformers.{kind}", "path": path} for kind, path in modules]
    (folder / "modules.json").write_text(json.dumps(records))
    with pytest.raises(ModelError, match=message):
        read_recipe(folder)


def test_a_plain_transformer_gets_mean_pooling_and_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert read_recipe(write_model(tmp_path / "plain")).pooling == "mean"
    assert "mean pooling is assumed" in caplog.text


def test_source_hash_follows_weights_and_not_place_or_tool_version(tmp_path: Path) -> None:
    first, second = write_model(tmp_path / "first"), write_model(tmp_path / "second")
    (second / "config.json").write_text(
        '{"transformers_version": "9.9", "_name_or_path": "elsewhere"}'
    )
    assert source_sha256(read_recipe(first)) == source_sha256(read_recipe(second))
    (second / "model.safetensors").write_bytes(b"other weights")
    assert source_sha256(read_recipe(first)) != source_sha256(read_recipe(second))
