"""Derivatives of derivatives of models, whose first ones compiled loops compute."""

import pytest
import torch
from torch_geometric.data import Batch

from graphtf import Incidence
from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.differentiable import by_tensors
from graphtf.models import BACKBONES
from graphtf.models.edge_loops import EdgeLoops
from graphtf.nn import LinearTransformerPE
from graphtf.nn.heads import head_leverages

BATCH = Batch.from_data_list([zinc_graph(smiles) for smiles in clean_leads_smiles("val")[:3]])


@pytest.mark.parametrize("encoded", [False, True])
@pytest.mark.parametrize("backbone", ["gine", "transformer"])
def test_products_with_the_hessian_are_those_without_loops(monkeypatch, backbone, encoded):
    options = {"k": 4, "heads": 2, "leverage": True, "node_types": 28, "edge_types": 4}
    found = []
    for loops in (True, False):
        torch.manual_seed(0)
        encoding = LinearTransformerPE(**options) if encoded else None
        model = BACKBONES[backbone](16, 2, encoding=encoding).double()
        if not loops:
            monkeypatch.setattr(EdgeLoops, "find", classmethod(lambda cls, *arguments: None))
            monkeypatch.setattr("graphtf.nn.heads.contiguous", lambda graph: None)
        weights = list(model.parameters())
        generator = torch.Generator().manual_seed(1)
        gradient = torch.autograd.grad(model(BATCH).square().sum(), weights, create_graph=True, allow_unused=True)
        product = sum((g * torch.randn(g.shape, generator=generator).to(g)).sum() for g in gradient if g is not None)
        second = torch.autograd.grad(product, weights, allow_unused=True)
        found.append([torch.zeros(()) if g is None else g for g in second])
    assert sum(float(g.abs().sum()) > 0 for g in found[0]) > len(found[0]) // 2
    torch.testing.assert_close(*found, rtol=1e-6, atol=1e-7)


def test_first_derivatives_of_leverages_stay_exact():
    pytest.importorskip("numba")
    weight = 10 ** torch.linspace(-4, 4, 12, dtype=torch.float64)
    weight = weight[torch.randperm(12, generator=torch.Generator().manual_seed(0))].view(1, -1).requires_grad_()
    ring = Incidence(torch.stack([torch.arange(12), (torch.arange(12) + 1) % 12]))
    found = [
        torch.autograd.grad(head_leverages(ring, weight)[3].sum(), weight, create_graph=again)[0] * weight
        for again in (False, True)
    ]
    torch.testing.assert_close(found[1], found[0], rtol=0, atol=1e-14)
    others = (1 - torch.eye(12, dtype=torch.float64)[3]) @ (1 / weight[0])
    expected = torch.autograd.grad(others / (1 / weight[0, 3] + others), weight)[0] * weight
    torch.testing.assert_close(found[0], expected, rtol=0, atol=1e-14)
    even = torch.rand(1, 12, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    torch.autograd.gradgradcheck(lambda w: head_leverages(ring, w), even.requires_grad_())


def test_attention_over_all_pairs_says_that_it_has_none():
    model = BACKBONES["gps"](16, 1, 4)
    with pytest.raises(RuntimeError, match="no second derivatives on the CPU"):
        torch.autograd.grad(model(BATCH).sum(), list(model.parameters()), create_graph=True, allow_unused=True)
    model(BATCH).sum().backward()


def test_derivatives_are_partial():
    x = torch.tensor([3.0], requires_grad=True)
    of_x, of_square = by_tensors(torch.mul, (x, x.square()), (torch.ones(1),))
    assert (of_x.item(), of_square.item()) == (9.0, 3.0)
    assert float(torch.autograd.grad(of_x, x)[0]) == 6.0


def test_gradients_of_what_needs_none_are_none():
    x, y = torch.ones(2, requires_grad=True), torch.ones(2)
    assert by_tensors(torch.mul, (x, y), (torch.ones(2),))[1] is None
    assert by_tensors(lambda x: x.detach(), (x,), (torch.ones(2),)) == [None]
