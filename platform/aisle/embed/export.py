"""Turns a sentence model into a self-contained folder that ONNX Runtime serves, and proves it equal to its source.

Pooling and normalisation go into the graph, so nothing can pool differently later. The export runs through
`torch.export`: the older tracer bakes the example's length into the attention mask of current transformers and is off
by .1 on longer texts without a word. For the same reason every export is compared with torch on other shapes before
anyone sees it. int8 is dynamic and per channel; per tensor loses a sixth of the nearest hundred and is no faster.
"""

from __future__ import annotations

import contextlib
import io
import logging
import shutil
import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from aisle.embed.cache import build_once
from aisle.embed.recipe import Recipe, check_prefixes, read_recipe, source_sha256
from aisle.embed.resolve import resolve_model
from aisle.embed.spec import (
    SPEC_FILE,
    TOKENIZER_FILE,
    EncoderSpec,
    Precision,
    Side,
    check_max_tokens,
    document_fingerprint,
    model_name,
    parse_precision,
    read_spec,
    spec_key,
)
from aisle.embed.verify import report_int8, require_equal, torch_samples
from aisle.errors import ModelError

if TYPE_CHECKING:
    from torch import nn

logger = logging.getLogger(__name__)

PRECISIONS: tuple[Precision, ...] = ("fp32", "int8")

MAX_WEIGHT_BYTES = 1_900_000_000
"""An ONNX file is one protobuf message, which ends at 2 GiB."""


def export_encoder(
    model: str,
    out_dir: Path | None = None,
    *,
    precision: str = "fp32",
    query_precision: str = "int8",
    max_tokens: int = 128,
    query_max_tokens: int = 32,
    query_prefix: str = "",
    document_prefix: str = "",
    cache_dir: Path,
) -> Path:
    """Exports `model` and gives the folder: `out_dir`, or the cached export itself where that is None.

    The folder holds `document.onnx`, `query.onnx` (only where the precisions differ), `tokenizer.json` and
    `encoder.json`. Exports are kept in `<cache_dir>/encoders/<key>`, so a second call with equal weights and settings
    costs one hash of the weights. Raises ModelError where the model cannot be found, exported, or does not come out
    equal to torch within 1e-5, ConfigError for a precision that ONNX has not.
    """
    folder = resolve_model(model, cache_dir)
    recipe = read_recipe(folder)
    check_prefixes(recipe, query_prefix, document_prefix)
    document = Side(
        parse_precision(precision, "onnx", PRECISIONS), max_tokens, document_prefix, "document.onnx"
    )
    query_file = "document.onnx" if query_precision == precision else "query.onnx"
    query = Side(
        parse_precision(query_precision, "onnx", PRECISIONS),
        query_max_tokens,
        query_prefix,
        query_file,
    )
    source = source_sha256(recipe)
    name = model_name(model)
    spec = EncoderSpec(
        runtime="onnx",
        model=name,
        dimension=0,  # known once the model is loaded
        pooling=recipe.pooling,
        pad_id=0,
        source_sha256=source,
        fingerprint=document_fingerprint(source, document),
        document=document,
        query=query,
    )
    cached = build_once(
        Path(cache_dir) / "encoders" / spec_key(spec),
        SPEC_FILE,
        lambda working: _export(recipe, spec, working),
    )
    return cached if out_dir is None else _copy(cached, Path(out_dir))


def _export(recipe: Recipe, spec: EncoderSpec, working: Path) -> None:
    with quiet():
        try:
            from aisle.embed.sentence import load_sentence_module, load_tokenizer
        except ImportError as error:
            raise ModelError(
                f"exporting a model needs {error.name}: pip install 'aisle[models]'"
            ) from error
        tokenizer_json, pad_id, limit = load_tokenizer(recipe)
        check_max_tokens(spec.model, limit, spec.document, spec.query)
        # Explicit attention: fused kernels decompose differently from one torch release to the next.
        module = load_sentence_module(recipe, attention="eager")
        spec = replace(spec, dimension=module.dimension, pad_id=pad_id)
        exact = working / "exact.onnx"
        write_graph(module, exact, spec.model)
        longest = max(spec.document.max_tokens, spec.query.max_tokens)
        samples = torch_samples(module, pad_id, longest, spec.model)
        require_equal(exact, samples, spec.model)
        for side in {spec.document.file: spec.document, spec.query.file: spec.query}.values():
            _write_side(exact, working / side.file, side.precision)
            if side.precision == "int8":
                report_int8(working / side.file, samples, spec.model)
        exact.unlink()
    (working / TOKENIZER_FILE).write_text(tokenizer_json, encoding="utf-8")
    spec.write(working)
    logger.info(
        "exported encoder %s, d=%d, fingerprint %s", spec.model, spec.dimension, spec.fingerprint
    )


