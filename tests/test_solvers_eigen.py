"""Eigenvectors of the Laplacian: subspaces are compared, never vectors."""

import itertools

import networkx as nx
import pytest
import scipy.sparse.linalg
import torch

from graphtf import Incidence
from graphtf.solvers import ConvergenceError, algebraic_connectivity, fiedler_vector, laplacian_eigenvectors
from graphtf.testing import disjoint_union, graph_zoo, permuted

ZOO = graph_zoo()


def reference(B, normalization, which, trivial):
    """All eigenvalues in the order that is asked for, and the symmetric Laplacian."""
    L = (B if normalization is None else B.normalized("sym")).laplacian_dense()
    values = torch.linalg.eigvalsh(L)
    values = values if trivial else values[len(torch.unique(B.components())) :]
    return (values.flip(0) if which == "largest" else values), L


def projectors(values, vectors, tolerance):
    """Projectors on the eigenspaces of well separated groups of eigenvalues."""
    starts = [0, *[i for i in range(1, len(values)) if abs(values[i] - values[i - 1]) > tolerance], len(values)]
    return [vectors[:, a:b] @ vectors[:, a:b].T for a, b in itertools.pairwise(starts)]


@pytest.mark.parametrize("trivial", [True, False])
@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize("normalization", [None, "sym"])
@pytest.mark.parametrize("name", ZOO)
def test_eigenpairs_are_those_of_the_dense_matrix(name, normalization, which, trivial):
    B = ZOO[name]
    expected, L = reference(B, normalization, which, trivial)
    for k in (1, 3, 20):
        v = laplacian_eigenvectors(B, k, normalization, which, trivial=trivial)
        found = min(k, len(expected))
        assert v.shape == (B.num_nodes, k)
        assert int(v.counts) == found
        scale = max(1.0, float(L.abs().max())) if L.numel() else 1.0
        torch.testing.assert_close(v.eigenvalues[:found], expected[:found], rtol=0, atol=1e-12 * scale)
        assert not v[:, found:].any()
        assert not v.eigenvalues[found:].any()
        eye = torch.eye(found, dtype=torch.float64)
        torch.testing.assert_close(v[:, :found].T @ v[:, :found], eye, rtol=0, atol=1e-12)
        defect = L @ v.value - v.value * v.eigenvalues
        assert not defect.numel() or float(defect.abs().max()) < 1e-12 * scale
        assert not v.residual.numel() or float(v.residual.max()) < 1e-13


def large():
    grid = nx.convert_node_labels_to_integers(nx.grid_2d_graph(30, 30))
    regular = nx.random_regular_graph(4, 900, seed=1)
    return {
        "grid": Incidence.from_networkx(grid).to(torch.float64),  # all eigenvalues of x and y repeated
        "cycle": Incidence.from_networkx(nx.cycle_graph(800)).to(torch.float64),
        "star": Incidence.from_networkx(nx.star_graph(700)).to(torch.float64),  # one eigenvalue 699 times
        "regular": Incidence.from_networkx(regular).to(torch.float64),
        "components": Incidence.from_networkx(
            nx.disjoint_union_all([nx.cycle_graph(400), nx.cycle_graph(400), nx.empty_graph(30)])
        ).to(torch.float64),
        "weighted": Incidence(
            Incidence.from_networkx(regular).index,
            10 ** (4 * torch.rand(1800, dtype=torch.float64, generator=torch.Generator().manual_seed(0))),
        ),
    }


LARGE = large()


@pytest.mark.parametrize("normalization", [None, "sym"])
@pytest.mark.parametrize("name", LARGE)
@pytest.mark.parametrize(
    ("method", "which"), [("memory", "smallest"), ("memory", "largest"), ("preconditioned", "smallest")]
)
def test_iterative_methods_find_all_copies(name, normalization, method, which):
    B = LARGE[name]
    expected, L = reference(B, normalization, which, False)
    v = laplacian_eigenvectors(B, 6, normalization, which, trivial=False, method=method)
    assert v.method == method
    assert v.num_layers > 0
    bound = float((B if normalization is None else B.normalized("sym")).lambda_bound())
    torch.testing.assert_close(v.eigenvalues, expected[:6], rtol=0, atol=1e-8 * bound)
    torch.testing.assert_close(v.T @ v, torch.eye(6, dtype=torch.float64), rtol=0, atol=1e-8)
    assert float((L @ v.value - v.value * v.eigenvalues).norm(dim=0).max()) <= 1e-8 * bound


