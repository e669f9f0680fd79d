"""Encodes text with ONNX Runtime from an exported folder; this is what serving and nightly CPU embedding run.

The graph holds pooling and normalisation, so this module only tokenises, groups by length and runs.

NOTE: dynamic int8 takes its activation scale from the whole input tensor, so a row's vector moves with its neighbours
and with padding. Queries, and everything at int8, are therefore encoded one text at a time: an answer is the same
online and in a batch job, bit for bit. On a CPU this costs nothing (0.88 ms a query alone, 0.89 in batches of 16).
Documents at fp32 are batched and agree to 1e-5 whatever their neighbours.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from aisle.embed.spec import TOKENIZER_FILE, EncoderSpec
from aisle.embed.tokens import TextTokens, batches_by_length, pad
from aisle.errors import ModelError
from aisle.stages import TextKind

PROVIDERS = ("CUDAExecutionProvider", "CPUExecutionProvider")
"""What a graph may run on, the preferred first; others (TensorRT, CoreML) would rebuild or change the graph."""


@dataclass(frozen=True, slots=True)
class _Loaded:
    session: ort.InferenceSession
    tokens: TextTokens
    alone: bool


class OnnxEncoder:
    """An encoder over ONNX Runtime sessions; `load` opens one. Safe to call from several threads."""

    def __init__(self, spec: EncoderSpec, loaded: dict[TextKind, _Loaded], batch_size: int) -> None:
        self._spec = spec
        self._loaded = loaded
        self._batch_size = batch_size

    @classmethod
    def load(cls, folder: Path, *, threads: int = 1, batch_size: int = 32) -> OnnxEncoder:
        """Opens a folder made by `export_encoder`; a graph that both kinds share is loaded once.

        `threads` bounds the threads of one `encode` call. Raises ModelError where a file is missing or does not fit.
        """
        folder = Path(folder)
        spec = EncoderSpec.read(folder)
        try:
            tokenizer_json = (folder / TOKENIZER_FILE).read_text(encoding="utf-8")
        except OSError as error:
            raise ModelError(
                f"encoder {folder}: {TOKENIZER_FILE} cannot be read: {error}; prepare it again"
            ) from error
        sessions: dict[str, ort.InferenceSession] = {}
        loaded: dict[TextKind, _Loaded] = {}
        for kind, side in (("document", spec.document), ("query", spec.query)):
            if side.file not in sessions:
                sessions[side.file] = open_session(folder / side.file, threads)
            alone = kind == "query" or side.precision == "int8"
            tokens = TextTokens(tokenizer_json, side, spec.pad_id)
            loaded["query" if kind == "query" else "document"] = _Loaded(
                sessions[side.file], tokens, alone
            )
        for name, session in sessions.items():
            d = session.get_outputs()[0].shape[-1]
            if d != spec.dimension:
                raise ModelError(
                    f"encoder {folder}: encoder.json says d={spec.dimension}, {name} gives d={d}; prepare it again"
                )
        return cls(spec, loaded, batch_size)

    @property
    def dimension(self) -> int:
        """Length d of a vector."""
        return self._spec.dimension

    @property
    def fingerprint(self) -> str:
        """Names the document side; see `aisle.embed.spec.document_fingerprint`."""
        return self._spec.fingerprint

    @property
    def spec(self) -> EncoderSpec:
        """What the folder says about itself."""
        return self._spec

    def encode(self, texts: Sequence[str], kind: TextKind = "document") -> NDArray[np.float32]:
        """Gives float32 (n, d), unit rows, in the order of `texts`; (0, d) for none. Raises ModelError on NaN."""
        loaded = self._loaded[kind]
        vectors = np.empty((len(texts), self._spec.dimension), np.float32)
        rows = loaded.tokens.ids(texts)
        if loaded.alone:
            for i, row in enumerate(rows):
                vectors[i] = self._run(loaded.session, [row])[0]
        else:
            for numbers in batches_by_length(rows, max_rows=self._batch_size):
                vectors[numbers] = self._run(loaded.session, [rows[i] for i in numbers])
        if not np.isfinite(vectors).all():
            bad = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
            raise ModelError(
                f"encoder {self._spec.model}: text {bad} of {len(texts)} gave NaN; the weights are damaged"
            )
        return vectors

    def _run(
        self, session: ort.InferenceSession, rows: Sequence[Sequence[int]]
    ) -> NDArray[np.float32]:
        ids, mask = pad(rows, self._spec.pad_id)  # (n, t)
        vectors: NDArray[np.float32] = session.run(
            None, {"input_ids": ids, "attention_mask": mask}
        )[0]
        return vectors


def open_session(path: Path, threads: int = 1) -> ort.InferenceSession:
    """Opens a graph on the best provider there is, with `threads` threads; raises ModelError where it cannot."""
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    # Every text length is a new shape, and a memory pattern is kept for every shape ever seen.
    options.enable_mem_pattern = False
    if threads == 1:
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    providers = [name for name in PROVIDERS if name in ort.get_available_providers()]
    try:
        return ort.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # ONNX Runtime's own exceptions share no public base class
        raise ModelError(
            f"{path} cannot be opened by ONNX Runtime: {error}; prepare the encoder again"
        ) from error
