"""Transforms that store computed encodings: electric, heat kernel, spectral, random walk."""

import inspect
from functools import partial

import pytest
import torch
from torch_geometric import transforms as pyg
from torch_geometric.data import Batch, Data, HeteroData

from graphtf import Incidence
from graphtf.testing import graph_zoo
from graphtf.transforms import (
    AddElectricPE,
    AddHeatKernelPE,
    AddIncidence,
    AddLinearTransformerPE,
    AddPathFlowPE,
    AddRandomWalkPE,
    AddSpectralPE,
)

ZOO = graph_zoo()
EVERY = [
    (AddElectricPE(), ["electric_pe"], ["electric_edge_pe"]),
    (AddHeatKernelPE([0.1, 1.0, 30.0]), ["heat_kernel_pe"], []),
    (AddHeatKernelPE([0.1, 1.0], normalization=None), ["heat_kernel_pe"], []),
    (AddRandomWalkPE(6), ["random_walk_pe"], []),
]
every = pytest.mark.parametrize(("transform", "node", "edge"), EVERY, ids=lambda t: repr(t)[:28])


def data_of(name):
    graph = ZOO[name]
    both = torch.cat([graph.index, graph.index.flip(0)], dim=1)
    return Data(edge_index=both, edge_weight=torch.cat([graph.weight, graph.weight]), num_nodes=graph.num_nodes)


def laplacian(data, normalization):
    graph = Incidence.from_data(data).to(torch.float64)
    return (graph if normalization is None else graph.normalized("sym")).laplacian_dense()


