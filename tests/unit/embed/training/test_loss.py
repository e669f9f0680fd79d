from __future__ import annotations

import math

import pytest
import torch

from aisle.embed.training.loss import graded_contrastive_loss

SCALE = 10.0


def loss(
    cosines: list[list[float]], gains: list[list[float]], left_out: list[list[bool]] | None = None
) -> float:
    out = torch.zeros(len(gains), len(gains[0]), dtype=torch.bool)
    if left_out is not None:
        out = torch.tensor(left_out)
    return float(graded_contrastive_loss(torch.tensor(cosines), torch.tensor(gains), out, SCALE))


def test_one_relevant_product_is_infonce() -> None:
    # By hand: -log of the softmax of 5, 2, 1 at the first place.
    expected = -math.log(math.exp(5) / (math.exp(5) + math.exp(2) + math.exp(1)))
    assert loss([[0.5, 0.2, 0.1]], [[1.0, 0.0, 0.0]]) == pytest.approx(expected, rel=1e-5)


def test_grades_order_the_judged_products_and_weigh_the_pairs() -> None:
    # By hand: the best (gain 3) against both others, the second (gain 1) against the third alone.
    first = math.log(1 + math.exp(10 * (0.2 - 0.5)) + math.exp(10 * (0.1 - 0.5)))
    second = math.log(1 + math.exp(10 * (0.1 - 0.2)))
    expected = (3 * first + second) / 4
    assert loss([[0.5, 0.2, 0.1]], [[3.0, 1.0, 0.0]]) == pytest.approx(expected, rel=1e-5)


def test_products_of_one_grade_do_not_compete() -> None:
    assert loss([[0.1, 0.9]], [[3.0, 3.0]]) == pytest.approx(0.0, abs=1e-7)


def test_a_pair_left_out_neither_pulls_nor_pushes() -> None:
    kept = loss([[0.5, 0.2]], [[1.0, 0.0]])
    assert loss([[0.5, 0.2, 0.9]], [[1.0, 0.0, 0.0]], [[False, False, True]]) == pytest.approx(kept)


def test_a_batch_without_a_gain_costs_nothing_and_moves_nothing() -> None:
    cosines = torch.tensor([[0.5, 0.2]], requires_grad=True)
    nothing = torch.zeros(1, 2)
    value = graded_contrastive_loss(cosines, nothing, nothing.bool(), SCALE)
    torch.autograd.backward(value)
    assert float(value.detach()) == 0.0
    assert cosines.grad is not None
    assert not cosines.grad.any()
