import networkx as nx
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Batch, Data, HeteroData

from graphtf import Incidence
from graphtf.testing import (
    assert_orientation_invariant,
    assert_permutation_equivariant,
    disjoint_union,
    graph_zoo,
)

ZOO = graph_zoo()
zoo = pytest.mark.parametrize("name", ZOO)


def networkx_of(graph):
    G = nx.MultiGraph()
    G.add_nodes_from(range(graph.num_nodes))
    for (u, v), w in zip(graph.index.t().tolist(), graph.weight.tolist(), strict=True):
        G.add_edge(u, v, weight=w)
    return G


@zoo
def test_products_match_the_dense_operator(name):
    graph = ZOO[name]
    B = graph.dense()
    assert B.shape == graph.shape
    x = torch.randn(graph.num_nodes, 3, dtype=torch.float64)
    f = torch.randn(graph.num_edges, 2, dtype=torch.float64)
    torch.testing.assert_close(graph @ f, B @ f)
    torch.testing.assert_close(graph.T @ x, B.T @ x)
    torch.testing.assert_close(graph.laplacian @ x, B @ (B.T @ x))
    torch.testing.assert_close(graph.laplacian @ x[:, 0], B @ (B.T @ x[:, 0]))
    torch.testing.assert_close(graph.laplacian_dense(), B @ B.T)
    torch.testing.assert_close(torch.from_numpy(graph.laplacian_scipy().toarray()), B @ B.T)


@zoo
def test_agrees_with_networkx(name):
    graph = ZOO[name]
    if graph.num_nodes == 0:
        pytest.skip("networkx has no Laplacian of a graph without nodes")
    G = networkx_of(graph)
    expected = torch.from_numpy(nx.laplacian_matrix(G).toarray().astype(float))
    torch.testing.assert_close(graph.laplacian_dense(), expected)
    assert int(graph.components().max()) + 1 == nx.number_connected_components(G)
    for part in nx.connected_components(G):
        assert len({int(graph.components()[i]) for i in part}) == 1
    torch.testing.assert_close(Incidence.from_networkx(G).laplacian_dense(), expected)
    normalized = torch.from_numpy(nx.normalized_laplacian_matrix(G).toarray())
    torch.testing.assert_close(graph.normalized("sym").laplacian_dense(), normalized, atol=1e-12, rtol=1e-12)


@zoo
@pytest.mark.parametrize("kind", [None, "sym", "spectral"])
def test_null_vector_center_and_bound(name, kind):
    graph = ZOO[name] if kind is None else ZOO[name].normalized(kind)
    L = graph.laplacian_dense()
    scale = max(1.0, float(L.abs().max()) if L.numel() else 0.0)
    v = graph.null_vector()
    assert float((L @ v).abs().max() if v.numel() else 0.0) < 1e-12 * scale
    x = torch.randn(graph.num_nodes, 2, dtype=torch.float64)
    centered = graph.center(x)
    torch.testing.assert_close(L @ centered, L @ x, atol=1e-10 * scale, rtol=0)
    torch.testing.assert_close(centered, torch.linalg.pinv(L, hermitian=True) @ L @ x, atol=1e-6, rtol=0)
    if graph.num_nodes:
        largest = float(torch.linalg.eigvalsh(L).max())
        assert largest <= float(graph.lambda_bound().max()) * (1 + 1e-12) + 1e-12
        if kind is not None:
            assert largest <= {"sym": 2, "spectral": 1}[kind] + 1e-12


@zoo
def test_equivariance_and_orientation(name):
    graph = ZOO[name]
    x = torch.randn(graph.num_nodes, dtype=torch.float64)
    order = torch.randperm(graph.num_nodes, generator=torch.Generator().manual_seed(0))
    shuffled = torch.empty_like(x)
    shuffled[order] = x
    calls = iter([shuffled, x])
    assert_permutation_equivariant(lambda g: g.laplacian @ next(calls), graph)
    assert_permutation_equivariant(lambda g: g.degree, graph)
    assert_orientation_invariant(lambda g: g.laplacian @ x, graph)


def test_batch_is_block_diagonal():
    graphs = [ZOO[name] for name in ZOO]
    union = disjoint_union(graphs)
    expected = torch.block_diag(*[g.laplacian_dense() for g in graphs if g.num_nodes])
    torch.testing.assert_close(union.laplacian_dense(), expected)
    torch.testing.assert_close(union.lambda_bound(), torch.cat([g.lambda_bound() for g in graphs]))
    spectral = union.normalized("spectral").laplacian_dense()
    parts = torch.block_diag(*[g.normalized("spectral").laplacian_dense() for g in graphs if g.num_nodes])
    torch.testing.assert_close(spectral, parts)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_both_or_one_direction_parallel_edges_and_self_loops(dtype):
    once = torch.tensor([[0, 1, 2, 1], [1, 2, 2, 0]])  # (0, 1) twice as parallel edges, a self-loop at 2
    weight = torch.tensor([1.0, 3.0, 7.0, 2.0], dtype=dtype)
    expected = torch.tensor([[3.0, -3, 0], [-3, 6, -3], [0, -3, 3]], dtype=dtype)
    torch.testing.assert_close(Incidence.from_edge_index(once, weight, directions="once").laplacian_dense(), expected)
    both = torch.tensor([[0, 1, 0, 1, 1, 2, 2], [1, 0, 1, 0, 2, 1, 2]])
    weight = torch.tensor([1.0, 1.0, 2.0, 2.0, 3.0, 3.0, 9.0], dtype=dtype)
    graph = Incidence.from_edge_index(both, weight)
    assert graph.num_edges == 2
    torch.testing.assert_close(graph.laplacian_dense(), expected)
    torch.testing.assert_close(
        Incidence.from_edge_index(both[:, ::2][:, :2], weight[:2]).weight, weight.new_ones(1) * 2
    )