@pytest.mark.parametrize("name", ZOO)
def test_electric_is_the_pseudo_inverse(name):
    data = AddElectricPE()(data_of(name))
    G = torch.linalg.pinv(laplacian(data, None), hermitian=True)
    u, v = data.edge_index
    R = G[u, u] + G[v, v] - 2 * G[u, v]
    torch.testing.assert_close(data.electric_pe.flatten().double(), G.diagonal(), rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(data.electric_edge_pe[:, 0].double(), R, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(data.electric_edge_pe[:, 1].double(), R * data.edge_weight, rtol=1e-5, atol=1e-6)


def test_leverage_tells_rings_from_bridges():
    ring = torch.stack([torch.arange(6), (torch.arange(6) + 1) % 6])
    edges = torch.cat([ring, torch.tensor([[0], [6]])], 1)
    data = Data(edge_index=torch.cat([edges, edges.flip(0), torch.tensor([[2], [2]])], 1), num_nodes=7)
    leverage = AddElectricPE()(data).electric_edge_pe[:, 1]
    expected = torch.tensor([5 / 6] * 6 + [1.0])
    torch.testing.assert_close(leverage, torch.cat([expected, expected, torch.zeros(1)]))


@pytest.mark.parametrize("normalization", [None, "sym", "rw"])
@pytest.mark.parametrize("name", ZOO)
def test_heat_is_the_matrix_exponential(name, normalization):
    times = [0.0, 0.3, 2.0, 40.0]
    data = AddHeatKernelPE(times, normalization=normalization)(data_of(name))
    L = laplacian(data, normalization)
    expected = torch.stack([torch.matrix_exp(-t * L).diagonal() for t in times], 1)
    torch.testing.assert_close(data.heat_kernel_pe.double(), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("name", ["grid", "skip-links", "two components", "no edges"])
def test_random_walk_is_pygs_without_weights_and_a_walk_with_them(name):
    data = data_of(name)
    weight = data.edge_weight
    A = weight.new_zeros(data.num_nodes, data.num_nodes).index_put(tuple(data.edge_index), weight, accumulate=True)
    P = A / A.sum(1, keepdim=True).clamp(min=1e-30)
    pe = AddRandomWalkPE(5)(data.clone()).random_walk_pe
    expected = torch.stack([torch.linalg.matrix_power(P, step).diagonal() for step in range(1, 6)], 1)
    torch.testing.assert_close(pe, expected.to(pe.dtype), rtol=1e-4, atol=1e-5)
    plain = Data(edge_index=data.edge_index, num_nodes=data.num_nodes)
    if plain.num_edges:
        theirs = pyg.AddRandomWalkPE(5)(plain.clone()).random_walk_pe
        torch.testing.assert_close(AddRandomWalkPE(5)(plain).random_walk_pe, theirs, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", [n for n in ZOO if ZOO[n].num_nodes])
@pytest.mark.parametrize("normalization", [None, "sym"])
def test_spectral_columns_are_eigenvectors(name, normalization):
    k = 7
    data = AddSpectralPE(k, normalization=normalization, eigenvalues_name="eigenvalues")(data_of(name))
    L = laplacian(data, normalization)
    expected = torch.linalg.eigvalsh(L)
    components = int(Incidence.from_data(data).components().max()) + 1
    wanted = expected[components : components + k]
    V, values = data.laplacian_eigenvector_pe.double(), data.eigenvalues[0].double()
    torch.testing.assert_close(values[: len(wanted)], wanted, rtol=1e-4, atol=1e-5)
    count = len(wanted)
    assert bool((V[:, count:] == 0).all())
    assert bool((values[count:] == 0).all())
    torch.testing.assert_close(
        L @ V[:, :count], V[:, :count] * wanted, rtol=1e-3, atol=1e-4 * float(expected.max() + 1)
    )
    torch.testing.assert_close(V[:, :count].T @ V[:, :count], torch.eye(count).double(), rtol=1e-4, atol=1e-4)
    assert torch.equal(
        V, AddSpectralPE(k, normalization=normalization)(data_of(name)).laplacian_eigenvector_pe.double()
    )


def test_spectral_takes_the_place_of_pygs():
    path = torch.stack([torch.arange(9), torch.arange(1, 10)])
    data = Data(edge_index=torch.cat([path, path.flip(0)], 1), num_nodes=10)
    theirs = pyg.AddLaplacianEigenvectorPE(3, is_undirected=True)(data.clone()).laplacian_eigenvector_pe
    ours = AddSpectralPE(3)(data.clone()).laplacian_eigenvector_pe
    torch.testing.assert_close(ours.abs(), theirs.abs(), rtol=1e-4, atol=1e-4)
    data.x = torch.zeros(10, 2)
    assert AddSpectralPE(3, attr_name=None)(data.clone()).x.shape == (10, 5)
    assert AddRandomWalkPE(3, attr_name=None)(data.clone()).x.shape == (10, 5)
    directed = Data(edge_index=path, num_nodes=10)
    torch.testing.assert_close(AddSpectralPE(3)(directed).laplacian_eigenvector_pe, ours)


def test_signs_follow_the_nodes_where_the_graph_has_no_symmetry():
    generator = torch.Generator().manual_seed(0)
    graph = ZOO["skip-links"]
    weight = torch.rand(graph.num_edges, generator=generator) + 0.5
    order = torch.randperm(graph.num_nodes, generator=generator)
    place, both = order.argsort(), torch.cat([graph.index, graph.index.flip(0)], 1)
    one = Data(edge_index=both, edge_weight=weight.repeat(2), num_nodes=graph.num_nodes)
    other = Data(edge_index=place[both], edge_weight=weight.repeat(2), num_nodes=graph.num_nodes)
    transform = AddSpectralPE(5)
    expected = transform(one).laplacian_eigenvector_pe[order]
    torch.testing.assert_close(transform(other).laplacian_eigenvector_pe, expected, rtol=1e-3, atol=1e-4)


@every
def test_equivariance_and_batches(transform, node, edge):
    graphs = [data_of(name) for name in ("grid", "skip-links", "two components", "no edges")]
    batch = transform(Batch.from_data_list(graphs))
    alone = [transform(graph.clone()) for graph in graphs]
    for name in node + edge:
        torch.testing.assert_close(batch[name], torch.cat([data[name] for data in alone]), rtol=1e-4, atol=1e-5)
    n = graphs[0].num_nodes
    order = torch.randperm(n, generator=torch.Generator().manual_seed(0))
    other = graphs[0].clone()
    other.edge_index = order.argsort()[other.edge_index]
    other = transform(other)
    for name in node:
        torch.testing.assert_close(other[name], alone[0][name][order], rtol=1e-4, atol=1e-5)
    for name in edge:
        torch.testing.assert_close(other[name], alone[0][name], rtol=1e-4, atol=1e-5)
    assert graphs[0].get(node[0]) is None  # the data that was passed is not changed


@pytest.mark.parametrize(
    "make",
    [
        lambda: pyg.Compose(
            [pyg.ToUndirected(), AddElectricPE(), AddHeatKernelPE(), AddSpectralPE(4), AddRandomWalkPE(4)]
        )
    ],
)
def test_in_a_pipeline(make):
    data = make()(Data(x=torch.zeros(4, 1), edge_index=torch.tensor([[0, 1, 2], [1, 2, 3]])))
    assert data.electric_pe.shape == (4, 1)
    assert data.electric_edge_pe.shape == (6, 2)
    assert data.heat_kernel_pe.shape == (4, 8)
    assert data.laplacian_eigenvector_pe.shape == (4, 4)
    assert data.random_walk_pe.shape == (4, 4)


@pytest.mark.parametrize(
    ("error", "message", "make"),
    [
        (TypeError, "attr_name must be", lambda: AddElectricPE(attr_name=3)),
        (ValueError, "times must be finite", lambda: AddHeatKernelPE([-1.0])),
        (ValueError, "times must be finite", lambda: AddHeatKernelPE([])),
        (ValueError, "normalization must be", lambda: AddHeatKernelPE(normalization="left")),
        (ValueError, "k must be at least 1", lambda: AddSpectralPE(0)),
        (ValueError, "normalization must be", lambda: AddSpectralPE(3, normalization="left")),
        (TypeError, "walk_length must be an int", lambda: AddRandomWalkPE(2.5)),
    ],
)
def test_wrong_arguments(error, message, make):
    with pytest.raises(error, match=message):
        make()


@pytest.mark.parametrize(
    "make",
    [
        AddElectricPE,
        AddIncidence,
        partial(AddHeatKernelPE, [1.0]),
        partial(AddLinearTransformerPE, None),
        partial(AddPathFlowPE, 3),
        partial(AddRandomWalkPE, 3),
        partial(AddSpectralPE, 3),
    ],
    ids=str,
)
def test_the_text_tells_every_argument(make):
    """PyG keeps a cache unless the text of its pre_transform has changed."""
    other = {"normalization": None, "is_undirected": False, "symmetrize": True}
    other |= dict.fromkeys(["attr_name", "edge_attr_name", "eigenvalues_name"], "other")
    tried = [name for name in inspect.signature(make).parameters if name in other]
    assert tried
    for name in tried:
        assert repr(make(**{name: other[name]})) != repr(make()), name


@pytest.mark.parametrize("transform", [AddElectricPE(), AddHeatKernelPE(), AddSpectralPE(3), AddRandomWalkPE(3)])
def test_wrong_graphs(transform):
    with pytest.raises(TypeError, match="to_homogeneous"):
        transform(HeteroData())
    triangle = Data(edge_index=torch.tensor([[0, 1, 1], [1, 0, 2]]), num_nodes=3)
    with pytest.raises(ValueError, match="directed graph"):
        transform(triangle)
