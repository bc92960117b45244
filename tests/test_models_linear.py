"""Linear layers by either of torch's libraries, with derivatives."""

import pytest
import torch

from graphtf.models import linear as linear_module


@pytest.mark.skipif(not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch has no oneDNN")
@pytest.mark.parametrize("rows", [1024, 1337])
@pytest.mark.parametrize("with_bias", [True, False])
def test_linear_by_either_library(monkeypatch, rows, with_bias):
    generator = torch.Generator().manual_seed(0)
    x, weight, bias, v = (
        torch.randn(shape, generator=generator, requires_grad=True) for shape in ((rows, 24), (40, 24), (40,), (40, 24))
    )
    bias = bias if with_bias else None
    inputs = [t for t in (x, weight, bias) if t is not None]
    found = []
    for either in (False, True):
        monkeypatch.setattr(linear_module, "prefers_onednn", lambda either=either: either)
        out = linear_module.linear(x, weight, bias)
        assert ("Linear" in type(out.grad_fn).__name__) == either  # of its own, or torch's
        first = torch.autograd.grad(out.square().sum(), inputs, create_graph=True)
        second = torch.autograd.grad((first[1] * v).sum(), inputs)
        plain = torch.autograd.grad(linear_module.linear(x, weight, bias).square().sum(), inputs)
        torch.testing.assert_close(plain, first, rtol=1e-4, atol=1e-3)
        found.append((out, first, second))
    torch.testing.assert_close(*found, rtol=1e-4, atol=1e-3)


def test_linear_leaves_other_types_to_torch(monkeypatch):
    monkeypatch.setattr(linear_module, "prefers_onednn", lambda: True)
    x, weight = torch.ones(2000, 3, dtype=torch.float64), torch.ones(2, 3, dtype=torch.float64)
    torch.testing.assert_close(linear_module.linear(x, weight), torch.full((2000, 2), 3.0, dtype=torch.float64))


def test_linear_says_what_does_not_fit_and_maps_many_weights(monkeypatch):
    monkeypatch.setattr(linear_module, "prefers_onednn", lambda: True)
    x, weights = torch.ones(1500, 3), torch.arange(18.0).view(3, 2, 3)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        linear_module.linear(x, torch.ones(2, 4))
    assert linear_module.linear(torch.ones(1500, 0), torch.ones(2, 0)).sum() == 0
    found = torch.vmap(lambda weight: linear_module.linear(x, weight))(weights)
    torch.testing.assert_close(found, torch.stack([linear_module.linear(x, weight) for weight in weights]))
