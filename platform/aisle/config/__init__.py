"""Every setting of aisle, typed; the only place that reads YAML or the environment.

One complete file per environment, read once at the entry point with `load()` and passed down as the narrowest section.
`${NAME}` in a value is replaced from the environment, so that secrets and machine paths stay out of the files. An
unknown key fails, and the message names the file, the key, the value and what is allowed.
"""

from aisle.config.admission import AdmissionConfig, read_keys
from aisle.config.evaluation import EvaluationConfig, JudgmentsConfig, QueriesConfig
from aisle.config.load import load
from aisle.config.nightly import GateConfig, NightlyConfig
from aisle.config.sections import (
    CatalogConfig,
    DenseConfig,
    EncoderConfig,
    IndexConfig,
    LexicalConfig,
    RankerConfig,
    RayConfig,
    RelevanceConfig,
    RetrievalConfig,
    RewriterConfig,
    ScalingConfig,
    Section,
    ServingConfig,
    SourceConfig,
)
from aisle.config.settings import Settings

__all__ = [
    "AdmissionConfig",
    "CatalogConfig",
    "DenseConfig",
    "EncoderConfig",
    "EvaluationConfig",
    "GateConfig",
    "IndexConfig",
    "JudgmentsConfig",
    "LexicalConfig",
    "NightlyConfig",
    "QueriesConfig",
    "RankerConfig",
    "RayConfig",
    "RelevanceConfig",
    "RetrievalConfig",
    "RewriterConfig",
    "ScalingConfig",
    "Section",
    "ServingConfig",
    "Settings",
    "SourceConfig",
    "load",
    "read_keys",
]
