"""Cases that every public function must answer, and input that is refused."""

import networkx as nx
import pytest
import scipy.sparse as sp
import torch
from torch_geometric.data import Batch, Data

from graphtf import Incidence, LinearTransformer, StructuredAttention, electric_flow
from graphtf.convert import disjoint_union
from graphtf.nn import LinearTransformerPE
from graphtf.testing import graph_zoo

ZOO = graph_zoo()


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.int64])
def test_half_precision_and_integer_weights_become_float32(dtype):
    weight = torch.tensor([2, 3], dtype=dtype)
    graph = Incidence(torch.tensor([[0, 1], [1, 2]]), weight)
    assert graph.dtype == torch.float32
    assert graph.degree.tolist() == [2.0, 5.0, 3.0]
    with pytest.raises(TypeError, match="float32 or float64"):
        graph.to(torch.float16)


def test_operands_that_would_lose_digits_are_refused():
    graph = ZOO["cycle"].to(torch.float32)
    assert (graph.laplacian @ torch.ones(6, dtype=torch.float16)).dtype == torch.float32
    assert (graph.laplacian @ torch.arange(6)).dtype == torch.float32
    for product in (graph.laplacian, graph, graph.T):
        with pytest.raises(TypeError, match=r"operand is float64.*\.to\(torch\.float64\)"):
            product @ torch.ones(6, dtype=torch.float64)
    with pytest.raises(TypeError, match="must be real"):
        graph.laplacian @ torch.ones(6, dtype=torch.complex64)
    with pytest.raises(TypeError, match="float64"):
        electric_flow(2, 0.1)(graph, psi=torch.ones(6, dtype=torch.float64))


def test_symmetrize_halves_edges_listed_one_way_and_excludes_directions():
    index = torch.tensor([[0, 1], [1, 2]])
    assert Incidence.from_edge_index(index, symmetrize=True).weight.tolist() == [0.5, 0.5]
    both = torch.cat([index, index.flip(0)], 1)
    assert Incidence.from_edge_index(both, symmetrize=True).weight.tolist() == [1.0, 1.0]
    for directions in ("once", "both"):
        with pytest.raises(ValueError, match=r"symmetrize=True.*leave one of them out"):
            Incidence.from_edge_index(index, symmetrize=True, directions=directions)
    A = sp.csr_array([[0, 1.0, 0], [0, 0, 3], [0, 1, 0]])
    assert Incidence.from_scipy(A, symmetrize=True).weight.tolist() == [0.5, 2.0]
    G = nx.DiGraph()
    G.add_weighted_edges_from([(0, 1, 1.0), (1, 2, 3.0), (2, 1, 1.0)])
    assert Incidence.from_networkx(G, symmetrize=True).weight.tolist() == [0.5, 2.0]


def test_diagonal_of_a_matrix_is_ignored_whatever_it_holds():
    laplacian_like = sp.csr_array([[-1.0, 2.0], [2.0, float("nan")]])
    assert Incidence.from_scipy(laplacian_like).weight.tolist() == [2.0]


def test_number_of_nodes_comes_from_batch():
    graph = Incidence.from_edge_index(torch.tensor([[0], [1]]), batch=torch.tensor([0, 0, 0, 1]))
    assert (graph.num_nodes, graph.num_graphs) == (4, 2)
    out = LinearTransformerPE(k=2)(torch.tensor([[0], [1]]), batch=torch.tensor([0, 0, 0, 1]))
    assert out.shape == (4, 2)


def test_weights_of_shape_column_and_batches_with_empty_graphs():
    edge = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), edge_weight=torch.full((2, 1), 3.0), num_nodes=2)
    empty = Data(edge_index=torch.empty(2, 0, dtype=torch.int64), edge_weight=torch.empty(0, 1), num_nodes=0)
    graph = Incidence.from_data(Batch.from_data_list([empty, edge, empty, edge, empty]))
    assert graph.weight.tolist() == [3.0, 3.0]
    assert graph.num_graphs == 5
    assert graph.lambda_bound().tolist() == [0.0, 6.0, 0.0, 6.0, 0.0]
    for kind in ("sym", "spectral"):
        assert torch.isfinite(graph.normalized(kind).laplacian_dense()).all()


@pytest.mark.parametrize("kind", ["sym", "spectral"])
def test_gradients_stay_finite_at_isolated_nodes(kind):
    weight = torch.tensor([2.0], dtype=torch.float64, requires_grad=True)
    graph = Incidence(torch.tensor([[0], [1]]), weight, 4, torch.tensor([0, 0, 0, 1]))
    x = torch.arange(4, dtype=torch.float64)
    out = graph.normalized(kind).laplacian @ x + graph.normalized(kind).null_vector() + graph.normalized(kind).center(x)
    out.square().sum().backward()
    assert torch.isfinite(weight.grad).all()


@pytest.mark.parametrize("kind", ["sym", "spectral"])
def test_tiny_and_huge_weights_do_not_overflow_in_float32(kind):
    for scale in (1e-36, 1e30):
        index = torch.tensor([[0, 1], [1, 2]])
        graph = Incidence(index, torch.tensor([1.0, 3.0]) * scale).normalized(kind)
        expected = Incidence(index, torch.tensor([1.0, 3.0])).normalized(kind)
        torch.testing.assert_close(graph.laplacian_dense(), expected.laplacian_dense())
        torch.testing.assert_close(graph.lambda_bound(), expected.lambda_bound())
        torch.testing.assert_close(graph.null_vector(), expected.null_vector())


def test_union():
    parts = [ZOO["path"], ZOO["no nodes"], disjoint_union([ZOO["cycle"], ZOO["no edges"]])]
    union = disjoint_union(parts)
    assert union.num_graphs == 4
    torch.testing.assert_close(
        union.laplacian_dense(), torch.block_diag(*[ZOO[n].laplacian_dense() for n in ("path", "cycle", "no edges")])
    )
    with pytest.raises(ValueError, match="at least one"):
        disjoint_union([])
    with pytest.raises(ValueError, match="normalized"):
        disjoint_union([ZOO["path"].normalized("sym")])
    with pytest.raises(ValueError, match="already normalized"):
        ZOO["path"].normalized("sym").normalized("sym")


def test_wrong_channels_and_loops_are_refused():
    layer = StructuredAttention(torch.ones(1), torch.ones(1, 1, 1, 3), torch.ones(1, 1, 3))
    with pytest.raises(ValueError, match="weights for 3 columns, but the registers have 2"):
        LinearTransformer([layer], ("a",), "a")(ZOO["cycle"], a=torch.ones(6, 2))
    with pytest.raises(ValueError, match="loops must be at least 1"):
        LinearTransformer([layer], ("a",), "a", loops=0)


def test_literal_gradients_are_finite_where_a_column_is_zero():
    layer = StructuredAttention(
        torch.ones(1), -torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1), norm="column", update=torch.ones(2)
    ).double()
    transformer = LinearTransformer([layer], ("a",), "a")
    twin = transformer.literal(0, 2)
    twin(transformer.tokens(ZOO["no edges"], a=torch.zeros(3, 2, dtype=torch.float64))).sum().backward()
    for name, p in twin.named_parameters():
        assert torch.isfinite(p.grad).all(), name
