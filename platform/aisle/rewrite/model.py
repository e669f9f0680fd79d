"""Where the rewriting model lies on disk, and the name of exactly these weights.

A model is a folder that `transformers` and vLLM can load, found in the same places as an encoder's.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

from aisle.embed.resolve import resolve_model as resolve_named
from aisle.errors import ModelError

BUILTIN_REWRITER: Path = Path(__file__).resolve().parent.parent / "models" / "rewriter"
"""The model that ships with the package, made by `jobs.train_rewriter` from the sample catalogue's queries."""


def resolve_model(model: str | Path) -> Path:
    """The folder of a model: `builtin`, a local folder or a Hugging Face name such as `org/name`.

    Raises:
        ModelError: there is no such folder, it holds no `config.json`, or the hub does not have the name.
    """
    if str(model) == "builtin":
        return BUILTIN_REWRITER
    folder = Path(model)
    if folder.is_dir() and not (folder / "config.json").is_file():
        raise ModelError(
            f"rewriter model {folder}: the folder holds no config.json; give a folder as transformers saves it"
        )
    if not folder.is_dir() and (
        isinstance(model, Path) or str(model).count("/") != 1 or str(model).startswith((".", "/"))
    ):
        raise ModelError(
            f"rewriter model {str(model)!r} is not a folder; give 'builtin', a folder or a Hugging Face name 'org/name'"
        )
    return resolve_named(str(model))


CARD_FILE = "rewriter.json"
"""What a model of `jobs.train_rewriter` says of itself; no other model has it."""


def expand_below_titles(folder: Path) -> int | None:
    """The bound that feedback found for a model's expansions, see `aisle.rewrite.choose`; none where it found none.

    Raises ModelError where the card cannot be read.
    """
    card = folder / CARD_FILE
    if not card.is_file():
        return None
    try:
        bound = json.loads(card.read_text(encoding="utf-8")).get("expand_below_titles")
        return None if bound is None else int(bound)
    except (ValueError, TypeError, AttributeError) as error:
        raise ModelError(
            f"{card}: cannot be read ({error}); train the rewriter again with python -m jobs.train_rewriter"
        ) from error


def write_card(folder: Path, content: Mapping[str, object]) -> None:
    """Writes the card, by which a folder is known as one of our own models."""
    (folder / CARD_FILE).write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")


def fingerprint_model(folder: Path) -> str:
    """sha256 over the names and bytes of the folder's files, in the order of their names.

    It reads every file once: about a second for each gigabyte of weights.
    """
    digest = hashlib.sha256()
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0")
        with path.open("rb") as file:
            digest.update(hashlib.file_digest(file, "sha256").digest())
    return digest.hexdigest()
