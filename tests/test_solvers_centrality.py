"""Current-flow centralities: against NetworkX, on the zoo, in batches, and their gradients."""

import math

import networkx as nx
import pytest
import torch
from torch_geometric.data import Batch, Data

from graphtf import Incidence
from graphtf.solvers import Solution, current_flow_betweenness, current_flow_closeness
from graphtf.solvers.dense import laplacian_pinv
from graphtf.testing import assert_orientation_invariant, assert_permutation_equivariant, disjoint_union, graph_zoo

ZOO = graph_zoo()
FUNCTIONS = [current_flow_betweenness, current_flow_closeness]
CONNECTED = [name for name, graph in ZOO.items() if graph.num_nodes > 2 and not bool(graph.components().any())]


def networkx_graph(graph: Incidence) -> nx.Graph:
    G = nx.Graph()
    G.add_nodes_from(range(graph.num_nodes))
    G.add_weighted_edges_from(zip(*graph.index.tolist(), graph.weight.tolist(), strict=True))
    return G


def in_order(values: dict) -> torch.Tensor:
    return torch.tensor([values[i] for i in range(len(values))], dtype=torch.float64)


@pytest.mark.parametrize("name", CONNECTED)
def test_equals_networkx(name):
    graph = ZOO[name]
    G = networkx_graph(graph)
    closeness = in_order(nx.current_flow_closeness_centrality(G, weight="weight", backend="networkx"))
    torch.testing.assert_close(current_flow_closeness(graph).value, closeness, rtol=1e-9, atol=0)
    for normalized in (True, False):
        theirs = nx.current_flow_betweenness_centrality(G, normalized, weight="weight", backend="networkx")
        ours = current_flow_betweenness(graph, normalized).value
        torch.testing.assert_close(ours, in_order(theirs), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ZOO)
def test_zoo(name, function):
    graph = ZOO[name]
    solution = function(graph)
    assert isinstance(solution, Solution)
    assert solution.shape == (graph.num_nodes,)
    assert solution.dtype == torch.float64
    assert bool(solution.isfinite().all())
    assert (solution.method, solution.num_layers) == ("dense", 0)
    assert float(solution.residual) < 1e-9
    # Conductances over eight orders of magnitude cost some digits.
    tolerance = 1e-8 if name == "weighted" else None
    assert_permutation_equivariant(lambda g: function(g).value, graph, tolerance)
    assert_orientation_invariant(lambda g: function(g).value, graph, tolerance)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_batch_is_every_graph_for_itself(function):
    graphs = list(ZOO.values())
    torch.testing.assert_close(
        function(disjoint_union(graphs)).value,
        torch.cat([function(graph).value for graph in graphs]),
        rtol=1e-12,
        atol=1e-12,
    )


@pytest.mark.parametrize("function", FUNCTIONS)
def test_inputs_mean_the_same(function):
    graph = ZOO["skip-links"]
    both = torch.cat([graph.index, graph.index.flip(0)], 1)
    weight = graph.weight.repeat(2)
    data = Data(edge_index=both, edge_weight=weight, num_nodes=graph.num_nodes)
    expected = function(graph).value
    for value in (
        function(both, edge_weight=weight, num_nodes=graph.num_nodes),
        function(data),
        function(networkx_graph(graph)),
        function(nx.to_scipy_sparse_array(networkx_graph(graph), nodelist=range(graph.num_nodes))),
        function(Batch.from_data_list([data, data]))[: graph.num_nodes],
    ):
        torch.testing.assert_close(torch.as_tensor(value), expected, check_dtype=False, rtol=1e-9, atol=1e-9)
    assert function(data, dtype=torch.float32).dtype == torch.float32
    torch.testing.assert_close(function(data, dtype=torch.float32).value.double(), expected, rtol=1e-5, atol=1e-5)


def test_components():
    # A hexagon, a path of three nodes and an isolated node in one graph of ten nodes.
    graph = ZOO["two components"]
    assert not bool(current_flow_closeness(graph).value.any())
    # Only the middle of the path lies between two nodes of its component; the factor is that of all ten nodes.
    value = current_flow_betweenness(graph).value
    torch.testing.assert_close(value[7], torch.tensor(2 / (9 * 8), dtype=torch.float64))
    assert value[6] == pytest.approx(0, abs=1e-15)
    assert value[9] == 0
    hexagon = current_flow_betweenness(ZOO["cycle"], normalized=False).value
    torch.testing.assert_close(current_flow_betweenness(graph, normalized=False).value[:6], hexagon)


