"""Effective resistances, leverage scores and the effective graph resistance."""

import pytest
import torch

from graphtf import Incidence
from graphtf.convert import disjoint_union
from graphtf.solvers import (
    ConvergenceError,
    effective_graph_resistance,
    effective_resistance,
    electric_potential,
    leverage_scores,
    resistive_embedding,
)
from graphtf.solvers.dense import laplacian_pinv
from graphtf.testing import (
    assert_orientation_invariant,
    assert_permutation_equivariant,
    graph_zoo,
)

ZOO = graph_zoo()
METHODS = ["auto", "dense", "memory", "preconditioned", "multiplicative"]


def reference(graph, pairs):
    inverse = laplacian_pinv(graph)
    u, v = pairs
    R = inverse[u, u] + inverse[v, v] - 2 * inverse[u, v]
    labels = graph.components()
    return torch.where(labels[u] == labels[v], R, torch.inf)


def all_pairs(graph):
    n = graph.num_nodes
    return torch.cartesian_prod(torch.arange(n), torch.arange(n)).t()


def molecules(count, seed=0):
    """Trees with a few rings, shuffled sizes, some of them not connected."""
    generator = torch.Generator().manual_seed(seed)
    graphs = []
    for i in range(count):
        n = int(torch.randint(1, 40, (), generator=generator))
        child = torch.arange(1, n)
        parent = (torch.rand(n - 1, generator=generator) * child).long()
        rings = torch.randint(n, (2, 3), generator=generator)
        edges = torch.cat([torch.stack([parent, child]), rings], 1)
        weight = torch.exp(2 * torch.rand(edges.shape[1], generator=generator, dtype=torch.float64) - 1)
        if i % 5 == 0:
            edges, weight = edges[:, 2:], weight[2:]
        graphs.append(Incidence.from_edge_index(edges, weight, n, directions="once"))
    return disjoint_union(graphs)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", [name for name in ZOO if name not in ("weighted", "no nodes")])
def test_all_pairs(name, method):
    graph = ZOO[name]
    pairs = all_pairs(graph)
    R = effective_resistance(graph, pairs, method=method, tol=1e-10)
    torch.testing.assert_close(R.value, reference(graph, pairs), rtol=1e-8, atol=1e-10)
    assert R.residual.shape == R.shape
    assert (R.residual <= 1e-10).all()


def test_known_values():
    complete = effective_resistance(ZOO["complete"])
    torch.testing.assert_close(complete.value, torch.full((10,), 2 / 5, dtype=torch.float64))
    cycle = effective_resistance(ZOO["cycle"], torch.tensor([[0, 0, 0], [1, 2, 3]]))
    torch.testing.assert_close(cycle.value, torch.tensor([5 / 6, 4 / 3, 3 / 2], dtype=torch.float64))
    tree = ZOO["tree"]
    torch.testing.assert_close(effective_resistance(tree).value, 1 / tree.weight)


@pytest.mark.parametrize("name", ["grid", "barbell", "skip-links", "tree"])
def test_networkx(name):
    nx = pytest.importorskip("networkx")
    graph = ZOO[name]
    G = nx.Graph()
    G.add_nodes_from(range(graph.num_nodes))
    for (u, v), w in zip(graph.index.t().tolist(), graph.weight.tolist(), strict=True):
        G.add_edge(u, v, weight=w)
    R = effective_resistance(G, all_pairs(graph)).value.view(graph.num_nodes, -1)
    expected = nx.resistance_distance(G, weight="weight", invert_weight=False)
    for u in G:
        for v in G:
            assert float(R[u, v]) == pytest.approx(expected[u][v], rel=1e-8, abs=1e-10)
    total = nx.effective_graph_resistance(G, weight="weight", invert_weight=False)
    assert float(effective_graph_resistance(G)) == pytest.approx(total, rel=1e-9)


def test_the_default_pairs_are_the_listed_edges():
    listed = torch.tensor([[2, 0, 1, 3, 2, 2], [0, 1, 2, 2, 0, 2]])
    R = effective_resistance(listed[:, :4])
    torch.testing.assert_close(R.value, torch.tensor([2 / 3, 2 / 3, 2 / 3, 1.0]))
    w = torch.tensor([1.0, 1.0, 1.0, 1.0, 2.0, 1.0])  # a parallel edge and a self-loop
    R = effective_resistance(listed, edge_weight=w)
    torch.testing.assert_close(R.value[[0, 4, 5]], torch.tensor([2 / 7, 2 / 7, 0.0]))


