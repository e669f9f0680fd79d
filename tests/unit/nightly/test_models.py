"""Which models a night takes, and when it takes the parent's copy."""

from __future__ import annotations

from pathlib import Path

import pytest

from aisle.errors import ModelError
from aisle.nightly.models import Model, check_fit, choose_models
from aisle.rewrite import fingerprint_model
from tests.shop import live, load, run_night, sample, settings_for, write_source


@pytest.mark.parametrize("role", ["ranker", "relevance"])
def test_a_missing_model_is_an_error_that_says_what_to_run(tmp_path: Path, role: str) -> None:
    settings = settings_for(tmp_path, "p.parquet", **{role: {"model": str(tmp_path / "gone")}})
    with pytest.raises(
        ModelError, match=rf"{role}\.model: .*gone is not there.*jobs\.train_{role}"
    ):
        choose_models(settings)


@pytest.mark.parametrize(("role", "rule"), [("ranker", "fused"), ("relevance", "cosine")])
def test_a_missing_model_falls_back_to_its_rule_where_the_config_says_so(
    tmp_path: Path, role: str, rule: str
) -> None:
    section = {"model": str(tmp_path / "gone"), "missing": rule}
    model = choose_models(settings_for(tmp_path, "p.parquet", **{role: section}))[role]
    assert (model.kind, model.folder, model.fingerprint) == (rule, None, rule)


def test_a_rewriter_that_is_not_trained_yet_is_done_without_where_the_config_says_so(
    tmp_path: Path,
) -> None:
    section = {"mode": "vllm", "model": str(tmp_path / "gone")}
    with pytest.raises(ModelError, match="is not a folder"):
        choose_models(settings_for(tmp_path, "p.parquet", rewriter=section))
    without = settings_for(tmp_path, "p.parquet", rewriter={**section, "missing": "off"})
    assert "rewriter" not in choose_models(without)


def test_a_model_is_carried_by_reference_while_it_stays_the_same(tmp_path: Path) -> None:
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 20))
    settings = settings_for(tmp_path, source)
    run_night(settings)
    first = live(settings)
    write_source(source, sample().products.slice(0, 21))
    run_night(settings)
    second = live(settings)
    assert second.models["encoder"] == first.models["encoder"]
    assert second.models["encoder"].owner == first.snapshot_id
    assert second.files["models/encoder/encoder.json"].owner == first.snapshot_id
    load(settings)


def test_only_a_changed_model_makes_a_new_snapshot_of_the_same_segments(tmp_path: Path) -> None:
    source = write_source(tmp_path / "p.parquet", sample().products.slice(0, 20))
    run_night(settings_for(tmp_path, source))
    rewriter = settings_for(tmp_path, source, rewriter={"mode": "vllm"})  # the one in the package
    summary = run_night(rewriter)
    assert summary["published"]
    assert (summary["counts"]["fresh"], summary["counts"]["embedded"]) == (0, 0)
    manifest = live(rewriter)
    assert manifest.models["rewriter"].owner == manifest.snapshot_id
    assert "models/rewriter/config.json" in manifest.files
    assert run_night(rewriter)["unchanged"]


def test_a_fingerprint_is_that_of_names_and_contents(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "x").write_text("1")
    (tmp_path / "c" / "x").rename(tmp_path / "c" / "y")
    assert fingerprint_model(tmp_path / "a") == fingerprint_model(tmp_path / "b")
    assert fingerprint_model(tmp_path / "a") != fingerprint_model(tmp_path / "c")
    (tmp_path / "b" / "x").write_text("2")
    assert fingerprint_model(tmp_path / "a") != fingerprint_model(tmp_path / "b")


def test_a_model_for_another_encoder_is_refused_before_the_work_begins(tmp_path: Path) -> None:
    (tmp_path / "relevance.json").write_text("{}")
    rules = {role: Model(role, "rule", None, "rule") for role in ("ranker", "relevance")}
    check_fit(rules, 64)
    damaged = {**rules, "relevance": Model("relevance", "onnx", tmp_path, "x")}
    with pytest.raises(ModelError, match=r"relevance\.json"):
        check_fit(damaged, 64)
