"""The conductances that an encoder has learned, as users get them."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphtf.nn import LinearTransformerPE, edge_conductances
from graphtf.solvers import leverage_scores

RING = torch.tensor([[0, 1, 1, 2, 2, 3, 3, 0], [1, 0, 2, 1, 3, 2, 0, 3]])


def encoder(**options):
    """An encoder whose conductances are far from 1."""
    module = LinearTransformerPE(**{"k": 6, "heads": 3, "leverage": True, "node_types": 28, "edge_types": 4} | options)
    with torch.no_grad():
        module.conductances.outer.weight.mul_(10)
    return module.double()


def ring(seed=0):
    generator = torch.Generator().manual_seed(seed)
    kind = torch.randint(4, (4,), generator=generator).repeat_interleave(2)
    return Data(x=torch.randint(28, (4, 1), generator=generator), edge_index=RING, edge_attr=kind, num_nodes=4)


def test_they_are_the_networks_of_the_encoding():
    """Leverages of the networks with these conductances are what the encoder adds to its edges."""
    module, data = encoder(), ring()
    w = edge_conductances(module, data)
    assert w.shape == (8, 3)
    assert float(w.detach().log().std()) > 0.1
    torch.testing.assert_close(w[::2], w[1::2], rtol=0, atol=0)
    edge = module(data, return_edge=True)[1]
    for head in range(3):
        expected = leverage_scores(RING, edge_weight=w[:, head].detach()).value
        torch.testing.assert_close(edge[:, 18 + head].detach(), expected)


def test_rows_follow_the_columns_of_edge_index():
    module, data = encoder(), ring()
    w = edge_conductances(module, data)
    order = torch.tensor([5, 0, 7, 2, 1, 6, 3, 4])
    mixed = Data(x=data.x, edge_index=RING[:, order], edge_attr=data.edge_attr[order], num_nodes=4)
    torch.testing.assert_close(edge_conductances(module, mixed), w[order])
    other = ring(1)
    both = edge_conductances(module, Batch.from_data_list([data, other]))
    torch.testing.assert_close(both, torch.cat([w, edge_conductances(module, other)]))
    assert not torch.allclose(w, edge_conductances(module, other))


def test_given_weights_multiply_and_loops_are_zero():
    module, data = encoder(), ring()
    w = edge_conductances(module, data)
    given = torch.tensor([1.0, 2.0, 3.0, 4.0]).double().repeat_interleave(2)
    loop = torch.cat([RING, torch.tensor([[2], [2]])], 1)
    kind = torch.cat([data.edge_attr, torch.tensor([1])])
    found = edge_conductances(module, loop, torch.cat([given, given[:1]]), x=data.x, edge_attr=kind)
    torch.testing.assert_close(found[:8], w * given.unsqueeze(1))
    assert found[8].tolist() == [0.0, 0.0, 0.0]
    none = edge_conductances(module, RING[:, :0], num_nodes=4, x=data.x, edge_attr=kind[:0])
    assert none.shape == (0, 3)


def test_gradients_reach_the_encoder():
    module = encoder()
    edge_conductances(module, ring()).log().sum().backward()
    assert all(float(p.grad.abs().sum()) > 0 for p in module.conductances.parameters())


def test_what_has_no_learned_conductances():
    with pytest.raises(ValueError, match=r"learns no conductances.*node_types, edge_types"):
        edge_conductances(LinearTransformerPE(k=4, heads=2, leverage=True), ring())
    with pytest.raises(TypeError, match="must be a LinearTransformerPE, but got Linear"):
        edge_conductances(torch.nn.Linear(2, 2), ring())
    with pytest.raises(ValueError, match="learned from edge_attr, but the graph has none"):
        edge_conductances(encoder(), RING, x=ring().x)
