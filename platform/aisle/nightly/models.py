"""The models that go into a snapshot: found by the config's names, copied as served, named by their content."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from aisle.config import RewriterConfig, Settings
from aisle.embed import prepare_encoder
from aisle.embed.spec import SPEC_FILE
from aisle.errors import ModelError
from aisle.rank.features import FEATURES
from aisle.rank.onnx import OnnxRanker
from aisle.relevance.filter import OnnxRelevanceFilter
from aisle.rewrite import fingerprint_model
from aisle.rewrite import resolve_model as resolve_rewriter
from aisle.rewrite.segmenter import OnnxSegmenter
from aisle.store import sha256_of

logger = logging.getLogger(__name__)

BUILTIN = Path(__file__).resolve().parent.parent / "models"
"""Models that ship with the package: trained on the sample catalogue."""


@dataclass(frozen=True)
class Model:
    """A model to be served: a folder, or a rule without files."""

    role: str
    kind: str
    folder: Path | None
    fingerprint: str


def choose_models(settings: Settings) -> dict[str, Model]:
    """Finds or makes every model by role; the encoder is exported here, once, and cached.

    Raises:
        ModelError: a configured model is not there and the config does not say what to do instead.
    """
    encoder = prepare_encoder(settings.encoder, Path(settings.work_dir))
    # By what it says of itself, not by its files: two machines may export one model to different bytes, and a run that
    # goes on elsewhere must know its own models again.
    spec = sha256_of(encoder / SPEC_FILE)[:32]
    models = {
        "encoder": Model("encoder", settings.encoder.runtime, encoder, spec),
        "ranker": _trained("ranker", settings.ranker.model, settings.ranker.missing, "fused"),
        "relevance": _trained(
            "relevance", settings.relevance.model, settings.relevance.missing, "cosine"
        ),
    }
    if settings.rewriter.mode == "vllm" and (rewriter := _rewriter(settings.rewriter)) is not None:
        models["rewriter"] = rewriter
    if (segmenter := _segmenter(settings.rewriter.segmenter)) is not None:
        models["segmenter"] = segmenter
    return models


def check_fit(models: dict[str, Model], dimension: int) -> None:
    """Raises ModelError where ranker or relevance filter were trained for other features or another encoder.

    Before the night's work rather than after it, when the candidate is loaded.
    """
    ranker, relevance = models["ranker"], models["relevance"]
    if ranker.folder is not None:
        OnnxRanker.load(ranker.folder).expect(FEATURES)
    if relevance.folder is not None:
        trained = OnnxRelevanceFilter.load(relevance.folder).dimension
        if trained != dimension:
            raise ModelError(
                f"relevance.model: {relevance.folder} was trained on vectors of d={trained}, the encoder gives "
                f"d={dimension}; train it with python -m jobs.train_relevance, or set relevance.model: cosine"
            )


def _trained(role: str, name: str, missing: str, rule: str) -> Model:
    if name == rule:
        return Model(role, rule, None, rule)
    folder = BUILTIN / role if name == "builtin" else Path(name).expanduser()
    if folder.is_dir():
        return Model(role, "onnx", folder, fingerprint_model(folder))
    if missing == rule:
        logger.warning(
            "model is not trained yet", extra={"role": role, "folder": str(folder), "instead": rule}
        )
        return Model(role, rule, None, rule)
    raise ModelError(
        f"{role}.model: {folder} is not there; train it with python -m jobs.train_{role}, or set "
        f"{role}.missing: {rule} for a first night"
    )


def _rewriter(config: RewriterConfig) -> Model | None:
    """None where it is not trained yet and the config does without: queries then go as they are typed."""
    if config.missing == "off" and config.model != "builtin" and not Path(config.model).is_dir():
        logger.warning(
            "model is not trained yet",
            extra={"role": "rewriter", "folder": config.model, "instead": "off"},
        )
        return None
    folder = resolve_rewriter(config.model)
    return Model("rewriter", "vllm", folder, fingerprint_model(folder))


def _segmenter(name: str) -> Model | None:
    """None where it is off or not trained yet: queries then go unsegmented, which no other model depends on."""
    if name == "off":
        return None
    folder = Path(name).expanduser()
    if not folder.is_dir():
        logger.warning(
            "model is not trained yet",
            extra={"role": "segmenter", "folder": str(folder), "instead": "off"},
        )
        return None
    OnnxSegmenter.load(folder)  # before the night's work rather than after it
    return Model("segmenter", "onnx", folder, fingerprint_model(folder))