@pytest.mark.parametrize("name", [name for name in ZOO if name != "weighted"])
def test_leverage_scores_sum_to_the_rank(name):
    graph = ZOO[name]
    components = int(graph.components().max()) + 1 if graph.num_nodes else 0
    scores = leverage_scores(graph, tol=1e-10)
    assert float(scores.value.sum()) == pytest.approx(graph.num_nodes - components, abs=1e-8)
    assert ((scores.value > 0) & (scores.value <= 1 + 1e-10)).all()


def test_leverage_scores_follow_the_list():
    both = torch.tensor([[0, 1, 1, 2, 2, 0, 2, 3], [1, 0, 2, 1, 0, 2, 3, 2]])
    scores = leverage_scores(both).value
    torch.testing.assert_close(scores, torch.tensor([2 / 3] * 6 + [1.0] * 2))
    parallel = torch.tensor([[0, 0, 1], [1, 1, 2]])
    scores = leverage_scores(parallel, edge_weight=torch.tensor([1.0, 3.0, 5.0])).value
    torch.testing.assert_close(scores, torch.tensor([0.25, 0.75, 1.0]))


def test_many_small_graphs_in_one_call():
    batch = molecules(250)
    assert batch.num_nodes > 2048  # the compiled loops
    fast = effective_resistance(batch, tol=1e-10)
    w = batch.weight.clone().requires_grad_()  # with a gradient the blocks of tensors are used
    slow = effective_resistance(Incidence(batch.index, w, batch.num_nodes, batch.batch, batch.num_graphs), tol=1e-10)
    assert (fast.method, slow.method) == ("dense", "dense")
    torch.testing.assert_close(fast.value, slow.value.detach(), rtol=1e-11, atol=1e-13)
    systems = effective_resistance(batch, batch.index[:, 1000:1040], method="memory", tol=1e-9)
    torch.testing.assert_close(fast.value[1000:1040], systems.value, rtol=1e-8, atol=1e-10)
    both = torch.cat([batch.index, batch.index.flip(0)], 1)
    listed = effective_resistance(both, edge_weight=batch.weight.repeat(2), batch=batch.batch, tol=1e-10)
    torch.testing.assert_close(listed.value, fast.value.repeat(2), rtol=1e-11, atol=1e-13)
    components = int(batch.components().max()) + 1
    assert float(leverage_scores(batch).value.sum()) == pytest.approx(batch.num_nodes - components, rel=1e-10)


def test_without_numba_the_answer_is_the_same(monkeypatch):
    from graphtf.solvers import resistance_pairs

    batch = molecules(200, seed=1)
    fast = effective_resistance(batch)
    monkeypatch.setattr(resistance_pairs, "has_numba", lambda: False)
    torch.testing.assert_close(effective_resistance(batch).value, fast.value, rtol=1e-11, atol=1e-13)


def test_a_batch_is_its_graphs():
    graphs = [ZOO[name] for name in ("path", "no edges", "complete", "skip-links", "single node", "two components")]
    batch = disjoint_union(graphs)
    alone = torch.cat([effective_resistance(graph).value for graph in graphs])
    torch.testing.assert_close(effective_resistance(batch).value, alone, rtol=1e-12, atol=0)
    totals = torch.cat([effective_graph_resistance(graph).value for graph in graphs])
    assert totals.isinf().tolist() == [False, True, False, False, False, True]
    torch.testing.assert_close(effective_graph_resistance(batch).value, totals, rtol=1e-12, atol=0)
    assert float(effective_resistance(batch, torch.tensor([[0], [batch.num_nodes - 4]]))) == float("inf")


def test_a_graph_without_nodes_beside_a_disconnected_one():
    for graphs in (["no nodes", "two components"], ["two components", "no nodes", "path"]):
        batch = disjoint_union([ZOO[name] for name in graphs])
        alone = torch.cat([effective_resistance(ZOO[name]).value for name in graphs])
        torch.testing.assert_close(effective_resistance(batch).value, alone)
        total = torch.cat([effective_graph_resistance(ZOO[name]) for name in graphs])
        torch.testing.assert_close(effective_graph_resistance(batch).value, torch.as_tensor(total))


@pytest.mark.parametrize("name", ["grid", "skip-links", "two components"])
def test_symmetries(name):
    graph = ZOO[name]

    def to_node_zero(graph):  # a function of the nodes: mean resistance to the reachable ones
        R = effective_resistance(graph, all_pairs(graph)).value.view(graph.num_nodes, -1)
        return torch.where(R.isinf(), 0.0, R).sum(1)

    assert_permutation_equivariant(to_node_zero, graph)
    assert_orientation_invariant(lambda graph: effective_resistance(graph).value, graph)


