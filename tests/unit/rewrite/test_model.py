from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from aisle.errors import ModelError
from aisle.rewrite import BUILTIN_REWRITER, fingerprint_model, resolve_model


def test_builtin_names_the_model_in_the_package() -> None:
    assert resolve_model("builtin") == BUILTIN_REWRITER
    assert (BUILTIN_REWRITER / "rewriter.json").is_file()


def test_a_folder_with_a_config_is_a_model(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"")

    assert resolve_model(tmp_path) == tmp_path
    assert resolve_model(str(tmp_path)) == tmp_path


def test_a_folder_without_a_config_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"holds no config\.json"):
        resolve_model(tmp_path)


@pytest.mark.parametrize("name", ["no-such-folder", "./no/folder", "/no/such/folder"])
def test_what_is_neither_folder_nor_hub_name_is_refused_without_the_network(name: str) -> None:
    with pytest.raises(ModelError, match="is not a folder; give 'builtin'"):
        resolve_model(name)


def test_the_fingerprint_covers_names_and_bytes(tmp_path: Path) -> None:
    (tmp_path / "b").write_bytes(b"2")
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"1")
    # By hand: name, a zero byte and the content's digest, for each file in the order of the names.
    expected = hashlib.sha256(
        b"b\0" + hashlib.sha256(b"2").digest() + b"sub/a\0" + hashlib.sha256(b"1").digest()
    ).hexdigest()

    assert fingerprint_model(tmp_path) == expected

    (tmp_path / "b").write_bytes(b"3")
    assert fingerprint_model(tmp_path) != expected