@pytest.mark.parametrize("method", ["memory", "preconditioned", "dense"])
def test_invariant_subspace_of_a_grid(method):
    B = LARGE["grid"]
    E, U = torch.linalg.eigh(B.laplacian_dense())
    v = laplacian_eigenvectors(B, 10, trivial=False, method=method, tol=1e-11)
    assert abs(E[10] - E[11]) > 1e-3
    for P, Q in zip(projectors(v.eigenvalues, v.value, 1e-6), projectors(E[1:11], U[:, 1:11], 1e-6), strict=True):
        torch.testing.assert_close(P, Q, rtol=0, atol=1e-7)
    again = laplacian_eigenvectors(B, 10, trivial=False, method=method, tol=1e-11)
    assert torch.equal(v.value, again.value)
    start = torch.arange(900.0).cos().double().numpy()
    peer = scipy.sparse.linalg.eigsh(B.laplacian_scipy(), 11, sigma=-0.01, which="LM", v0=start)[0][1:]
    torch.testing.assert_close(v.eigenvalues, torch.from_numpy(peer), rtol=0, atol=1e-9)


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
@pytest.mark.parametrize("method", ["auto", "gradient", "memory"])
def test_batch_is_one_by_one(method, normalization):
    graphs = [*ZOO.values(), LARGE["cycle"]] if method == "memory" else list(ZOO.values())
    batch = laplacian_eigenvectors(disjoint_union(graphs), 4, normalization, method=method)
    start = 0
    for g, B in enumerate(graphs):
        one = laplacian_eigenvectors(B, 4, normalization, method=method)
        rows = batch[start : start + B.num_nodes]
        start += B.num_nodes
        torch.testing.assert_close(batch.eigenvalues[g], one.eigenvalues, rtol=1e-9, atol=1e-9)
        assert int(batch.counts[g]) == int(one.counts)
        if method != "gradient":
            torch.testing.assert_close(rows @ rows.T, one.value @ one.value.T, rtol=0, atol=1e-8)
    assert batch.eigenvalues.shape == batch.residual.shape == (len(graphs), 4)


def test_fixed_depth_keeps_its_rate_and_bound():
    B = ZOO["skip-links"]
    E, U = torch.linalg.eigh(B.laplacian_dense())
    k, b = 3, float(B.lambda_bound())
    rate = float((b - E[k + 1]) / (b - E[k]))
    sine = []
    for depth in (40, 80):
        v = laplacian_eigenvectors(B, k, trivial=False, method="gradient", max_layers=depth)
        assert v.num_layers == depth
        sine.append(float(torch.linalg.matrix_norm(v.value - U[:, 1:4] @ (U[:, 1:4].T @ v.value), 2)))
        nearest = (v.eigenvalues[:, None] - E[None, :]).abs().min(1).values
        assert bool((nearest <= v.bound * b + 1e-14).all())
    assert sine[1] <= sine[0] * rate**40 * 1.5
    assert sine[1] >= 1e-14


def test_walk_vectors_are_eigenvectors():
    B = ZOO["two components"]
    v = laplacian_eigenvectors(B, 10, "rw")
    degree = torch.where(B.degree > 0, B.degree, 1.0)
    L = B.laplacian_dense() / degree[:, None]
    torch.testing.assert_close(L @ v.value, v.value * v.eigenvalues, rtol=0, atol=1e-12)
    inner = torch.where(B.degree > 0, B.degree / (B.degree.sum() / 9), 1.0)
    torch.testing.assert_close(v.T @ (inner[:, None] * v.value), torch.eye(10).double(), rtol=0, atol=1e-12)
    assert torch.unique(torch.round(v[:6, 0], decimals=12)).numel() == 1  # constant on a component


def test_node_order_does_not_matter():
    B = ZOO["grid"]
    order = torch.randperm(B.num_nodes, generator=torch.Generator().manual_seed(3))
    E = torch.linalg.eigvalsh(B.laplacian_dense())
    k = next(i for i in range(4, 12) if E[i] - E[i - 1] > 1e-3)
    a, b = laplacian_eigenvectors(B, k), laplacian_eigenvectors(permuted(B, order), k)
    torch.testing.assert_close((b @ b.T)[order][:, order], a @ a.T, rtol=0, atol=1e-10)