@pytest.mark.parametrize("method", METHODS)
def test_total_resistance(method):
    for name in ("path", "grid", "skip-links", "barbell"):
        graph = ZOO[name]
        eigenvalues = torch.linalg.eigvalsh(graph.laplacian_dense())[1:]
        total = effective_graph_resistance(graph, method=method, tol=1e-10)
        assert total.shape == (1,)
        assert float(total) == pytest.approx(graph.num_nodes * float((1 / eigenvalues).sum()), rel=1e-8)
    assert effective_graph_resistance(ZOO["single node"], method=method).tolist() == [0.0]
    assert effective_graph_resistance(ZOO["no edges"], method=method).tolist() == [float("inf")]
    assert effective_graph_resistance(ZOO["no nodes"], method=method).tolist() == [0.0]


def test_twelve_orders_of_magnitude():
    generator = torch.Generator().manual_seed(0)
    w = 10 ** (12 * torch.rand(20, dtype=torch.float64, generator=generator) - 6)
    graph = Incidence(ZOO["skip-links"].index, w, 10)
    try:
        scores, message = leverage_scores(graph, tol=1e-10), ""
    except ConvergenceError as error:
        scores, message = error.solution, str(error)
    assert (float(scores.residual.max()) > 1e-10) == ("tol=1.0e-10" in message)
    assert float(scores.value.sum()) == pytest.approx(9, rel=1e-3)


@pytest.mark.parametrize("method", ["auto", "memory", "multiplicative"])
@pytest.mark.parametrize("name", ["cycle", "complete", "skip-links", "two components"])
def test_gradcheck(name, method):
    zoo = ZOO[name]
    w = (zoo.weight * torch.linspace(1, 1.3, zoo.num_edges, dtype=torch.float64)).requires_grad_()
    keywords = {"max_layers": 5} if method == "multiplicative" else {"tol": 1e-12}

    def resistances(w):
        return effective_resistance(Incidence(zoo.index, w, zoo.num_nodes), method=method, **keywords).value

    assert torch.autograd.gradcheck(resistances, (w,))


def test_gradient_is_minus_the_squared_flow():
    for name in ("cycle", "complete"):  # repeated eigenvalues
        zoo = ZOO[name]
        w = zoo.weight.clone().requires_grad_()
        effective_resistance(Incidence(zoo.index, w, zoo.num_nodes), torch.tensor([[0], [2]]))[0].backward()
        psi = torch.zeros(zoo.num_nodes, dtype=torch.float64)
        psi[0], psi[2] = 1.0, -1.0
        x = electric_potential(zoo, psi).value
        u, v = zoo.index
        torch.testing.assert_close(w.grad, -(x[u] - x[v]).square(), rtol=1e-7, atol=1e-10)
        w.grad = None
        effective_graph_resistance(Incidence(zoo.index, w, zoo.num_nodes)).sum().backward()
        inverse = laplacian_pinv(zoo)
        square = inverse @ inverse
        expected = -zoo.num_nodes * (square[u, u] + square[v, v] - 2 * square[u, v])
        torch.testing.assert_close(w.grad, expected, rtol=1e-8, atol=1e-10)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda g: effective_resistance(g, torch.tensor([[0], [12]])), ValueError, "pairs holds node 12"),
        (lambda g: effective_resistance(g, torch.tensor([0, 1])), ValueError, r"pairs must have shape \[2, m\]"),
        (lambda g: effective_resistance(g, torch.tensor([[0.5], [1.0]])), TypeError, "pairs must hold integers"),
        (lambda g: effective_resistance(g, method="magic"), ValueError, "method must be one of"),
        (lambda g: resistive_embedding(g, 0), ValueError, "must be at least 1"),
        (lambda g: resistive_embedding(g, "two"), TypeError, "must be an int"),
        (lambda g: resistive_embedding(g, torch.zeros(12).double(), method="chebyshev"), ValueError, "has the methods"),
        (lambda g: effective_graph_resistance(g, tol=2.0), ValueError, "tol is a relative residual"),
        (lambda g: leverage_scores("graph"), TypeError, "expected a torch_geometric"),
    ],
)
def test_bad_input(call, error, message):
    with pytest.raises(error, match=message):
        call(ZOO["grid"])