def test_direction_is_decided_graph_by_graph():
    edge_index = torch.tensor([[0, 1, 2], [1, 0, 3]])
    graph = Incidence.from_edge_index(edge_index, batch=torch.tensor([0, 0, 1, 1]))
    assert graph.weight.tolist() == [1.0, 1.0]
    with pytest.raises(ValueError, match=r"lists 1 of its 2 node pairs in both directions.*directions='once'"):
        Incidence.from_edge_index(edge_index)
    assert Incidence.from_edge_index(edge_index, directions="once").weight.tolist() == [2.0, 1.0]
    assert Incidence.from_edge_index(edge_index, symmetrize=True).weight.tolist() == [1.0, 0.5]


def test_directed_weights_are_rejected_unless_symmetrized():
    edge_index, weight = torch.tensor([[0, 1], [1, 0]]), torch.tensor([1.0, 3.0])
    with pytest.raises(ValueError, match=r"weight 1\.0 one way and 3\.0 the other.*symmetrize=True"):
        Incidence.from_edge_index(edge_index, weight)
    assert Incidence.from_edge_index(edge_index, weight, symmetrize=True).weight.tolist() == [2.0]
    with pytest.raises(ValueError, match="both directions"):
        Incidence.from_edge_index(edge_index[:, :1], directions="both")
    G = nx.DiGraph([(0, 1)])
    with pytest.raises(ValueError, match="directed"):
        Incidence.from_networkx(G)
    assert Incidence.from_networkx(G, symmetrize=True).weight.tolist() == [0.5]
    assert Incidence.from_networkx(G.to_undirected(), symmetrize=True).weight.tolist() == [1.0]


@pytest.mark.parametrize(
    ("bad", "remedy"),
    [
        (0.0, "drop edges of weight zero"),
        (-1.0, "take the absolute"),
        (float("nan"), "correct it"),
        (float("inf"), "correct it"),
        (-float("inf"), "correct it"),
    ],
)
def test_bad_weights(bad, remedy):
    with pytest.raises(ValueError, match=rf"edge_weight must be finite and positive .* entry 1 is .*; {remedy}"):
        Incidence.from_edge_index(torch.tensor([[0, 1], [1, 2]]), torch.tensor([1.0, bad]))
    with pytest.raises(ValueError, match="weight must be finite and positive"):
        Incidence(torch.tensor([[0], [1]]), torch.tensor([bad]))


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (TypeError, {"edge_index": [[0], [1]]}),
        (TypeError, {"edge_index": torch.tensor([[0.0], [1.0]])}),
        (ValueError, {"edge_index": torch.tensor([0, 1])}),
        (ValueError, {"edge_index": torch.tensor([[0], [-1]])}),
        (ValueError, {"edge_index": torch.tensor([[0], [5]]), "num_nodes": 3}),
        (TypeError, {"edge_index": torch.tensor([[0], [1]]), "num_nodes": 2.0}),
        (ValueError, {"edge_index": torch.tensor([[0], [1]]), "edge_weight": torch.ones(2)}),
        (TypeError, {"edge_index": torch.tensor([[0], [1]]), "edge_weight": [1.0]}),
        (ValueError, {"edge_index": torch.tensor([[0], [1]]), "batch": torch.tensor([0])}),
        (ValueError, {"edge_index": torch.tensor([[0], [1]]), "batch": torch.tensor([0, 1])}),
        (TypeError, {"edge_index": torch.tensor([[0], [1]]), "batch": torch.tensor([0.0, 0.0])}),
        (ValueError, {"edge_index": torch.tensor([[0], [1]]), "directions": "twice"}),
    ],
)
def test_bad_input(error, arguments):
    with pytest.raises(error):
        Incidence.from_edge_index(**arguments)


def test_self_loop_is_no_column():
    with pytest.raises(ValueError, match="self-loop"):
        Incidence(torch.tensor([[0, 1], [1, 1]]))


def test_index_types_and_layouts():
    expected = Incidence.from_edge_index(torch.tensor([[0, 1], [1, 2]])).laplacian_dense()
    for dtype in (torch.int8, torch.int32, torch.int64):
        noncontiguous = torch.tensor([[0, 1], [1, 2]], dtype=dtype).t().contiguous().t()
        torch.testing.assert_close(Incidence.from_edge_index(noncontiguous).laplacian_dense(), expected)
    assert Incidence.from_edge_index(torch.empty(2, 0), num_nodes=2).shape == (2, 0)


