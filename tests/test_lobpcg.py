"""The LOBPCG layer: its literal twin, SciPy's iterates, and the rate against layers without memory."""

import networkx as nx
import pytest
import scipy.sparse
import scipy.sparse.linalg
import torch

from graphtf import Incidence
from graphtf.constructions import bounds, lobpcg, subspace_iteration
from graphtf.lobpcg import LOBPCG
from graphtf.testing import assert_orientation_invariant, assert_permutation_equivariant, disjoint_union, graph_zoo

ZOO = {name: graph.normalized("spectral") for name, graph in graph_zoo().items()}
both = pytest.mark.parametrize("preconditioner", ["none", "jacobi"])


def spectrum(graph):
    return torch.linalg.eigh(graph.laplacian_dense())


def uncut(graph, largest=4):
    """The largest number of columns, at most four, after which the eigenvalues have a gap."""
    E = spectrum(graph)[0]
    return max((k for k in range(1, min(largest, len(E) - 1) + 1) if E[k] - E[k - 1] > 1e-6), default=0)


def random(graph, k, seed=1):
    return torch.randn(graph.num_nodes, k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


def twin(transformer, graph, x, batch=None):
    Z = transformer.literal(graph.num_edges, x.shape[1])(transformer.tokens(graph, x=x), batch)
    return Z[:, graph.num_edges : graph.num_edges + x.shape[1]]


@both
@pytest.mark.parametrize("layout", ["sparse", "padded"])
@pytest.mark.parametrize("name", [name for name, graph in ZOO.items() if uncut(graph)])
@torch.no_grad()
def test_layers_equal_their_literal_twin(name, layout, preconditioner):
    graph = ZOO[name]
    x = random(graph, uncut(graph))
    for depth in (1, 3, 6):
        transformer = lobpcg(depth, preconditioner)
        expected = twin(transformer, graph, x)
        torch.testing.assert_close(transformer(graph, x=x, layout=layout), expected, atol=1e-10, rtol=1e-10)


@both
@torch.no_grad()
def test_in_a_batch_too(preconditioner):
    graphs = [graph for name, graph in graph_zoo().items() if uncut(ZOO[name], 1)]
    assert len(graphs) > 5
    union = disjoint_union(graphs).normalized("spectral")
    x, transformer = random(union, 1), lobpcg(4, preconditioner)
    expected = twin(transformer, union, x, union.batch)
    for layout in ("sparse", "padded", "auto"):
        torch.testing.assert_close(transformer(union, x=x, layout=layout), expected, atol=1e-10, rtol=1e-10)
    for i, graph in enumerate(graphs):
        own = union.batch == i
        one = transformer(graph.normalized("spectral"), x=x[own])
        torch.testing.assert_close(one, expected[own], atol=1e-10, rtol=1e-10)


def weighted_grid():
    G = nx.convert_node_labels_to_integers(nx.grid_2d_graph(12, 15))
    for i, (u, v) in enumerate(G.edges):
        G[u][v]["weight"] = 1.5 + torch.sin(torch.tensor(float(i))).item()
    return Incidence.from_networkx(G).to(torch.float64)


@both
@torch.no_grad()
def test_subspaces_are_those_of_scipy_step_by_step(preconditioner):
    graph, k = weighted_grid(), 4
    L, x = graph.laplacian_scipy(), random(graph, k)
    M = scipy.sparse.diags(1 / L.diagonal()) if preconditioner == "jacobi" else None
    states = lobpcg(40, preconditioner)(graph, x=x, return_all=True)
    for depth in (1, 2, 5, 8, 16, 40):
        with pytest.warns(UserWarning, match="not reaching the requested tolerance"):
            _, peer = scipy.sparse.linalg.lobpcg(L, x.numpy(), M=M, tol=1e-14, maxiter=depth - 1, largest=False)
        peer = torch.linalg.qr(torch.from_numpy(peer))[0]
        sine = torch.linalg.matrix_norm(states[depth] - peer @ (peer.T @ states[depth]), 2)
        assert float(sine) < 1e-8, depth


@both
@torch.no_grad()
def test_it_converges_faster_than_without_memory(preconditioner):
    graph, k = weighted_grid(), 4
    E, U = spectrum(graph)
    x = random(graph, k)
    x[:, 0] = graph.null_vector()
    states = lobpcg(100, preconditioner)(graph, x=x, return_all=True)[1:]
    sums = torch.stack([torch.trace(s.T @ (graph.laplacian @ s)) for s in states])
    assert bool((sums.diff() <= 1e-12 * E[-1]).all())
    sines = torch.stack([torch.linalg.matrix_norm(s - U[:, :k] @ (U[:, :k].T @ s), 2) for s in states])
    assert float(sines[-1]) < 1e-5
    # Conjugate gradients with the gap for the smallest eigenvalue, against the proven rate of subspace iteration.
    slow = bounds.subspace_rate(float(E[k - 1]), float(E[k]), float(E[-1]))
    rate = float(sines[-1] / sines[19]) ** (1 / 80)
    assert rate < slow**4
    plain = subspace_iteration(100, float(E[-1]))(graph, phi=x)
    assert float(torch.linalg.matrix_norm(plain - U[:, :k] @ (U[:, :k].T @ plain), 2)) > 1e3 * float(sines[-1])


@both
@torch.no_grad()
def test_converged_vectors_stay(preconditioner):
    for name in ("grid", "skip-links", "two components", "single edge"):
        graph = ZOO[name]
        k = uncut(graph)
        states = lobpcg(80, preconditioner)(graph, x=random(graph, k), return_all=True)
        E = spectrum(graph)[0]
        assert torch.isfinite(states).all()
        for state in states[-2:]:
            values = torch.linalg.eigvalsh(state.T @ (graph.laplacian @ state))
            torch.testing.assert_close(values, E[:k], atol=1e-12, rtol=0)
        torch.testing.assert_close(states[-1], states[-2], atol=1e-6, rtol=0)


@both
def test_node_order_and_orientation_do_not_matter(preconditioner):
    def solve(graph):
        return lobpcg(3, preconditioner)(graph, x=torch.diag(graph.laplacian_dense()).square().unsqueeze(1))

    for name in ("grid", "tree", "skip-links"):
        assert_permutation_equivariant(solve, ZOO[name])
        assert_orientation_invariant(solve, ZOO[name])


def test_bad_layers():
    with pytest.raises(ValueError, match="preconditioner must be one of 'none', 'jacobi', but got 'ilu'"):
        LOBPCG("ilu")
    assert not lobpcg(1).is_polynomial