def test_single_nodes_and_pairs():
    for name in ("single node", "no edges", "no nodes"):
        assert not bool(current_flow_betweenness(ZOO[name]).value.any())
        assert not bool(current_flow_closeness(ZOO[name]).value.any())
    pair = Incidence(torch.tensor([[0], [1]]), torch.tensor([4.0]))
    torch.testing.assert_close(current_flow_closeness(pair).value, torch.tensor([4.0, 4.0]))
    torch.testing.assert_close(current_flow_betweenness(pair).value, torch.zeros(2))


def test_parallel_edges_add_up_and_loops_do_not_count():
    once = torch.tensor([[0, 1, 2], [1, 2, 3]])
    more = torch.tensor([[0, 0, 1, 2, 3], [1, 1, 2, 3, 3]])
    for function in FUNCTIONS:
        torch.testing.assert_close(
            function(more, edge_weight=torch.tensor([0.5, 1.5, 1.0, 3.0, 9.0])).value,
            function(once, edge_weight=torch.tensor([2.0, 1.0, 3.0])).value,
        )


@pytest.mark.parametrize("orders", [4, 8, 12])
def test_weights_over_many_orders_of_magnitude(orders):
    n = 41
    exponent = torch.linspace(-orders / 2, orders / 2, n - 1, dtype=torch.float64)
    weight = 10 ** exponent[torch.randperm(n - 1, generator=_generator())]
    path = Incidence(torch.stack([torch.arange(n - 1), torch.arange(1, n)]), weight)
    # Potentials as far apart as the resistances are, stored with this precision.
    tolerance = 10**orders * 10 * torch.finfo(torch.float64).eps
    i = torch.arange(n, dtype=torch.float64)
    # On a path all pairs on different sides of a node send their current through it.
    between = current_flow_betweenness(path, normalized=False)
    torch.testing.assert_close(between.value, i * (n - 1 - i), rtol=0, atol=tolerance * n * n / 4)
    place = torch.cat([torch.zeros(1, dtype=torch.float64), (1 / weight).cumsum(0)])
    closeness = 1 / (place[:, None] - place).abs().sum(1)
    torch.testing.assert_close(current_flow_closeness(path).value, closeness, rtol=tolerance, atol=0)
    assert float(between.residual) < tolerance


def _generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ["skip-links", "two components", "tree"])
def test_gradients_reach_the_weights(name, function):
    graph = ZOO[name]
    # Away from symmetric weights, at which betweenness has corners.
    weight = torch.exp(torch.rand(graph.num_edges, generator=_generator(), dtype=torch.float64)).requires_grad_()

    def value(w: torch.Tensor) -> torch.Tensor:
        return function(Incidence(graph.index, w, graph.num_nodes)).value

    assert torch.autograd.gradcheck(value, (weight,))
    torch.testing.assert_close(value(weight).detach(), value(weight.detach()), rtol=1e-14, atol=1e-14)


def test_second_derivatives_of_closeness():
    graph = ZOO["cycle"]

    def value(w: torch.Tensor) -> torch.Tensor:
        return current_flow_closeness(Incidence(graph.index, w, graph.num_nodes)).value

    assert torch.autograd.gradgradcheck(value, (graph.weight.clone().requires_grad_(),))


@pytest.mark.parametrize("function", FUNCTIONS)
@pytest.mark.parametrize("name", ["cycle", "complete"])
def test_gradients_of_symmetric_graphs_are_symmetric(name, function):
    graph = ZOO[name]
    weight = graph.weight.clone().requires_grad_()
    (function(Incidence(graph.index, weight, graph.num_nodes)).value.square().sum()).backward()
    torch.testing.assert_close(weight.grad, weight.grad.mean().expand_as(weight.grad), rtol=1e-9, atol=1e-12)


def test_large_blocks_are_split(monkeypatch):
    graph = disjoint_union(list(ZOO.values()))
    expected = [function(graph).value for function in FUNCTIONS]
    monkeypatch.setattr("graphtf.solvers.throughput.MAX_ROWS", 7)
    for function, value in zip(FUNCTIONS, expected, strict=True):
        torch.testing.assert_close(function(graph).value, value, rtol=1e-14, atol=1e-14)