def test_weights_over_sixteen_orders_of_magnitude():
    weight = torch.logspace(-8, 8, 30, dtype=torch.float64)
    index = torch.stack([torch.arange(30), torch.arange(1, 31)])
    for dtype in (torch.float32, torch.float64):
        graph = Incidence(index, weight.to(dtype))
        x = torch.arange(31, dtype=dtype)
        flow = graph.weight.sqrt() * (graph.T @ x)
        torch.testing.assert_close(flow, -weight.to(dtype), rtol=1e-5 if dtype == torch.float32 else 1e-12, atol=0)
        assert torch.isfinite(graph.normalized("sym").laplacian_dense()).all()


def test_gradients_reach_weights_and_operands():
    index = ZOO["skip-links"].index
    x = torch.randn(10, 2, dtype=torch.float64, requires_grad=True)
    f = torch.randn(20, dtype=torch.float64, requires_grad=True)
    weight = ZOO["skip-links"].weight.clone().requires_grad_()
    for kind in (None, "sym", "spectral"):

        def products(w, x, f, kind=kind):
            graph = Incidence(index, w, 10)
            graph = graph if kind is None else graph.normalized(kind)
            return graph.laplacian @ x, graph @ f, graph.T @ x, graph.degree

        assert torch.autograd.gradcheck(products, (weight, x, f))
    both = torch.cat([index, index.flip(0)], dim=1)
    Incidence.from_edge_index(both, torch.cat([weight, weight])).laplacian_dense().diagonal().sum().backward()
    torch.testing.assert_close(weight.grad, torch.full_like(weight, 2.0))


def test_data_and_batch():
    data = Data(
        edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), edge_weight=torch.tensor([2.0, 2, 3, 3]), num_nodes=4
    )
    graph = Incidence.from_data(data)
    assert graph.weight.tolist() == [2.0, 3.0]
    assert graph.components().tolist() == [0, 0, 0, 1]
    batch = Incidence.from_data(Batch.from_data_list([data, data]))
    assert (batch.num_graphs, batch.num_nodes, batch.num_edges) == (2, 8, 4)
    with pytest.raises(TypeError, match=r"HeteroData.*to_homogeneous"):
        Incidence.from_data(HeteroData())
    with pytest.raises(TypeError, match="Data or Batch"):
        Incidence.from_data({"edge_index": data.edge_index})
    with pytest.raises(ValueError, match="edge_index"):
        Incidence.from_data(Data(x=torch.ones(2, 1)))


def test_scipy():
    A = sp.random_array((20, 20), density=0.2, rng=np.random.default_rng(0))
    A = (A + A.T).tocsr()
    graph = Incidence.from_scipy(A)
    expected = sp.csgraph.laplacian(A - sp.diags_array(A.diagonal())).toarray()
    np.testing.assert_allclose(graph.laplacian_dense(), expected, atol=1e-12)
    with pytest.raises(ValueError, match="directed"):
        Incidence.from_scipy(sp.csr_array([[0, 1.0], [0, 0]]))
    with pytest.raises(TypeError, match="SciPy sparse matrix"):
        Incidence.from_scipy([[0, 1], [1, 0]])
    with pytest.raises(ValueError, match="square"):
        Incidence.from_scipy(sp.csr_array([[0.0, 1.0]]))
    with pytest.raises(TypeError, match=r"real numbers, but the matrix has dtype complex128; pass abs"):
        Incidence.from_scipy(A.astype(complex))


@pytest.mark.parametrize("value", [None, "3", 1j])
def test_networkx_weights_that_are_no_numbers(value):
    G = nx.Graph([("a", "b", {"weight": 2}), ("b", "c", {"weight": value})])
    with pytest.raises(TypeError, match=rf"edge \('b', 'c'\) has weight={value!r} .*a conductance is a number"):
        Incidence.from_networkx(G)


def test_path_of_five_thousand_is_one_component():
    order = torch.randperm(5000, generator=torch.Generator().manual_seed(0))
    graph = Incidence(torch.stack([order[:-1], order[1:]]))
    assert int(graph.components().max()) == 0


def test_operand_of_the_wrong_size():
    graph = ZOO["cycle"]
    with pytest.raises(ValueError, match="6 rows"):
        graph.laplacian @ torch.ones(5)
    with pytest.raises(TypeError, match=r"torch\.Tensor"):
        graph.laplacian @ np.ones(6)
    with pytest.raises(ValueError, match="'sym', 'spectral', but got 'row'"):
        graph.normalized("row")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_cuda_gives_the_same():
    graph = ZOO["skip-links"]
    x = torch.randn(10, 2, dtype=torch.float64)
    torch.testing.assert_close((graph.to("cuda").laplacian @ x.cuda()).cpu(), graph.laplacian @ x)
