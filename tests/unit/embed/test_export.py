from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from aisle.embed import (
    HashingEncoder,
    OnnxEncoder,
    export_encoder,
    open_encoder,
    save_torch_encoder,
)
from aisle.embed.onnx import open_session
from aisle.embed.spec import EncoderSpec
from aisle.embed.verify import Sample, require_equal, sample_inputs
from aisle.errors import ConfigError, ModelError

pytest.importorskip("torch", reason="model tests need the extra `models`")
pytest.importorskip("onnxscript", reason="model tests need the extra `models`")

TEXTS = [
    "red steel bottle",
    "hp laptop sleeve 15 inch",
    "",
    "wireless mouse " * 40,  # longer than any limit here
    "é, unknownword",
    "blue",
    "laptop sleeves, red, blue, steel",
]

SMALL: dict[str, Any] = {"max_tokens": 40, "query_max_tokens": 12}


@pytest.mark.slow
def test_export_equals_transformers_one_text_at_a_time(
    make_model: Callable[..., Path],
    reference: Callable[..., Any],
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    model = make_model("cls_token", seed=1)
    capfd.readouterr()
    folder = export_encoder(str(model), query_precision="fp32", cache_dir=tmp_path, **SMALL)
    assert capfd.readouterr().out == ""  # a job's standard output ends with its JSON document
    encoder = OnnxEncoder.load(folder, batch_size=3)
    documents, queries = encoder.encode(TEXTS), encoder.encode(TEXTS, "query")
    assert documents.dtype == queries.dtype == np.float32
    np.testing.assert_allclose(
        documents, reference(model, TEXTS, pooling="cls", max_tokens=40), atol=1e-5
    )
    np.testing.assert_allclose(
        queries, reference(model, TEXTS, pooling="cls", max_tokens=12), atol=1e-5
    )
    assert not (folder / "query.onnx").exists()
    assert EncoderSpec.read(folder).query.file == "document.onnx"


def test_mean_pooling_ignores_padding(
    tiny: tuple[Path, Path], reference: Callable[..., Any]
) -> None:
    vectors = OnnxEncoder.load(tiny[1], batch_size=3).encode(TEXTS)
    np.testing.assert_allclose(vectors, reference(tiny[0], TEXTS, max_tokens=40), atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("pooling", ["lasttoken", "max_tokens"])
def test_rarer_poolings_export_as_transformers_computes_them(
    pooling: str, make_model: Callable[..., Path], reference: Callable[..., Any], tmp_path: Path
) -> None:
    model = make_model(pooling)
    folder = export_encoder(str(model), cache_dir=tmp_path, **SMALL)
    expected = reference(
        model, TEXTS, pooling={"lasttoken": "last", "max_tokens": "max"}[pooling], max_tokens=40
    )
    np.testing.assert_allclose(OnnxEncoder.load(folder).encode(TEXTS), expected, atol=1e-5)


@pytest.mark.slow
def test_a_dense_layer_after_the_pooling_is_part_of_the_graph(
    make_model: Callable[..., Path], tmp_path: Path
) -> None:
    from safetensors.numpy import load_file

    model = make_model("mean_tokens", dense=8)
    folder = export_encoder(str(model), cache_dir=tmp_path / "dense", **SMALL)
    vectors = OnnxEncoder.load(folder).encode(TEXTS)

    from transformers import AutoModel, AutoTokenizer

    backbone, tokenizer = (
        AutoModel.from_pretrained(model).eval(),
        AutoTokenizer.from_pretrained(model),
    )
    layer = load_file(model / "2_Dense" / "model.safetensors")
    for vector, text in zip(vectors, TEXTS, strict=True):
        inputs = tokenizer(text, truncation=True, max_length=40, return_tensors="pt")
        pooled = backbone(**inputs).last_hidden_state[0].detach().numpy().mean(0)
        expected = np.tanh(layer["linear.weight"] @ pooled + layer["linear.bias"])
        np.testing.assert_allclose(vector, expected / np.linalg.norm(expected), atol=1e-5)


def test_vectors_do_not_depend_on_their_batch(tiny: tuple[Path, Path]) -> None:
    encoder = OnnxEncoder.load(tiny[1])
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_allclose(encoder.encode(TEXTS), alone, atol=1e-5)


def test_int8_queries_are_the_same_bits_alone_and_in_any_batch(tiny: tuple[Path, Path]) -> None:
    encoder = OnnxEncoder.load(tiny[1])
    alone = np.concatenate([encoder.encode([text], "query") for text in TEXTS])
    np.testing.assert_array_equal(encoder.encode(TEXTS, "query"), alone)
    np.testing.assert_array_equal(encoder.encode(TEXTS[::-1], "query"), alone[::-1])


def test_int8_documents_are_the_same_bits_alone_and_in_any_batch(
    tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny[1], folder)
    spec = EncoderSpec.read(folder)
    replace(spec, document=replace(spec.document, precision="int8", file="query.onnx")).write(
        folder
    )
    encoder = OnnxEncoder.load(folder)
    alone = np.concatenate([encoder.encode([text]) for text in TEXTS])
    np.testing.assert_array_equal(encoder.encode(TEXTS), alone)


def test_int8_queries_stay_near_fp32(
    tiny: tuple[Path, Path], reference: Callable[..., Any]
) -> None:
    model, folder = tiny
    got = OnnxEncoder.load(folder).encode(TEXTS, "query")
    cosines = (got * reference(model, TEXTS, max_tokens=12)).sum(1)
    assert cosines.mean() > 0.98
    assert (folder / "query.onnx").stat().st_size < (folder / "document.onnx").stat().st_size


def test_prefixes_are_put_before_the_text_of_their_kind(
    tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    folder = tmp_path / "encoder"
    shutil.copytree(tiny[1], folder)
    spec = EncoderSpec.read(folder)
    document, query = replace(spec.document, prefix="blue "), replace(spec.query, prefix="red ")
    replace(spec, document=document, query=query).write(folder)
    plain, prefixed = OnnxEncoder.load(tiny[1]), OnnxEncoder.load(folder)
    np.testing.assert_array_equal(prefixed.encode(["bottle"]), plain.encode(["blue bottle"]))
    np.testing.assert_array_equal(
        prefixed.encode(["bottle"], "query"), plain.encode(["red bottle"], "query")
    )


def test_fingerprint_follows_the_document_side_only(
    tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    moved = tmp_path / "elsewhere"
    shutil.copytree(tiny[0], moved)

    def fingerprint(model: Path = moved, **changes: Any) -> str:
        # The torch folder states the same fingerprint and is made without loading the model.
        return open_spec(
            save_torch_encoder(str(model), cache_dir=tmp_path / "c", **{**SMALL, **changes})
        )

    def open_spec(folder: Path) -> str:
        return str(json.loads((folder / "encoder.json").read_text())["fingerprint"])

    base = fingerprint()
    assert base == OnnxEncoder.load(tiny[1]).fingerprint  # other runtime, other place, other name
    assert base == fingerprint(query_prefix="q: ") == fingerprint(query_max_tokens=9)
    changed = [
        fingerprint(document_prefix="d: "),
        fingerprint(max_tokens=41),
        fingerprint(precision="fp16"),
    ]
    (moved / "1_Pooling" / "config.json").write_text('{"pooling_mode": "cls"}')
    changed.append(fingerprint())
    assert len({base, *changed}) == 5


def test_a_second_export_comes_from_the_cache(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    model, folder = tiny
    stamp = (folder / "document.onnx").stat().st_mtime_ns
    assert export_encoder(str(model), cache_dir=folder.parents[1], **SMALL) == folder
    assert (folder / "document.onnx").stat().st_mtime_ns == stamp
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]


def test_an_export_can_be_copied_out_and_opened_without_the_cache(
    tiny: tuple[Path, Path], tmp_path: Path
) -> None:
    model, folder = tiny
    out = export_encoder(
        str(model), tmp_path / "snapshot" / "encoder", cache_dir=folder.parents[1], **SMALL
    )
    assert out == tmp_path / "snapshot" / "encoder"
    np.testing.assert_array_equal(
        open_encoder(out).encode(TEXTS), open_encoder(folder).encode(TEXTS)
    )
    HashingEncoder(8).save(tmp_path / "other")
    with pytest.raises(ModelError, match="is not this encoder"):
        export_encoder(str(model), tmp_path / "other", cache_dir=folder.parents[1], **SMALL)


def test_a_graph_that_differs_from_torch_is_refused(tiny: tuple[Path, Path]) -> None:
    [(ids, mask)] = sample_inputs(20, pad_id=0, max_tokens=40)[1:2]
    graph = tiny[1] / "document.onnx"
    right = open_session(graph).run(None, {"input_ids": ids, "attention_mask": mask})[0]
    require_equal(graph, [Sample(ids, mask, right)], "tiny")
    for wrong in (right + np.float32(2e-5), right * np.float32("nan")):
        with pytest.raises(ModelError, match="differs from torch"):
            require_equal(graph, [Sample(ids, mask, wrong)], "tiny")


WRONG = {
    "too many tokens": ({"max_tokens": 65}, ModelError, "4 to 64"),
    "too few tokens": ({"query_max_tokens": 2}, ModelError, "max_tokens 2"),
    "unknown precision": ({"precision": "fp8"}, ConfigError, "fp32 or int8"),
}


@pytest.mark.parametrize(("settings", "error", "message"), WRONG.values(), ids=WRONG.keys())
def test_settings_that_do_not_fit_are_refused(
    settings: dict[str, Any],
    error: type[Exception],
    message: str,
    tiny: tuple[Path, Path],
    tmp_path: Path,
) -> None:
    with pytest.raises(error, match=message):
        export_encoder(str(tiny[0]), cache_dir=tmp_path, **{**SMALL, **settings})


def test_a_damaged_folder_is_a_model_error(tiny: tuple[Path, Path], tmp_path: Path) -> None:
    for name, content, message in (
        ("document.onnx", b"not a graph", "cannot be opened"),
        ("encoder.json", b"{", "cannot be read"),
        ("encoder.json", b'{"format_version": 99}', "format version 99"),
        ("encoder.json", b'{"format_version": 1, "runtime": "onnx"}', "damaged"),
    ):
        folder = tmp_path / "damaged"
        shutil.copytree(tiny[1], folder)
        (folder / name).write_bytes(content)
        with pytest.raises(ModelError, match=message):
            open_encoder(folder)
        shutil.rmtree(folder)


def test_one_encoder_serves_several_threads(tiny: tuple[Path, Path]) -> None:
    encoder = OnnxEncoder.load(tiny[1])
    expected = encoder.encode(TEXTS)
    results: list[Any] = []
    threads = [
        threading.Thread(target=lambda: results.append(encoder.encode(TEXTS))) for _ in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for result in results:
        np.testing.assert_array_equal(result, expected)
    assert len(results) == 3


def test_sample_inputs_cover_batches_one_to_five_up_to_the_longest() -> None:
    cases = sample_inputs(100, pad_id=0, max_tokens=48)
    assert [ids.shape for ids, _ in cases] == [(1, 3), (2, 48), (3, 17), (4, 24), (5, 31)]
    for ids, mask in cases:
        assert mask.sum(1).min() >= 1
        np.testing.assert_array_equal(ids == 0, mask == 0)