def test_single_precision():
    B = ZOO["skip-links"].to(torch.float32)
    v = laplacian_eigenvectors(B, 4)
    E, U = torch.linalg.eigh(ZOO["skip-links"].laplacian_dense())
    assert v.dtype == torch.float32
    torch.testing.assert_close(v.eigenvalues.double(), E[:4], rtol=0, atol=1e-5)
    torch.testing.assert_close((v @ v.T).double(), U[:, :4] @ U[:, :4].T, rtol=0, atol=1e-4)
    assert laplacian_eigenvectors(B, 4, dtype=torch.float64).dtype == torch.float64


def test_without_numba(monkeypatch):
    graphs = disjoint_union(list(ZOO.values()))
    fast = laplacian_eigenvectors(graphs, 5, "sym")
    monkeypatch.setattr("graphtf.solvers.eigen_dense.importlib.util.find_spec", lambda name: None)
    for which in ("smallest", "largest"):
        plain = laplacian_eigenvectors(graphs, 5, "sym", which)
        if which == "smallest":
            torch.testing.assert_close(plain.eigenvalues, fast.eigenvalues, rtol=0, atol=1e-12)
        L = graphs.normalized("sym").laplacian
        torch.testing.assert_close(L @ plain.value, plain.value * plain.eigenvalues[graphs.batch], rtol=0, atol=1e-12)


def test_a_limit_of_layers_is_kept():
    with pytest.raises(ConvergenceError, match="max_layers") as caught:
        laplacian_eigenvectors(LARGE["cycle"], 4, method="memory", max_layers=100)
    assert caught.value.solution.shape == (800, 4)
    assert float(caught.value.solution.residual.max()) > 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"k": 0}, "k must be at least 1"),
        ({"k": 2, "normalization": "spectral"}, "normalization"),
        ({"k": 2, "which": "SM"}, "which"),
        ({"k": 2, "method": "eigh"}, "method"),
        ({"k": 2, "tol": -1.0}, "tol"),
        ({"k": 2, "max_layers": 0}, "max_layers"),
        ({"k": 2, "method": "preconditioned", "which": "largest"}, "smallest eigenvalues"),
    ],
)
def test_wrong_arguments(options, message):
    with pytest.raises(ValueError, match=message):
        laplacian_eigenvectors(ZOO["path"], **options)


@pytest.mark.parametrize("name", ["path", "star", "complete", "barbell", "tree", "skip-links", "two components"])
@pytest.mark.parametrize("normalized", [False, True])
def test_connectivity_is_that_of_networkx(name, normalized):
    B = ZOO[name]
    graph = nx.Graph()
    graph.add_nodes_from(range(B.num_nodes))
    graph.add_weighted_edges_from([(*e, w) for e, w in zip(B.index.T.tolist(), B.weight.tolist(), strict=True)])
    expected = nx.algebraic_connectivity(graph, normalized=normalized, tol=1e-12, seed=0)
    found = algebraic_connectivity(B, "sym" if normalized else None)
    assert float(found) == pytest.approx(expected, abs=1e-8)
    if name == "two components":
        assert float(found) == 0.0
        with pytest.raises(ValueError, match="several components"):
            fiedler_vector(B)
    elif name not in ("star", "complete"):  # elsewhere the eigenvalue is simple
        theirs = torch.from_numpy(nx.fiedler_vector(graph, normalized=normalized, tol=1e-12, seed=0))
        ours = fiedler_vector(B, "sym" if normalized else None)
        assert abs(float(ours @ theirs) / float(theirs.norm())) == pytest.approx(1.0, abs=1e-7)


def test_connectivity_of_a_batch():
    graphs = [ZOO["path"], ZOO["two components"], ZOO["complete"]]
    values = algebraic_connectivity(disjoint_union(graphs))
    assert values.tolist() == pytest.approx([float(algebraic_connectivity(B)) for B in graphs], abs=1e-12)
    assert f"{algebraic_connectivity(ZOO['complete']):.3f}" == f"{values[2]:.3f}"
    assert f"{values}" == str(values)
    with pytest.raises(ValueError, match="at least two"):
        algebraic_connectivity(ZOO["single node"])
    with pytest.raises(ValueError, match="at least two"):
        fiedler_vector(ZOO["no nodes"])


