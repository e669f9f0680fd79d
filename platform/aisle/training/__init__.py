"""Training from a shop's own judgments: what the models see, and how the jobs put them together."""

from aisle.training.ablate import ablate
from aisle.training.ranker import fit_ranker
from aisle.training.relevance import fit_relevance
from aisle.training.rows import FeatureBatch, MakeFeatures, TrainingRows, training_queries

__all__ = [
    "FeatureBatch",
    "MakeFeatures",
    "TrainingRows",
    "ablate",
    "fit_ranker",
    "fit_relevance",
    "training_queries",
]
