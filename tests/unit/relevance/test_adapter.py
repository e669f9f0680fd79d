import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from aisle.relevance.adapter import FAMILIES, CosineAdapter, softclamp

# What parameters can become after any training: softplus of these runs from 0.0000454 to 10.
raw_values = st.floats(-10, 10, width=32)


@pytest.mark.parametrize("family", FAMILIES)
@settings(max_examples=60, deadline=None)
@given(
    raw=st.lists(raw_values, min_size=3, max_size=3),
    mean=st.floats(-0.2, 0.9),
    std=st.floats(0.02, 0.4),
)
def test_every_family_rises_with_cosine_whatever_its_parameters(family, raw, mean, std):
    adapter = CosineAdapter(family, 4, 2, 0.0)
    adapter.cosine_mean.fill_(mean)
    adapter.cosine_std.fill_(std)
    cosine = torch.linspace(-1.0, 1.0, 201)
    parameters = torch.tensor(raw[: len(adapter.parameter_names)])
    value = adapter.map(parameters, cosine, torch.zeros(201))
    assert torch.isfinite(value).all()
    assert value.min() >= 0.0
    assert value.max() <= 1.0
    # 1e-6: neighbours may change places in the last bits of a float where the map is flat.
    assert torch.diff(value).min() >= -1e-6


@settings(max_examples=60, deadline=None)
@given(raw=st.lists(raw_values, min_size=3, max_size=3), cosine=st.floats(-1, 1))
def test_blend_rises_with_the_score(raw, cosine):
    adapter = CosineAdapter("blend", 4, 2, 0.0)
    score = torch.linspace(-5.0, 5.0, 101)
    value = adapter.map(torch.tensor(raw), torch.full((101,), cosine), score)
    assert torch.diff(value).min() >= -1e-6


def test_softclamp_is_a_smooth_clamp():
    t = torch.linspace(-2.0, 3.0, 501, dtype=torch.float64)
    value = softclamp(t)
    np.testing.assert_allclose(value, t.clamp(0.0, 1.0), atol=np.log(2) / 20 + 1e-9)
    np.testing.assert_allclose(value + softclamp(1.0 - t), np.ones(501), atol=1e-12)
    assert torch.diff(value).min() >= 0.0


def test_a_new_adapter_ignores_the_query():
    adapter = CosineAdapter("logistic", 8, 4, 0.0)
    vectors = torch.randn(5, 8, generator=torch.Generator().manual_seed(0))
    raw = adapter.raw_parameters(vectors)
    assert torch.equal(raw, adapter.shared.expand(5, 2))
