"""The Cosine Adapter: a small network reads the query vector and gives the parameters of a monotone map.

After Rossi et al. 2024, "Relevance Filtering for Embedding-based Retrieval" (arXiv 2408.04887): raw cosines are not
comparable between queries, mapped ones are, so one threshold can serve all. With u = (cosine + 1) / 2 in [0, 1] and
phi a rising function of u, the families are

    linear     softclamp(a (u - m) + b)              sqrt   softclamp(a (sqrt u - sqrt m) + b)
    quadratic  softclamp(a (u² - m²) + c (u - m) + b)       power  softclamp(a (u^p - m^p) + b)
    logistic   sigmoid(a x + b)                      blend  sigmoid(a x + c s + b)

with x the standardised cosine, s the standardised ranker score, m the mean u of the training pairs, and a, c, p > 0 by
softplus, so no family can fall in cosine or score. softclamp is a smooth min(max(t, 0), 1): unlike a hard clamp it has
a gradient outside [0, 1] and keeps the order of products there.

Two decisions for small judgment sets (50 to 4,000 queries): parameters are a global value plus the network's output,
which starts at zero, so training starts at the best map that ignores the query; and the output is scaled by
`strength`, chosen on held-back queries, 0 included.
"""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor, nn
from torch.nn import functional

Family = Literal["linear", "sqrt", "quadratic", "power", "logistic", "blend"]
FAMILIES: tuple[Family, ...] = get_args(Family)

SHARPNESS = 20.0
"""How fast softclamp bends: at 0 and 1 it is off by log(2) / 20 = .035."""

# Names of the parameters of each family; those not called b pass through softplus.
PARAMETERS: dict[Family, tuple[str, ...]] = {
    "linear": ("a", "b"),
    "sqrt": ("a", "b"),
    "quadratic": ("a", "c", "b"),
    "power": ("a", "p", "b"),
    "logistic": ("a", "b"),
    "blend": ("a", "c", "b"),
}
EPSILON = 1e-6


class CosineAdapter(nn.Module):
    """Maps (query vector, cosine, score) to a probability, monotone in cosine and in score."""

    def __init__(self, family: Family, dimension: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.family: Family = family
        self.parameter_names = PARAMETERS[family]
        count = len(self.parameter_names)
        self.dropout = dropout
        self.hidden = nn.Linear(dimension, hidden)
        self.out = nn.Linear(hidden, count, bias=False)
        nn.init.zeros_(self.out.weight)
        self.shared = nn.Parameter(torch.zeros(count))
        self.register_buffer("strength", torch.ones(()))
        for name in ("cosine_mean", "score_mean"):
            self.register_buffer(name, torch.zeros(()))
        for name in ("cosine_std", "score_std"):
            self.register_buffer(name, torch.ones(()))
        self.cosine_mean: Tensor
        self.cosine_std: Tensor
        self.score_mean: Tensor
        self.score_std: Tensor
        self.strength: Tensor

    @property
    def uses_score(self) -> bool:
        """True where the map reads the ranker's score."""
        return self.family == "blend"

    def set_scale(self, cosine: Tensor, score: Tensor | None) -> None:
        """Takes mean and standard deviation of the training pairs, by which inputs are standardised."""
        self.cosine_mean = cosine.mean()
        self.cosine_std = cosine.std().clamp_min(1e-3)
        if score is not None:
            self.score_mean = score.mean()
            self.score_std = score.std().clamp_min(1e-6)

    def raw_parameters(self, query_vectors: Tensor) -> Tensor:
        """(q, d) -> (q, parameters), before softplus."""
        # Unit vectors have entries of about 1/sqrt(d); times sqrt(d) the layer sees entries of about 1.
        scaled = query_vectors * float(query_vectors.shape[-1]) ** 0.5
        inner = functional.dropout(torch.tanh(self.hidden(scaled)), self.dropout, self.training)
        raw: Tensor = self.shared + self.strength * self.out(inner)
        return raw

    def forward(
        self, query_vectors: Tensor, query_index: Tensor, cosine: Tensor, score: Tensor
    ) -> Tensor:
        """(q, d), (n,), (n,), (n,) -> probability (n,)."""
        return self.map(self.raw_parameters(query_vectors)[query_index], cosine, score)

    def map(self, raw: Tensor, cosine: Tensor, score: Tensor) -> Tensor:
        """Applies maps with raw parameters (n, parameters) or (parameters,) to (n,) cosines and scores."""
        value = {
            name: raw[..., i] if name == "b" else functional.softplus(raw[..., i])
            for i, name in enumerate(self.parameter_names)
        }
        cosine = cosine.clamp(-1.0, 1.0)
        a, b = value["a"], value["b"]
        if self.family in ("logistic", "blend"):
            logit = a * ((cosine - self.cosine_mean) / self.cosine_std) + b
            if self.family == "blend":
                logit = logit + value["c"] * ((score - self.score_mean) / self.score_std)
            return torch.sigmoid(logit)
        u = ((cosine + 1.0) / 2.0).clamp_min(EPSILON)
        m = ((self.cosine_mean + 1.0) / 2.0).clamp_min(EPSILON)
        spread = self.cosine_std / 2.0  # so that a is about 1 whatever the encoder's cosines
        if self.family == "linear":
            rise = a * (u - m)
        elif self.family == "sqrt":
            rise = a * (u.sqrt() - m.sqrt())
        elif self.family == "quadratic":
            rise = a * (u * u - m * m) + value["c"] * (u - m)
        else:
            rise = a * (u ** value["p"] - m ** value["p"])
        return softclamp(rise / spread + b)


def softclamp(t: Tensor) -> Tensor:
    """Rises from 0 to 1 as t does, near the identity between, symmetric about t = .5.

    Computed for the half below .5 and mirrored, where the difference of the two softplus loses no digits.
    """
    half = 0.5 - (t - 0.5).abs()
    upper = functional.softplus(SHARPNESS * half)
    lower = functional.softplus(SHARPNESS * (half - 1.0))
    value = (upper - lower) / SHARPNESS
    return torch.where(t < 0.5, value, 1.0 - value)
