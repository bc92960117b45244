"""No eigenvalue is left out where outliers, gaps and copies mislead the estimate of the density."""

import networkx as nx
import pytest
import torch

from graphtf import Incidence
from graphtf.solvers import laplacian_eigenvectors
from graphtf.solvers.eigen_filter import safe_filter
from graphtf.solvers.eigen_problem import Problem


def outlier():
    graph = nx.disjoint_union(nx.cycle_graph(900), nx.star_graph(30))
    graph.add_edge(0, 900)
    return graph


GRAPHS = {
    "cycle with a star": outlier(),  # one eigenvalue far above the rest
    "cycle and star": nx.disjoint_union(nx.cycle_graph(700), nx.star_graph(10)),  # all but two repeated
    "ring of cliques": nx.ring_of_cliques(5, 140),  # 5 eigenvalues far below the rest, which are almost one
    "complete": nx.complete_graph(300),  # one eigenvalue 299 times
    "complete bipartite": nx.complete_bipartite_graph(100, 300),
    "scale-free": nx.barabasi_albert_graph(900, 3, seed=1),
    "hubs": nx.disjoint_union_all([nx.star_graph(i) for i in (400, 100, 100, 50, 20)] + [nx.cycle_graph(300)]),
}


@pytest.mark.parametrize("method", ["auto", "memory", "preconditioned"])
@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize("normalization", [None, "sym"])
@pytest.mark.parametrize("name", GRAPHS)
def test_no_eigenvalue_is_left_out(name, normalization, which, method):
    if method == "preconditioned" and which == "largest":
        return
    B = Incidence.from_networkx(GRAPHS[name]).to(torch.float64)
    S = B if normalization is None else B.normalized("sym")
    bound = float(S.lambda_bound())
    expected = torch.linalg.eigvalsh(S.laplacian_dense())
    expected = expected.flip(0) if which == "largest" else expected
    for k in (4, 10):
        v = laplacian_eigenvectors(B, k, normalization, which, method=method)
        torch.testing.assert_close(v.eigenvalues, expected[:k], rtol=0, atol=1e-8 * bound)
        torch.testing.assert_close(v.T @ v, torch.eye(k).double(), rtol=0, atol=1e-7)


def test_the_example_of_the_outlier_above_the_dense_limit(monkeypatch):
    monkeypatch.setattr("graphtf.solvers.eigen.LARGEST_DENSE", 600)
    edges = torch.tensor(list(outlier().edges())).t()
    v = laplacian_eigenvectors(edges, 8, None, "largest", num_nodes=931, dtype=torch.float64)
    assert v.method == "memory"
    B = Incidence.from_networkx(outlier()).to(torch.float64)
    expected = torch.linalg.eigvalsh(B.laplacian_dense()).flip(0)[:8]
    torch.testing.assert_close(v.eigenvalues, expected, rtol=0, atol=1e-9)


@pytest.mark.parametrize("largest", [False, True])
@pytest.mark.parametrize("edge", [1e-6, 0.05, 1.0, 2.5, 3.999])
def test_a_safe_filter_keeps_the_order(edge, largest):
    B = Incidence.from_networkx(nx.cycle_graph(60)).to(torch.float64)
    E, U = torch.linalg.eigh(B.laplacian_dense())
    null, labels = torch.full((60,), 60**-0.5).double().numpy(), torch.zeros(60, dtype=torch.int64).numpy()
    f = safe_filter(Problem(B.laplacian_scipy(), null, labels, 4.0), edge, largest)
    assert f.keeps_order(edge)
    image = torch.tensor([float(u @ f.step(u[:, None])[:, 0]) for u in U[:, 1:].T.numpy()])
    E = E[1:]
    inside = edge <= E if largest else edge >= E
    within, beyond = image[inside], image[~inside]
    steps = within.diff() * (1 if largest else -1)
    assert bool((steps >= -1e-9 * image.abs().max()).all())
    if len(within) and len(beyond):
        assert float(beyond.abs().max()) <= float(within.min()) * (1 + 1e-9)
