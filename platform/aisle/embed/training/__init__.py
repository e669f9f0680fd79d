"""Contrastive fine-tuning of an encoder on a shop's own judgments and titles, on CPU. Imports torch."""

from aisle.embed.training.batches import BatchPlan
from aisle.embed.training.material import Material, build_material
from aisle.embed.training.save import save_encoder
from aisle.embed.training.train import Progress, TrainingPlan, train_encoder

__all__ = [
    "BatchPlan",
    "Material",
    "Progress",
    "TrainingPlan",
    "build_material",
    "save_encoder",
    "train_encoder",
]
