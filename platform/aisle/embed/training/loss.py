"""The contrastive loss: a judged product must come before every product of a lower grade, in proportion to its gain.

For query i and a judged product j with gain g_ij > 0, the products of lower gain compete with j:

    l_ij = log(1 + sum over {k : g_ik < g_ij} of exp(scale (c_ik - c_ij)))        c: cosines
    loss = sum of g_ij l_ij / sum of g_ij

With one relevant product a query and nothing else judged this is InfoNCE with in-batch negatives (van den Oord et al.,
2018); with grades it also orders judged products among themselves, as a soft pairwise loss. A product that nobody
judged counts as gain 0; products judged 0 compete like it and are never pulled.
"""

from __future__ import annotations

import torch
from torch import Tensor


def graded_contrastive_loss(
    cosines: Tensor, gains: Tensor, left_out: Tensor, scale: float
) -> Tensor:
    """Mean loss of a batch, a scalar.

    Args:
        cosines: float32 (q, n) of every query with every product of the batch.
        gains: float32 (q, n), 2^(grade - lowest) - 1; 0 where nobody judged the pair.
        left_out: bool (q, n), pairs that are neither pulled nor pushed: likely relevant though nobody said so.
        scale: inverse temperature; 20 means that a cosine .05 lower is a factor e less likely.

    Returns:
        0 where no pair has a gain.
    """
    pulled_query, pulled = torch.nonzero((gains > 0) & ~left_out, as_tuple=True)  # (p,) each
    if len(pulled) == 0:
        return cosines.sum() * 0.0
    gain = gains[pulled_query, pulled]  # (p,)
    competes = (gains[pulled_query] < gain[:, None]) & ~left_out[pulled_query]  # (p, n)
    above = scale * (cosines[pulled_query] - cosines[pulled_query, pulled][:, None])  # (p, n)
    above = above.masked_fill(~competes, -torch.inf)
    own = above.new_zeros(len(pulled), 1)  # the 1 inside the logarithm
    each = torch.logsumexp(torch.cat([own, above], dim=1), dim=1)
    return (gain * each).sum() / gain.sum()