@pytest.mark.parametrize("function", FUNCTIONS)
def test_bad_input(function):
    edge = torch.tensor([[0], [1]])
    for weight in (-1.0, 0.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="weight"):
            function(edge, edge_weight=torch.tensor([weight]))
    with pytest.raises(TypeError, match="floating"):
        function(edge, dtype=torch.int64)
    with pytest.raises(ValueError, match="directed"):
        function(nx.DiGraph([(0, 1)]))
    far_apart = Incidence(torch.tensor([[0, 1, 0, 3, 4], [1, 2, 2, 4, 5]]), torch.tensor([1.0, 1, 1, 1, 1]))
    for weak in (1e-30, 1e-17):
        joined = Incidence(
            torch.cat([far_apart.index, torch.tensor([[2], [3]])], 1),
            torch.cat([far_apart.weight, torch.tensor([weak])]),
        )
        with pytest.raises(ValueError, match=r"too far apart .* in torch\.float64; bring them closer"):
            function(joined)


def exact_closeness(graph):
    """From the resistances to all other nodes, of a connected graph."""
    inverse = laplacian_pinv(graph)
    return 1 / (graph.num_nodes * inverse.diagonal() + inverse.trace())


@pytest.mark.parametrize("kind", ["grid", "attachment", "tree", "star", "cycle", "complete", "parallel edges"])
def test_closeness_of_graphs_from_which_nodes_are_eliminated(kind):
    graph = {
        "grid": lambda: nx.convert_node_labels_to_integers(nx.grid_2d_graph(17, 18)),
        "attachment": lambda: nx.barabasi_albert_graph(300, 3, seed=0),
        "tree": lambda: nx.random_labeled_tree(300, seed=0),
        "star": lambda: nx.star_graph(300),
        "cycle": lambda: nx.cycle_graph(301),
        "complete": lambda: nx.complete_graph(260),
        "parallel edges": lambda: nx.cycle_graph(301),
    }[kind]()
    edges = torch.tensor(list(graph.edges)).T
    if kind == "parallel edges":
        edges = torch.cat([edges, edges[:, ::2].flip(0)], 1)
    generator = torch.Generator().manual_seed(0)
    weight = 10 ** (4 * torch.rand(edges.shape[1], generator=generator, dtype=torch.float64) - 2)
    B = Incidence(edges, weight, graph.number_of_nodes())
    value = current_flow_closeness(B)
    torch.testing.assert_close(value.value, exact_closeness(B), rtol=1e-8, atol=0)
    assert float(value.residual) < 1e-10

    gradients = []
    for function in (lambda B: current_flow_closeness(B).value, exact_closeness):
        w = weight.clone().requires_grad_()
        (function(Incidence(edges, w, B.num_nodes)) ** 2).sum().backward()
        gradients.append(w.grad)
    torch.testing.assert_close(*gradients, rtol=1e-6, atol=1e-9 * float(gradients[1].abs().max()))


def test_closeness_of_a_batch_of_large_and_small_graphs():
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(17, 18))
    large = Incidence(torch.tensor(list(grid.edges)).T.contiguous(), torch.ones(grid.size()).double(), 306)
    two = disjoint_union([large, ZOO["path"]])
    apart = Incidence(two.index, two.weight, two.num_nodes)  # one graph with two components
    graphs = [ZOO["cycle"], large, apart, ZOO["single node"], large]
    expected = torch.cat([current_flow_closeness(graph).value for graph in graphs])
    torch.testing.assert_close(current_flow_closeness(disjoint_union(graphs)).value, expected, rtol=1e-10, atol=0)
    assert bool((current_flow_closeness(apart).value == 0).all())


def test_closeness_over_twelve_orders_of_magnitude():
    n = 400
    w = 10 ** (12 * torch.rand(n - 1, generator=torch.Generator().manual_seed(1), dtype=torch.float64) - 6)
    path = Incidence(torch.stack([torch.arange(n - 1), torch.arange(1, n)]), w, n)
    place = torch.cat([torch.zeros(1, dtype=torch.float64), (1 / w).cumsum(0)])
    exact = 1 / (place[:, None] - place[None, :]).abs().sum(1)
    torch.testing.assert_close(current_flow_closeness(path).value, exact, rtol=1e-3, atol=0)  # as documented
