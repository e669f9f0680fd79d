"""What an encoder folder says about itself: `encoder.json`, and the fingerprint of the vectors it gives.

The fingerprint covers what document vectors depend on and nothing else. Where the model lies, under which name, and how
queries are encoded can change without a night's vectors becoming useless.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from aisle.errors import ConfigError, ModelError

FORMAT_VERSION = 1
SPEC_FILE = "encoder.json"
MIN_TOKENS = 4
TOKENIZER_FILE = "tokenizer.json"

Precision = Literal["fp32", "fp16", "int8"]


@dataclass(frozen=True, slots=True)
class Side:
    """How one kind of text is encoded.

    `max_tokens` counts special tokens and the prefix; longer texts are cut. `file` is the ONNX graph, empty for torch.
    """

    precision: Precision
    max_tokens: int
    prefix: str = ""
    file: str = ""


@dataclass(frozen=True, slots=True)
class EncoderSpec:
    """The content of `encoder.json` for an encoder with weights."""

    runtime: Literal["onnx", "torch"]
    model: str
    dimension: int
    pooling: str
    pad_id: int
    source_sha256: str
    fingerprint: str
    document: Side
    query: Side
    normalise: bool = True
    device: str = ""
    format_version: int = FORMAT_VERSION

    def write(self, folder: Path) -> None:
        """Writes `<folder>/encoder.json`."""
        write_spec(folder, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> EncoderSpec:
        """Reads `<folder>/encoder.json`; raises ModelError where it is missing, damaged or of another format."""
        record = read_spec(folder)
        try:
            document, query = Side(**record.pop("document")), Side(**record.pop("query"))
            return cls(document=document, query=query, **record)
        except (KeyError, TypeError) as error:
            raise ModelError(
                f"{folder / SPEC_FILE} is damaged: {error}; prepare the encoder again"
            ) from error


def parse_precision(value: str, runtime: str, allowed: tuple[Precision, ...]) -> Precision:
    """Gives `value` as a precision; raises ConfigError where the runtime has no such precision."""
    for precision in allowed:
        if precision == value:
            return precision
    raise ConfigError(f"precision {value!r}: runtime {runtime} encodes at {' or '.join(allowed)}")


def check_max_tokens(model: str, limit: int, *sides: Side) -> None:
    """Raises ModelError where a side's token limit is not within what the model can read."""
    for side in sides:
        if not MIN_TOKENS <= side.max_tokens <= limit:
            raise ModelError(
                f"model {model}: max_tokens {side.max_tokens} is not allowed; it reads {MIN_TOKENS} to {limit} tokens"
            )


def write_spec(folder: Path, record: dict[str, Any]) -> None:
    """Writes `encoder.json`, the last file of an encoder folder."""
    text = json.dumps(record, indent=2, sort_keys=True, ensure_ascii=False)
    (folder / SPEC_FILE).write_text(text + "\n", encoding="utf-8")


def read_spec(folder: Path) -> dict[str, Any]:
    """Gives `encoder.json` as a dict whose format version is known; raises ModelError otherwise."""
    path = Path(folder) / SPEC_FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"{path} cannot be read: {error}; prepare the encoder again with prepare_encoder"
        ) from error
    version = record.get("format_version") if isinstance(record, dict) else None
    if version != FORMAT_VERSION:
        raise ModelError(
            f"{path}: format version {version!r}, this release reads {FORMAT_VERSION}; prepare it again"
        )
    return dict(record)


def document_fingerprint(source_sha256: str, side: Side) -> str:
    """Names document vectors by what they depend on: 32 hexadecimal digits.

    ONNX and torch at fp32 agree to 1e-5, far below the float16 that vectors are kept in, so they share a fingerprint:
    what a GPU encoded one night a CPU may reuse the next.
    """
    return digest(
        {
            "format": FORMAT_VERSION,
            "source": source_sha256,
            "precision": side.precision,
            "max_tokens": side.max_tokens,
            "prefix": side.prefix,
        }
    )[:32]


def digest(record: dict[str, Any]) -> str:
    """Sha256 of a JSON record in canonical form, hexadecimal."""
    canonical = json.dumps(record, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(canonical.encode("ascii")).hexdigest()


def model_name(model: str) -> str:
    """The name to record: a hub name as it is, of a local path only the last part."""
    path = Path(model).expanduser()
    return path.resolve().name if path.is_dir() else model


def spec_key(spec: EncoderSpec) -> str:
    """The folder name of an encoder in the cache."""
    sides = [[side.precision, side.max_tokens, side.prefix] for side in (spec.document, spec.query)]
    return digest(
        {"model": spec.model, "runtime": spec.runtime, "source": spec.fingerprint, "sides": sides}
    )[:32]
