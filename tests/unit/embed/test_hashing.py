from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from aisle.embed import HashingEncoder, open_encoder
from aisle.embed.hashing import features
from aisle.errors import ModelError


def test_features_are_words_and_fenced_trigrams_after_folding() -> None:
    assert list(features("TV, Ärmel")) == [
        *("w:tv", "t:<tv", "t:tv>"),
        *("w:ärmel", "t:<är", "t:ärm", "t:rme", "t:mel", "t:el>"),
    ]


def test_vector_of_one_word_follows_blake2b() -> None:
    # From coreutils: printf 'w:tv' | b2sum -l 64, and so on. Slot = (value >> 1) mod d, sign + for an odd value.
    hashes = [0x4BC8E9836C35CDAB, 0x946A55FE4F361D9D, 0x46A512715C8D3D16]
    expected = np.zeros(64)
    for value in hashes:
        expected[(value >> 1) % 64] += 1 if value % 2 else -1
    expected /= np.sqrt((expected**2).sum())
    np.testing.assert_allclose(HashingEncoder(64).encode(["TV"])[0], expected, atol=1e-6)


def test_weights_are_square_roots_of_counts() -> None:
    encoder = HashingEncoder(4096)
    one, two, both = encoder.encode(["red", "blue", "red red red red blue"])
    # red counts 4, so weighs 2; both words have the same number of features where none collide
    expected = 2 * one * np.sqrt(4) + two * np.sqrt(5)
    assert np.count_nonzero(one) == 4
    assert np.count_nonzero(two) == 5
    np.testing.assert_allclose(both, expected / np.linalg.norm(expected), atol=1e-6)


def test_rows_are_unit_float32_in_order_even_without_words() -> None:
    texts = ["", "   ", "!!!", "red shoes", "赤い靴", "\ud800", "red shoes"]
    vectors = HashingEncoder(32).encode(texts)
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)
    np.testing.assert_array_equal(vectors[3], vectors[6])
    assert HashingEncoder(32).encode([]).shape == (0, 32)


def test_a_typing_error_stays_nearer_than_another_word() -> None:
    right, typo, other = HashingEncoder().encode(["refrigerator", "refridgerator", "lawn mower"])
    assert right @ typo > 0.6 > 0.2 > right @ other


def test_another_process_gives_the_same_vectors() -> None:
    code = (
        "from aisle.embed.hashing import HashingEncoder as H\n"
        "print(H(16).encode(['steel bottle 750 ml']).tobytes().hex())"
    )
    root = Path(__file__).parents[3] / "platform"
    outputs = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={"PYTHONHASHSEED": seed, "PYTHONPATH": str(root), "PATH": ""},
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()
        for seed in ("1", "2")
    }
    assert outputs == {HashingEncoder(16).encode(["steel bottle 750 ml"]).tobytes().hex()}


def test_save_and_open_give_the_same_encoder(tmp_path: Path) -> None:
    saved = HashingEncoder(48)
    saved.save(tmp_path / "encoder")
    opened = open_encoder(tmp_path / "encoder")
    assert (opened.dimension, opened.fingerprint) == (48, saved.fingerprint)
    np.testing.assert_array_equal(opened.encode(["red"], "query"), saved.encode(["red"]))


def test_a_dimension_of_zero_is_refused() -> None:
    with pytest.raises(ModelError, match="dimension 0"):
        HashingEncoder(0)
