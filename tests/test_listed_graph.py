"""Reading sorted edge lists in one pass, against the general way."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphtf.convert import from_edge_index
from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.layout import edge_at
from graphtf.nn import LinearTransformerPE
from graphtf.nn.heads import contiguous
from graphtf.nn.inputs import graph_parts
from graphtf.nn.listed_graph import listed_graph

pytest.importorskip("numba")
TRIANGLE = torch.tensor([[0, 0, 1, 1, 2, 2], [1, 2, 0, 2, 0, 1]])
NONE = torch.empty(2, 0, dtype=torch.int64)


def data(edge_index, n):
    return Data(
        edge_index=edge_index, num_nodes=n, x=torch.zeros(n, 1).long(), edge_attr=torch.ones(edge_index.shape[1])
    )


def batches():
    molecules = [zinc_graph(smiles) for smiles in clean_leads_smiles("val")[:12]]
    odd = [data(NONE, 1), data(NONE, 3), data(TRIANGLE, 5), data(TRIANGLE + 1, 4)]
    return {
        "one": molecules[0],
        "molecules": Batch.from_data_list(molecules),
        "nodes without edges": Batch.from_data_list(odd),
        "empty graphs": Batch.from_data_list([data(NONE, 0), odd[2], data(NONE, 0), odd[0], data(NONE, 0)]),
        "no edges": Batch.from_data_list(odd[:2]),
    }


@pytest.mark.parametrize("name", list(batches()))
def test_it_is_the_operator_of_the_general_way(name):
    batch = batches()[name]
    given = getattr(batch, "batch", None)
    graph = listed_graph(batch.edge_index, batch.num_nodes, given, getattr(batch, "num_graphs", None))
    plain = from_edge_index(batch.edge_index, None, batch.num_nodes, given, getattr(batch, "num_graphs", None))
    for one, other in ((graph.index, plain.index), (graph.weight, plain.weight), (graph.batch, plain.batch)):
        torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert (graph.num_nodes, graph.num_graphs) == (plain.num_nodes, plain.num_graphs)
    assert torch.equal(edge_at(graph, batch.edge_index), edge_at(plain, batch.edge_index))
    assert edge_at(graph, batch.edge_index) is graph._listed[2]  # remembered
    for one, other in zip(contiguous(graph), contiguous(plain), strict=True):
        assert torch.equal(one, other)


@pytest.mark.parametrize(
    ("edges", "n"),
    [
        ([[0, 1], [1, 2]], 3),  # one way
        ([[0, 1, 1, 2], [1, 0, 2, 0]], 3),  # a way back that is another edge's
        ([[1, 0], [0, 1]], 2),  # not sorted
        ([[0, 1, 0, 1], [1, 0, 1, 0]], 2),  # twice
        ([[0, 0, 1, 1], [1, 1, 0, 0]], 2),  # twice, sorted
        ([[0, 0], [0, 0]], 1),  # a loop
        ([[0, 1], [1, 0]], 1),  # no such node
        ([[-1, 0], [0, -1]], 1),
        ([[0, 1, 2], [1, 0, 0]], 3),  # an odd number
    ],
)
def test_other_lists_are_left_to_the_general_way(edges, n):
    assert listed_graph(torch.tensor(edges), n, None, None) is None


def test_batches_that_are_wrong_are_left_to_the_general_way():
    for graph in ([0, 1, 1], [1, 0, 0], [0, 0, 2], [0, 0, -1]):
        assert listed_graph(TRIANGLE, 3, torch.tensor(graph), 2) is None
    assert listed_graph(TRIANGLE, 3, torch.zeros(2).long(), 1) is None
    assert listed_graph(TRIANGLE.int(), 3, None, None) is None
    crossing = Data(edge_index=TRIANGLE, num_nodes=3, batch=torch.tensor([0, 0, 1]))
    with pytest.raises(ValueError, match="joins graphs 0 and 1"):
        LinearTransformerPE(k=2)(crossing)


def test_a_list_that_changed_since_is_looked_up_again():
    edges = TRIANGLE.clone()
    graph = listed_graph(edges, 3, None, None)
    assert edge_at(graph, edges).tolist() == [0, 1, 0, 2, 1, 2]
    edges[:] = edges.flip(1)
    assert edge_at(graph, edges).tolist() == [2, 1, 2, 0, 1, 0]
    assert graph.to(torch.float64)._listed is graph._listed
    assert graph._replace(index=graph.index.flip(0))._listed is None
    with torch.inference_mode():
        assert torch.equal(edge_at(listed_graph(TRIANGLE.clone(), 3, None, None), TRIANGLE), edge_at(graph, TRIANGLE))


@pytest.mark.parametrize("options", [{}, {"heads": 2, "leverage": True}, {"start": "electric", "memory": True}])
def test_encodings_do_not_depend_on_the_order_of_the_list(options):
    batch = batches()["molecules"]
    order = torch.randperm(batch.edge_index.shape[1], generator=torch.Generator().manual_seed(0))
    shuffled = batch.edge_index[:, order]
    assert graph_parts(batch, None, None, None, None, None)[0]._listed is not None
    encoder = LinearTransformerPE(k=6, **options)
    node, edge = encoder(batch, return_edge=True)
    other, edges = encoder(shuffled, batch=batch.batch, num_nodes=batch.num_nodes, return_edge=True)
    torch.testing.assert_close(other, node, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(edges, edge[order], rtol=1e-5, atol=1e-6)


def test_one_network_is_encoded_by_the_loops_as_by_tensor_operations(monkeypatch):
    batch = batches()["molecules"]
    weight = torch.rand(batch.edge_index.shape[1] // 2).double() + 0.5
    graph = from_edge_index(batch.edge_index, None, batch.num_nodes, batch.batch)
    pairs = torch.cat([batch.edge_index, torch.tensor([[0, 0, 3], [0, 2, 40]])], 1)  # an atom, a pair, two molecules
    encoder, found = LinearTransformerPE(k=7, start="electric").double(), []
    for loops in (True, False):
        if not loops:
            monkeypatch.setattr(LinearTransformerPE, "_runs_in_loops", lambda self, graph: False)
        w = weight.clone().requires_grad_()
        node, edge = encoder.encode(graph._replace(weight=w), pairs)
        found.append((node, edge, *torch.autograd.grad(node.square().sum() + edge.sum(), [w, *encoder.parameters()])))
    torch.testing.assert_close(*found)
