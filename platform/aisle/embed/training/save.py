"""Writes a trained module as a model folder: the files of the model it began with, with the weights replaced."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, cast

from torch import nn

from aisle.embed.cache import build_once
from aisle.embed.recipe import read_recipe
from aisle.embed.resolve import UNUSED_FILES, WEIGHT_PATTERNS
from aisle.embed.sentence import SentenceModule
from aisle.errors import ModelError

CARD_FILE = "training.json"
"""What made the model; written last, so a folder that holds it is complete."""


def save_encoder(module: SentenceModule, base: Path, out: Path, card: dict[str, object]) -> None:
    """Writes `out`, which `encoder.model` can name; `base` is the folder that training began with.

    A folder that an earlier training wrote is replaced as a whole; ModelError where `out` is anything else.
    """
    if out.exists() and any(out.iterdir()) and not (out / CARD_FILE).is_file():
        raise ModelError(
            f"{out} is there and no training wrote it (it has no {CARD_FILE}); choose an empty folder"
        )

    def build(working: Path) -> None:
        unused = [pattern.removesuffix("/*") for pattern in (*UNUSED_FILES, *WEIGHT_PATTERNS)]
        shutil.copytree(
            base, working, dirs_exist_ok=True, ignore=_in_top_folder(base, unused, CARD_FILE)
        )
        recipe = read_recipe(base)
        backbone = working / recipe.backbone.relative_to(base)
        cast(Any, module.backbone).save_pretrained(backbone)
        linears = [layer for layer in module.dense if isinstance(layer, nn.Linear)]
        for layer, linear in zip(recipe.dense, linears, strict=True):
            _save_linear(linear, working / layer.folder.relative_to(base))
        for path in working.rglob("*"):
            path.chmod(0o755 if path.is_dir() else 0o644)  # safetensors hides its files from others
        text = json.dumps(card, indent=2)
        (working / CARD_FILE).write_text(text + "\n", encoding="utf-8")

    new = out.with_name(f".{out.name}.new")
    shutil.rmtree(new, ignore_errors=True)  # of a run that ended between building and renaming
    made = build_once(new, CARD_FILE, build)
    if out.exists():
        shutil.rmtree(out)
    made.replace(out)


def _in_top_folder(base: Path, unused: list[str], card: str) -> Any:
    ignore = shutil.ignore_patterns(*unused, card)

    def chosen(folder: str, names: list[str]) -> set[str]:
        return ignore(folder, names) if Path(folder) == base else set()

    return chosen


def _save_linear(linear: nn.Linear, folder: Path) -> None:
    from safetensors.torch import save_file

    for pattern in WEIGHT_PATTERNS:
        for stale in folder.glob(pattern):
            stale.unlink()
    weights = {
        f"linear.{name}": each.detach().contiguous() for name, each in linear.state_dict().items()
    }
    save_file(weights, folder / "model.safetensors")
