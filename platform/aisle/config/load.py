"""Reads an environment's file: YAML, `--set` overrides, `${NAME}` from the environment, local paths made absolute.

YAML is read with the booleans of YAML 1.2, true and false alone, so that `mode: off` means the text. Relative paths
are resolved here, once, against the directory the command was started in: Ray's workers and Serve's replicas run in
another.
"""

from __future__ import annotations

import os
import re
from collections.abc import Hashable, Iterator, Sequence
from pathlib import Path
from typing import Any, get_args

import yaml
from pydantic import BaseModel, ValidationError

from aisle.config.evaluation import JudgmentsConfig
from aisle.config.settings import Settings
from aisle.errors import ConfigError

_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::-([^}]*))?\}")
_SHOWN_CHARS = 200
_RULES = {"builtin", "fused", "cosine"}
"""Values of `model` that are no folder's name."""


def load(path: str | Path, overrides: Sequence[str] = ()) -> Settings:
    """Reads one environment's file.

    Args:
        path: a YAML file.
        overrides: `section.key=value` each, the value in YAML, applied over the file (`--set` of the jobs).

    Raises:
        ConfigError: the file is missing or not YAML, a key is unknown, a value is not allowed, or a `${NAME}` without a
            default is not set.
    """
    try:
        raw = _parse(Path(path).read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); --config wants a YAML file such as configs/local.yaml"
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: not valid YAML: {error}") from error
    if not isinstance(raw, dict):
        raise ConfigError(f"{path}: holds {type(raw).__name__}, expected a mapping of sections")
    for override in overrides:
        _apply(raw, override)
    try:
        return _with_absolute_paths(Settings.model_validate(_expand(raw, str(path), "")))
    except ValidationError as error:
        raise ConfigError(_explain(str(path), error)) from error


class _Loader(yaml.SafeLoader):
    """SafeLoader with YAML 1.2's booleans, texts for keys, and an error for a key that is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        self.flatten_mapping(node)
        mapping: dict[Hashable, Any] = {}
        for key_node, value_node in node.value:
            key: Any = self.construct_object(key_node, deep=True)
            if isinstance(key, bool):
                key = str(key).lower()
            elif isinstance(key, int | float):
                key = key_node.value  # `007` stays what was written
            if not isinstance(key, str):
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is not a text; quote it", key_node.start_mark
                )
            if key in mapping:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key {key!r} is there twice", key_node.start_mark
                )
            mapping[key] = self.construct_object(value_node, deep=deep)
        return mapping


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|TRUE|false|False|FALSE)$"), list("tTfF")
)


def _parse(text: str) -> Any:
    return yaml.load(text, Loader=_Loader)  # a SafeLoader: builds plain values only


def _apply(raw: dict[str, Any], override: str) -> None:
    """Sets one `a.b.c=value` in place."""
    key, equals, text = override.partition("=")
    if not equals or not all(key.strip().split(".")):
        raise ConfigError(f"--set {override!r}: expected section.key=value, such as index.shards=4")
    *parents, leaf = key.strip().split(".")
    node = raw
    for part in parents:
        if node.get(part) is None:
            node[part] = {}
        node = node[part]
        if not isinstance(node, dict):
            raise ConfigError(f"--set {override!r}: {part} is a value, not a section")
    try:
        node[leaf] = _parse(text)
    except yaml.YAMLError as error:
        raise ConfigError(f"--set {override!r}: the value is not valid YAML: {error}") from error


def _expand(node: Any, path: str, key: str) -> Any:
    """Replaces `${NAME}` and `${NAME:-default}` in every string below `node`."""
    if isinstance(node, dict):
        return {
            name: _expand(value, path, f"{key}.{name}" if key else str(name))
            for name, value in node.items()
        }
    if isinstance(node, list):
        return [_expand(value, path, f"{key}[{i}]") for i, value in enumerate(node)]
    if not isinstance(node, str):
        return node

    def value_of(match: re.Match[str]) -> str:
        name, default = match.group(1), match.group(2)
        value = os.environ.get(name, default)
        if value is None:
            raise ConfigError(
                f"{path}: {key} names ${{{name}}}, which is not set; export {name} or write its value"
            )
        return value

    return _VARIABLE.sub(value_of, node)


def _with_absolute_paths(settings: Settings) -> Settings:
    """The settings with every local path absolute; URLs and names of models on a hub stay as they are."""
    source = settings.catalog.source
    urls = source.url if isinstance(source.url, str) else tuple(map(_absolute, source.url))
    source = source.model_copy(update={"url": _absolute(urls) if isinstance(urls, str) else urls})
    changed: dict[str, Any] = {
        "store": _absolute(settings.store),
        "work_dir": _absolute(settings.work_dir),
        "catalog": settings.catalog.model_copy(update={"source": source}),
        "serving": settings.serving.model_copy(
            update={"cache_dir": _absolute(settings.serving.cache_dir)}
        ),
        "admission": settings.admission.model_copy(
            update={
                "keys_file": settings.admission.keys_file
                and _absolute(settings.admission.keys_file)
            }
        ),
        "evaluation": settings.evaluation.model_copy(
            update={"judgments": _absolute_judgments(settings.evaluation.judgments)}
        ),
    }
    for name in ("encoder", "rewriter", "ranker", "relevance"):
        section = getattr(settings, name)
        changed[name] = section.model_copy(update={"model": _absolute_model(section.model)})
    if settings.rewriter.segmenter != "off":
        folder = _absolute(settings.rewriter.segmenter)
        changed["rewriter"] = changed["rewriter"].model_copy(update={"segmenter": folder})
    return settings.model_copy(update=changed)


def _absolute_judgments(given: str | JudgmentsConfig | None) -> str | JudgmentsConfig | None:
    if given is None or isinstance(given, str):
        return given and _absolute(given)
    queries = given.queries
    if queries is not None:
        queries = queries.model_copy(update={"url": _absolute(queries.url)})
    return given.model_copy(update={"url": _absolute(given.url), "queries": queries})


def _absolute(path: str) -> str:
    if "://" in path or "::" in path or not path:
        return path
    return os.path.abspath(os.path.expanduser(path))


def _absolute_model(model: str) -> str:
    """A folder's path made absolute; `org/model` is a folder only if there is one."""
    looks_local = model.startswith(("./", "../", "~", "/"))
    if looks_local or (model not in _RULES and Path(model).is_dir()):
        return _absolute(model)
    return model


def _explain(path: str, error: ValidationError) -> str:
    """One line a problem: file, key path, what is wrong, the value got."""
    lines = []
    for problem in error.errors():
        where = ".".join(str(part) for part in problem["loc"]) or "(whole file)"
        if problem["type"] == "extra_forbidden":
            lines.append(f"{path}: {where}: unknown key{_neighbours(problem['loc'])}")
        elif problem["type"] == "missing":
            lines.append(f"{path}: {where}: required key is missing")
        else:
            got = repr(problem["input"])
            got = got if len(got) <= _SHOWN_CHARS else f"{got[:_SHOWN_CHARS]}..."
            message = problem["msg"].removeprefix("Value error, ")
            lines.append(f"{path}: {where}: got {got}; {message}")
    return "\n".join(lines)


def _neighbours(location: tuple[int | str, ...]) -> str:
    """Lists the keys that are allowed where an unknown one was found."""
    model: type[BaseModel] | None = Settings
    for part in location[:-1]:
        field = model.model_fields.get(str(part)) if model else None
        model = next(_models(field.annotation), None) if field else None
    return f"; allowed here: {', '.join(sorted(model.model_fields))}" if model else ""


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    """Models in an annotation such as `TextRule | None`."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)
