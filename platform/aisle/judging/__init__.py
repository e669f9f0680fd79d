"""Grades for pairs that nobody judged: a judge's role, two judges, and how far each agrees with people."""

from aisle.judging.agreement import Agreement, agreement, cohens_kappa
from aisle.judging.cross_encoder import CrossEncoderJudge, JudgeCard
from aisle.judging.judge import Judge, Verdicts, nearest_levels, scale_of, spread_over_levels

__all__ = [
    "Agreement",
    "CrossEncoderJudge",
    "Judge",
    "JudgeCard",
    "Verdicts",
    "agreement",
    "cohens_kappa",
    "nearest_levels",
    "scale_of",
    "spread_over_levels",
]
