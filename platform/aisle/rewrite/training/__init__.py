"""Training of the built-in rewriter from the sample shop's queries."""

from aisle.rewrite.training.examples import Example, generate_examples
from aisle.rewrite.training.train import Progress, TrainingPlan, save_model, train

__all__ = ["Example", "Progress", "TrainingPlan", "generate_examples", "save_model", "train"]
