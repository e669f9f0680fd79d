from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from aisle.embed import EmbedBatch, HashingEncoder, open_encoder, prepare_encoder
from aisle.errors import ConfigError, ModelError


@dataclass
class Settings:
    model: str = ""
    missing: str = "error"
    base: str = ""
    runtime: str = "hashing"
    precision: str = "fp32"
    query_precision: str = "int8"
    max_tokens: int = 40
    query_max_tokens: int = 12
    query_prefix: str = ""
    document_prefix: str = ""
    dimension: int = 64


@pytest.mark.parametrize("runtime", ["onnx", "torch", "hashing"])
def test_a_prepared_folder_opens_after_everything_it_came_from_is_gone(
    runtime: str, tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    model = tmp_path / tiny[0].name
    shutil.copytree(tiny[0], model)
    shutil.copytree(tiny[1].parents[1], tmp_path / "cache")  # spares a second export
    prepared = prepare_encoder(Settings(model=str(model), runtime=runtime), tmp_path / "cache")
    assert (
        prepare_encoder(Settings(model=str(model), runtime=runtime), tmp_path / "cache") == prepared
    )
    expected = open_encoder(prepared).encode(["red bottle", "blue"])

    shutil.copytree(prepared, tmp_path / "snapshot")
    shutil.rmtree(model)
    shutil.rmtree(tmp_path / "cache")

    opened = open_encoder(tmp_path / "snapshot")
    np.testing.assert_array_equal(opened.encode(["red bottle", "blue"]), expected)
    assert expected.shape == (2, opened.dimension)


def test_the_base_stands_in_for_a_folder_that_no_training_has_written_yet(
    tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    trained = tmp_path / "models" / "encoder"
    settings = Settings(str(trained), missing="base", base=str(tiny[0]), runtime="torch")
    before = open_encoder(prepare_encoder(settings, tmp_path)).fingerprint
    shutil.copytree(tiny[0], trained)
    weights = trained / "config.json"
    weights.write_text(weights.read_text().replace('"vocab_size"', '"other": 1, "vocab_size"'))
    assert open_encoder(prepare_encoder(settings, tmp_path)).fingerprint != before

    with pytest.raises(ModelError, match="no such folder"):
        prepare_encoder(Settings(str(tmp_path / "no"), runtime="torch"), tmp_path)


def test_an_unknown_runtime_is_a_config_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="onnx, torch, hashing"):
        prepare_encoder(Settings(runtime="tensorflow"), tmp_path)


@pytest.fixture
def hashing_folder(tmp_path: Path) -> Path:
    return prepare_encoder(Settings(), tmp_path)


def test_embed_batch_gives_half_precision_rows_in_order(hashing_folder: Path) -> None:
    hashes = [bytes([i]) * 16 for i in range(3)]
    batch = pa.table(
        {"content_hash": pa.array(hashes, pa.binary(16)), "text": ["red", None, "blue shoes"]}
    )
    out = EmbedBatch(hashing_folder)(batch)
    assert out.schema == pa.schema(
        [("content_hash", pa.binary(16)), ("vector", pa.list_(pa.float16(), 64))]
    )
    assert out.column("content_hash").to_pylist() == hashes
    vectors = np.array(out.column("vector").to_pylist())
    np.testing.assert_allclose(
        vectors, HashingEncoder(64).encode(["red", "", "blue shoes"]), atol=1e-3
    )


def test_embed_batch_maps_an_empty_table_to_an_empty_table(hashing_folder: Path) -> None:
    batch = pa.table(
        {"content_hash": pa.array([], pa.binary(16)), "text": pa.array([], pa.string())}
    )
    out = EmbedBatch(hashing_folder)(batch)
    assert out.num_rows == 0
    assert out.schema.field("vector").type == pa.list_(pa.float16(), 64)


def test_embed_batch_names_a_missing_column(hashing_folder: Path) -> None:
    with pytest.raises(ValueError, match="content_hash"):
        EmbedBatch(hashing_folder)(pa.table({"text": ["red"]}))
