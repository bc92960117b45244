"""Encodings by several networks on the same edges: heads, leverages and learned conductances."""

import pytest
import torch
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_undirected

from graphtf import Incidence
from graphtf.nn import LinearTransformerPE, heads
from graphtf.nn.conductances import EdgeConductances
from graphtf.solvers import leverage_scores
from graphtf.testing import graph_zoo

ZOO = graph_zoo()


def molecule(n, seed, dtype=torch.float32):
    """A random tree with some more edges, categorical and continuous features."""
    generator = torch.Generator().manual_seed(seed)
    parents = (torch.rand(n - 1, generator=generator) * torch.arange(1, n)).long()
    tree = torch.stack([parents, torch.arange(1, n)])
    more = torch.randint(n, (2, n // 3), generator=generator)
    edges = torch.cat([tree, more[:, more[0] != more[1]]], 1).sort(0)[0].unique(dim=1)
    kind = torch.randint(4, (edges.shape[1],), generator=generator)
    edge_index, kind = to_undirected(edges, kind, n)
    return Data(x=torch.randint(28, (n, 1), generator=generator), edge_index=edge_index, edge_attr=kind, num_nodes=n)


def test_compiled_loops_equal_tensor_operations(monkeypatch):
    pytest.importorskip("numba")
    batch = Batch.from_data_list([molecule(n, n) for n in (2, 23, 9, 40, 3)])
    encoder = LinearTransformerPE(k=8, heads=3, leverage=True, node_types=28, edge_types=4)
    results = []
    for has_numba in (True, False):
        monkeypatch.setattr(heads, "has_numba", lambda has_numba=has_numba: has_numba)
        encoder.zero_grad()
        node, edge = encoder(batch, return_edge=True)
        (node.square().sum() + edge.pow(3).sum()).backward()
        results.append([node.detach(), edge.detach(), *(p.grad.clone() for p in encoder.parameters())])
    assert len(results[0]) > 10
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("start", ["random-walk", "electric", "eigenvectors", "random"])
def test_heads_of_equal_networks_are_the_encoding_of_one(start):
    batch = Batch.from_data_list([molecule(n, n) for n in (5, 12, 30)])
    one = LinearTransformerPE(k=6, start=start)
    several = LinearTransformerPE(k=6, start=start, heads=3)
    if start == "random":
        for transformer in several.transformers:
            transformer.load_state_dict(one.transformer.state_dict())
    node, edge = one(batch, return_edge=True)
    nodes, edges = several(batch, return_edge=True)
    assert (nodes.shape[1], edges.shape[1]) == (several.node_channels, several.edge_channels) == (18, 18)
    torch.testing.assert_close(nodes, node.repeat(1, 3), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(edges, edge.repeat(1, 3), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("start", ["random-walk", "resistive"])
@pytest.mark.parametrize("init", ["basis", "random"])
def test_different_heads_of_one_network_are_encodings_of_their_own(init, start):
    batch = Batch.from_data_list([molecule(n, n) for n in (5, 12, 30)])
    options = {"k": 4, "start": start, "init": init} | ({"num_probes": 6} if init == "random" else {})
    several = LinearTransformerPE(heads=3, leverage=True, **options).eval()
    with torch.no_grad():
        for number, parameter in enumerate(several.parameters()):
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(number)))
    node, edge, pairs = several.encode_with_pairs(batch)
    assert not torch.allclose(node[:, :4], node[:, 4:8], atol=0.1)
    for head, transformer in enumerate(several.transformers):
        one = LinearTransformerPE(**options).eval()
        one.transformer.load_state_dict(transformer.state_dict())
        if several.memory is not None:
            one.memory.data.copy_(several.memory[head : head + 1])
        columns = slice(4 * head, 4 * head + 4)
        parts = node[:, columns], edge[:, columns], pairs[..., columns]
        for part, alone in zip(parts, one.encode_with_pairs(batch), strict=True):
            torch.testing.assert_close(part, alone, rtol=1e-4, atol=1e-5)
    assert edge[:, 12:].equal(edge[:, 12:13].expand(-1, 3))


@pytest.mark.parametrize("start", ["random-walk", "electric"])
def test_pairs_of_any_kind(start):
    graph = Incidence.from_data(molecule(12, 0)).to(torch.float64)
    encoder = LinearTransformerPE(k=5, start=start, heads=2, leverage=True).double()
    pairs = torch.tensor([[0, 3, 3, 11, 0], [1, 3, 7, 0, 11]])
    node, found = encoder.encode(graph, pairs)
    expected = LinearTransformerPE(k=5, start=start).double().encode(graph, pairs)[1]
    torch.testing.assert_close(found[:, :10], expected.repeat(1, 2))
    torch.testing.assert_close(found[1, :10], node[3])
    _, own = encoder.encode(graph, graph.index)
    torch.testing.assert_close(own[:, 10:], leverage_scores(graph, tol=1e-12).value.unsqueeze(1).expand(-1, 2))


def test_learned_conductances_are_equivariant_and_do_not_depend_on_the_batch(path):
    encoder = LinearTransformerPE(k=8, heads=2, leverage=True, node_types=28, edge_types=4).double()
    with torch.no_grad():
        encoder.conductances.outer.weight.mul_(10)
    graphs = [molecule(n, n) for n in (7, 25, 2, 14)]
    alone = [encoder(graph, return_edge=True) for graph in graphs]
    node, edge = encoder(Batch.from_data_list(graphs), return_edge=True)
    torch.testing.assert_close(node, torch.cat([pair[0] for pair in alone]))
    torch.testing.assert_close(edge, torch.cat([pair[1] for pair in alone]))
    graph, (node, edge) = graphs[1], alone[1]
    generator = torch.Generator().manual_seed(0)
    order, columns = torch.randperm(25, generator=generator), torch.randperm(graph.num_edges, generator=generator)
    place = order.argsort()
    other = Data(x=graph.x[order], edge_index=place[graph.edge_index][:, columns], edge_attr=graph.edge_attr[columns])
    other_node, other_edge = encoder(other, return_edge=True)
    torch.testing.assert_close(other_node, node[order])
    torch.testing.assert_close(other_edge, edge[columns])
    blank = Data(x=graph.x * 0, edge_index=graph.edge_index, edge_attr=graph.edge_attr)
    assert float((encoder(blank) - node).detach().norm()) > 1e-3


def test_conductances_start_near_one_and_all_parameters_learn():
    encoder = LinearTransformerPE(k=8, heads=4, leverage=True, node_types=28, edge_types=4)
    batch = Batch.from_data_list([molecule(n, n) for n in (20, 23)])
    node, edge = encoder(batch, return_edge=True)
    (node.sum() + edge.square().sum()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in encoder.parameters())
    assert float(encoder.conductances.outer.weight.grad.norm()) > 0
    graph = Incidence.from_data(batch)
    place = torch.arange(graph.num_edges)
    w = encoder.conductances(graph.index, place, batch.x, torch.ones(graph.num_edges).long())
    assert w.shape == (4, graph.num_edges)
    assert 0.2 < float(w.detach().min()) < float(w.detach().max()) < 3.0


def test_continuous_features_and_weights():
    graph = molecule(10, 0)
    x = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    length = torch.ones(graph.num_edges, 2)
    encoder = LinearTransformerPE(k=4, heads=2, node_dim=3, edge_dim=2)
    node = encoder(graph.edge_index, x=x, edge_attr=length, num_nodes=10)
    data = Data(x=x, edge_index=graph.edge_index, edge_attr=length)
    torch.testing.assert_close(node, encoder(data))
    # Only ratios of conductances count: weights of the data multiply those that are learned.
    data.edge_weight = torch.full((graph.num_edges,), 7.0)
    torch.testing.assert_close(node, encoder(data))


@pytest.mark.parametrize(
    ("error", "message", "options"),
    [
        (ValueError, "need init='basis'", {"heads": 2, "init": "slots"}),
        (ValueError, "normalization='sym'", {"leverage": True, "normalization": "spectral"}),
        (ValueError, "heads must be at least 1", {"heads": 0}),
        (TypeError, "leverage must be", {"leverage": 1}),
        (ValueError, "give one of them", {"node_types": 3, "node_dim": 2}),
        (ValueError, "node_dim must be at least 0", {"node_dim": -1}),
    ],
)
def test_wrong_options(error, message, options):
    with pytest.raises(error, match=message):
        LinearTransformerPE(k=4, **options)


def test_missing_and_wrong_features():
    encoder = LinearTransformerPE(k=4, heads=2, node_types=28, edge_types=4)
    graph = molecule(6, 0)
    with pytest.raises(ValueError, match="learned from x, but the graph has none"):
        encoder(Data(edge_index=graph.edge_index, edge_attr=graph.edge_attr, num_nodes=6))
    with pytest.raises(ValueError, match="the model was made for 4 types"):
        encoder(Data(x=graph.x, edge_index=graph.edge_index, edge_attr=graph.edge_attr + 4))
    with pytest.raises(ValueError, match="row"):
        encoder(graph.edge_index, x=graph.x, edge_attr=graph.edge_attr[:-1])
    for rows in (5, 9):
        with pytest.raises(ValueError, match=rf"x has {rows} row\(s\), but the graph has 6 nodes"):
            encoder(graph.edge_index, x=torch.zeros(rows, dtype=torch.int64), edge_attr=graph.edge_attr, num_nodes=6)
    lengths = torch.ones(6, 1).index_fill(0, torch.tensor([2]), torch.nan)
    with pytest.raises(ValueError, match="x must be finite, but 1 entries are not"):
        LinearTransformerPE(k=4, node_dim=1)(graph.edge_index, x=lengths, num_nodes=6)
    with pytest.raises(ValueError, match="without normalization"):
        LinearTransformerPE(k=4, heads=2)(Incidence.from_data(graph).normalized("sym"))


def test_the_transform_reads_the_features():
    from graphtf.transforms import AddLinearTransformerPE

    encoder = LinearTransformerPE(k=5, heads=2, leverage=True, node_types=28, edge_types=4)
    graph = molecule(15, 0)
    data = AddLinearTransformerPE(encoder, edge_attr_name="edge_pe")(graph)
    node, edge = encoder(graph, return_edge=True)
    torch.testing.assert_close(data.linear_transformer_pe, node.detach())
    torch.testing.assert_close(data.edge_pe, edge.detach())
    plain = AddLinearTransformerPE(k=5, heads=2)(molecule(15, 0)).linear_transformer_pe
    assert plain.shape == (15, 10)


def edges_one_by_one(module, index, edge_of, x, edge_attr):
    """Conductances of every edge as those of a graph of this edge alone."""
    alone = []
    for e, ends in enumerate(index.t()):
        mine = edge_of == e
        pair = torch.tensor([[0], [1]])
        alone.append(module(pair, edge_of[mine] - e, None if x is None else x[ends], edge_attr[mine]))
    return torch.cat(alone, 1)


@pytest.mark.parametrize("case", ["both directions alike", "directions that differ", "columns", "no nodes"])
def test_conductances_of_a_kind_of_edge_are_those_of_each_edge(case):
    data = molecule(30, seed=5)
    index, edge_of = torch.unique(data.edge_index.sort(0)[0], dim=1, return_inverse=True)
    x, edge_attr = data.x.squeeze(1), data.edge_attr
    options = {"node_types": 28, "edge_types": 4}
    if case == "directions that differ":
        edge_attr = torch.where(data.edge_index[0] < data.edge_index[1], edge_attr, (edge_attr + 1) % 4)
    if case == "columns":
        x, edge_attr = torch.stack([x % 7, x // 7], 1), torch.stack([edge_attr % 2, edge_attr // 2], 1)
        options = {"node_types": (7, 4), "edge_types": (2, 2)}
    if case == "no nodes":
        options, x = {"edge_types": 4}, None
    module = EdgeConductances(3, seed=1, **options).double()
    found = module(index, edge_of, x, edge_attr)
    expected = edges_one_by_one(module, index, edge_of, x, edge_attr)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(*(torch.autograd.grad(w.square().sum(), module.parameters()) for w in (found, expected)))


def test_second_derivatives_of_the_coefficients():
    encoding = LinearTransformerPE(k=3, heads=2, start="random", seed=2, num_layers=3).double()
    weights = [p for p in encoding.transformers.parameters() if p.numel() == 1]

    def gradient():
        loss = sum(encoding.coefficients(head=h).pow(3).sum() for h in range(2))
        return torch.autograd.grad(loss, weights, create_graph=True, allow_unused=True)

    second = torch.autograd.grad(sum(g.sum() for g in gradient()), weights[:2])
    for weight, expected in zip(weights[:2], second, strict=True):
        moved = []
        for step in (1e-5, -2e-5):
            with torch.no_grad():
                weight.add_(step)
            moved.append(sum(g.sum() for g in gradient()))
        torch.testing.assert_close((moved[0] - moved[1]) / 2e-5, expected.sum(), rtol=1e-6, atol=1e-6)
        with torch.no_grad():
            weight.add_(1e-5)


def test_torch_func_differentiates_the_coefficients():
    encoding = LinearTransformerPE(k=4)
    weights = dict(encoding.named_parameters())
    path = torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]])

    def loss(weights):
        return torch.func.functional_call(encoding, weights, (path,)).square().sum()

    expected = torch.autograd.grad(loss(weights), list(weights.values()))
    torch.testing.assert_close(list(torch.func.grad(loss)(weights).values()), list(expected))


def test_a_graph_without_nodes_changes_nothing():
    nothing = Data(x=torch.zeros(0, 1, dtype=torch.int64), edge_index=torch.zeros(2, 0, dtype=torch.int64), num_nodes=0)
    nothing.edge_attr = torch.zeros(0, dtype=torch.int64)
    a, b = molecule(12, seed=0), molecule(7, seed=1)
    encoding = LinearTransformerPE(k=4, heads=2, leverage=True, node_types=28, edge_types=4, seed=0).double()
    found = []
    for graphs in ([a, b], [nothing, a, nothing, b]):
        batch = Batch.from_data_list(graphs)
        node, edge, pairs = encoding.encode_with_pairs(batch)
        loss = sum(t.square().sum() for t in (*encoding(batch, return_edge=True), node, edge, pairs))
        found.append((node, edge, pairs.flatten(1).sum(0), torch.autograd.grad(loss, list(encoding.parameters()))))
    torch.testing.assert_close(found[1], found[0])