def write_graph(module: nn.Module, path: Path, model: str, output: str = "vectors") -> None:
    """Exports a module of (ids, mask), int64 (n, t), to ONNX at fp32, free in both sizes; `model` is for messages."""
    import torch

    weight_bytes = sum(p.numel() * p.element_size() for p in module.parameters())
    if weight_bytes > MAX_WEIGHT_BYTES:
        raise ModelError(
            f"model {model} has {weight_bytes} bytes of weights at fp32, one ONNX file holds {MAX_WEIGHT_BYTES}; "
            "use runtime: torch"
        )
    ids = torch.ones((2, 7), dtype=torch.int64)  # sizes 0 and 1 would be taken as constants
    mask = torch.ones_like(ids)
    mask[1, 5:] = 0
    free = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with torch.no_grad():
            torch.onnx.export(
                module,
                (ids, mask),
                str(path),
                dynamo=True,
                dynamic_shapes=(free, dict(free)),
                input_names=["input_ids", "attention_mask"],
                output_names=[output],
                external_data=False,
                verbose=False,
            )
    except Exception as error:  # whatever the model raised, wrapped in classes that are not public
        raise ModelError(
            f"model {model} cannot be exported to ONNX: {type(error).__name__}: {error}; use runtime: torch"
        ) from error


def _write_side(exact: Path, path: Path, precision: Precision) -> None:
    if precision == "fp32":
        shutil.copyfile(exact, path)
    else:
        quantise(exact, path)


def quantise(exact: Path, path: Path) -> None:
    """Writes an fp32 graph at int8: dynamic, weights per channel."""
    import onnx
    from onnxruntime.quantization import quantize_dynamic

    graph = onnx.load(str(exact))
    # The exporter's notes on shapes go stale when it transposes a weight, and the quantiser refuses what contradicts
    # its own inference. The property says that constants are folded already, which spares a warning on the root logger.
    del graph.graph.value_info[:]
    onnx.helper.set_model_props(graph, {"onnx.quant.pre_process": "onnxruntime.quant"})
    bare = path.with_suffix(".bare")
    onnx.save(graph, str(bare))
    quantize_dynamic(str(bare), str(path), per_channel=True)
    bare.unlink()


def _copy(cached: Path, out_dir: Path) -> Path:
    if out_dir.is_dir() and not any(out_dir.iterdir()):
        out_dir.rmdir()
    if out_dir.exists() and not (
        (out_dir / SPEC_FILE).is_file() and read_spec(out_dir) == read_spec(cached)
    ):
        raise ModelError(
            f"{out_dir} is there and is not this encoder; choose an empty folder or remove it first"
        )

    def build(working: Path) -> None:
        shutil.copytree(cached, working, dirs_exist_ok=True)

    return build_once(out_dir, SPEC_FILE, build)


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keeps the exporter's chatter away: standard output belongs to the job's last line.

    The exporter prints, and warns of torchvision's operators, which no text model has; the quantiser logs a line a node
    through the root logger, which would also install a handler there.
    """
    said = io.StringIO()
    root = logging.getLogger()
    loggers = (root, logging.getLogger("torch.onnx._internal.exporter._registration"))
    passes = [
        logging.getLogger(name) for name in ("onnxscript", "onnx_ir")
    ]  # a line a rewritten node
    levels = [each.level for each in passes]
    no_handler = logging.NullHandler()
    root.addHandler(no_handler)
    for chatty in loggers:
        chatty.addFilter(_is_error)  # of a logger, not of a handler: records of its children pass
    for each in passes:
        each.setLevel(logging.ERROR)
    try:
        with contextlib.redirect_stdout(said), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for chatty in loggers:
            chatty.removeFilter(_is_error)
        for each, level in zip(passes, levels, strict=True):
            each.setLevel(level)
        root.removeHandler(no_handler)
    if said.getvalue().strip():
        logger.debug("exporter: %s", said.getvalue().strip())


def _is_error(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.ERROR
