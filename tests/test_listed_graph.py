"""Reading sorted edge lists in one pass, against the general way."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphtf.convert import from_edge_index
from graphtf.datasets import clean_leads_smiles, zinc_graph
from graphtf.incidence import Incidence
from graphtf.layout import edge_at
from graphtf.nn import LinearTransformerPE
from graphtf.nn.head_encoding import runs_in_loops
from graphtf.nn.heads import contiguous, head_leverages
from graphtf.nn.inputs import graph_parts
from graphtf.nn.listed_graph import listed_graph
from graphtf.transforms import AddLinearTransformerPE

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
    encoder, found = LinearTransformerPE(k=7, start="electric").double(), []
    assert runs_in_loops(encoder, graph)
    for loops in (True, False):
        if not loops:
            monkeypatch.setattr("graphtf.nn.linear_transformer_pe.runs_in_loops", lambda module, graph: False)
        w = weight.clone().requires_grad_()
        node, edge = encoder.encode(graph._replace(weight=w), batch.edge_index, listed=batch.edge_index)
        assert ("_Entries" in str(graph_of(node))) == loops
        found.append((node, edge, *torch.autograd.grad(node.square().sum() + edge.sum(), [w, *encoder.parameters()])))
    torch.testing.assert_close(*found)


def graph_of(x):
    """Names of the functions that a tensor comes from."""
    seen, waiting = set(), [x.grad_fn]
    while waiting:
        node = waiting.pop()
        if node is not None and node not in seen:
            seen.add(node)
            waiting += [other for other, _ in node.next_functions]
    return sorted(node.name() for node in seen)


@pytest.mark.parametrize("options", [{}, {"heads": 2, "leverage": True}, {"start": "electric", "memory": True}])
@pytest.mark.parametrize("what", ["edges", "pairs"])
def test_second_derivatives(options, what):
    graph = Incidence(torch.tensor([[0, 0, 1, 3], [1, 2, 2, 4]]), None, 6, torch.tensor([0, 0, 0, 1, 1, 1]))
    encoder = LinearTransformerPE(k=3, **options).double()

    def encode(w):
        there = graph._replace(weight=w)
        if what == "pairs":
            return encoder.all_pairs(there).square().sum()
        return encoder.encode(there, graph.index)

    w = (torch.rand(graph.num_edges, generator=torch.Generator().manual_seed(0)).double() + 0.5).requires_grad_()
    assert torch.autograd.gradgradcheck(encode, (w,))


def test_transforms_store_plain_tensors_and_take_lists_in_any_order():
    molecule = zinc_graph(clean_leads_smiles("val")[0])
    transform = AddLinearTransformerPE(k=6, edge_attr_name="edge_pe")
    one = transform(molecule)
    order = torch.randperm(molecule.num_edges, generator=torch.Generator().manual_seed(0))
    other = transform(Data(edge_index=molecule.edge_index[:, order], num_nodes=molecule.num_nodes))
    assert not vars(one.edge_pe)
    torch.testing.assert_close(one.linear_transformer_pe, other.linear_transformer_pe, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(one.edge_pe[order], other.edge_pe, rtol=1e-5, atol=1e-6)
    graph = from_edge_index(molecule.edge_index, None, molecule.num_nodes)
    node, edge = transform.encoder.encode(graph.normalized("sym"), molecule.edge_index)  # by tensor operations
    torch.testing.assert_close(one.linear_transformer_pe, node, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(one.edge_pe, edge, rtol=1e-5, atol=1e-6)


def test_parallel_columns_add_up():
    graph = Incidence(torch.tensor([[0, 0, 1], [1, 1, 2]]), torch.ones(3).double())
    node, edge = LinearTransformerPE(k=2).double().encode(graph, graph.index)
    expected = torch.tensor([2 / 3, 1.0, 1 / 3]).double()
    torch.testing.assert_close(node[:, 1], expected)
    walk = torch.tensor([2.0, 2.0, 1.0]).double() / torch.tensor([6.0, 6.0, 3.0]).double().sqrt()
    torch.testing.assert_close(edge[:, 0], walk)
    weight = torch.tensor([[1.0, 3.0, 2.0], [2.0, 2.0, 1.0]], dtype=torch.float64, requires_grad=True)
    for ends in ([[0, 0, 1], [1, 1, 2]], [[0, 1, 1], [1, 0, 2]]):
        found = head_leverages(Incidence(torch.tensor(ends), torch.ones(3).double()), weight)
        expected = torch.tensor([[0.25, 0.5], [0.75, 0.5], [1.0, 1.0]], dtype=torch.float64)
        torch.testing.assert_close(found, expected)
        of_first = torch.autograd.grad(found[0].sum(), weight)[0]  # w_0 / (w_0 + w_1)
        torch.testing.assert_close(of_first, torch.tensor([[3 / 16, -1 / 16, 0], [1 / 8, -1 / 8, 0]]).double())


def test_what_inference_remembers_can_be_trained_on():
    graph, encoder = from_edge_index(TRIANGLE), LinearTransformerPE(k=3)
    with torch.inference_mode():
        encoder.all_pairs(graph)
    encoder.all_pairs(graph).sum().backward()
    w = torch.ones(3, requires_grad=True)
    LinearTransformerPE(k=3).encode(graph._replace(weight=w), graph.index)[0].sum().backward()
    assert torch.isfinite(w.grad).all()
    assert graph.split_components()._starts is None


@pytest.mark.parametrize("node", [-1, 5])
def test_pairs_of_nodes_that_are_not_there(node):
    for options in ({}, {"heads": 2}):
        with pytest.raises(IndexError):
            LinearTransformerPE(k=2, **options).encode(from_edge_index(TRIANGLE), torch.tensor([[0], [node]]))


@pytest.mark.parametrize(
    ("error", "options"),
    [
        (ValueError, {"num_nodes": -1}),
        (TypeError, {"num_nodes": 3.0}),
        (TypeError, {"num_nodes": True}),
        (TypeError, {"num_nodes": torch.tensor(3)}),
    ],
)
def test_wrong_numbers_are_refused_as_before(error, options):
    with pytest.raises(error, match="num_nodes"):
        LinearTransformerPE(k=2)(TRIANGLE, **options)
    with pytest.raises(TypeError, match="batch must be an integer tensor"):
        LinearTransformerPE(k=2)(Data(edge_index=TRIANGLE, num_nodes=3, batch=[0, 0, 0]))


def test_forward_mode_and_vectorised_jacobians():
    w, encoder = torch.rand(6).double() + 0.5, LinearTransformerPE(k=3).double()
    w = (w + w[[2, 4, 0, 5, 1, 3]]) / 2  # the same both ways

    def encode(w):
        return encoder(TRIANGLE, w + w[[2, 4, 0, 5, 1, 3]], num_nodes=3)

    plain = torch.autograd.functional.jacobian(encode, w)
    torch.testing.assert_close(torch.autograd.functional.jacobian(encode, w, vectorize=True), plain)
    with torch.autograd.forward_ad.dual_level():
        dual = torch.autograd.forward_ad.make_dual(w, torch.ones_like(w))
        tangent = torch.autograd.forward_ad.unpack_dual(encode(dual)).tangent
    torch.testing.assert_close(tangent, plain.sum(-1))