def test_fixed_depth_finds_the_largest_of_a_batch():
    path = Incidence(torch.tensor([[0, 1, 2], [1, 2, 3]]), torch.tensor([1.0, 2.0, 0.5], dtype=torch.float64))
    expected = torch.linalg.eigvalsh(path.laplacian_dense()).flip(0)
    for graph in (path, disjoint_union([path, path]), disjoint_union([path, ZOO["two components"]])):
        v = laplacian_eigenvectors(graph, 2, which="largest", method="gradient")
        values = v.eigenvalues if graph is path else v.eigenvalues[0]
        torch.testing.assert_close(values, expected[:2], rtol=0, atol=1e-10)
        dense = laplacian_eigenvectors(graph, 2, which="largest", method="dense")
        torch.testing.assert_close(v.eigenvalues, dense.eigenvalues, rtol=0, atol=1e-6)
    v = laplacian_eigenvectors(path, 6, which="largest", method="gradient")
    torch.testing.assert_close(v.eigenvalues, torch.cat([expected[:3], torch.zeros(3).double()]), rtol=0, atol=1e-10)


@pytest.mark.parametrize("which", ["smallest", "largest"])
@pytest.mark.parametrize("normalization", [None, "sym"])
@pytest.mark.parametrize(
    "graph", [nx.cycle_graph(4), nx.path_graph(2), nx.path_graph(5), nx.complete_bipartite_graph(2, 3)]
)
def test_fixed_depth_keeps_the_vector_of_the_bound(graph, normalization, which):
    B = Incidence.from_networkx(graph).to(torch.float64)
    expected, L = reference(B, normalization, which, True)
    n = B.num_nodes
    v = laplacian_eigenvectors(B, n, normalization, which, method="gradient")
    torch.testing.assert_close(v.eigenvalues, expected, rtol=0, atol=1e-10)
    torch.testing.assert_close(v.T @ v, torch.eye(n).double(), rtol=0, atol=1e-10)
    torch.testing.assert_close(L @ v.value, v.value * v.eigenvalues, rtol=0, atol=1e-10)


def test_a_vector_that_vanishes_is_an_error(monkeypatch):
    def vanish(depth, **options):
        return lambda graph, phi: torch.linalg.qr(phi)[0] * (torch.arange(phi.shape[1]) < phi.shape[1] - 1)

    monkeypatch.setattr("graphtf.solvers.eigen_iterative.subspace_iteration", vanish)
    with pytest.raises(ConvergenceError, match="1 vector") as caught:
        laplacian_eigenvectors(ZOO["path"], 3, trivial=False, method="gradient")
    assert caught.value.solution.residual[-1] == caught.value.solution.bound[-1] == float("inf")


def test_wrong_types():
    for options in ({"tol": "a"}, {"tol": True}, {"generator": 3}):
        for solve in (laplacian_eigenvectors, algebraic_connectivity, fiedler_vector):
            arguments = (2,) if solve is laplacian_eigenvectors else ()
            with pytest.raises(TypeError, match=f"{next(iter(options))} must be a"):
                solve(ZOO["path"], *arguments, **options)


def test_connectivity_takes_its_own_options_only():
    for options in ({"which": "largest"}, {"trivial": True}, {"k": 2}):
        for solve in (algebraic_connectivity, fiedler_vector):
            with pytest.raises(TypeError, match="unexpected keyword"):
                solve(ZOO["path"], **options)
    value = algebraic_connectivity(ZOO["path"], method="gradient")
    assert value.shape == value.residual.shape == value.bound.shape == ()
    options = {"method": "memory", "max_layers": 100}
    for solve, shape in ((algebraic_connectivity, ()), (fiedler_vector, (800,))):
        with pytest.raises(ConvergenceError) as caught:
            solve(LARGE["cycle"], **options)
        assert caught.value.solution.shape == shape
        assert caught.value.solution.residual.shape == ()
    both = disjoint_union([LARGE["cycle"], LARGE["regular"]])
    with pytest.raises(ConvergenceError) as caught:
        algebraic_connectivity(both, **options)
    assert caught.value.solution.shape == caught.value.solution.residual.shape == (2,)
