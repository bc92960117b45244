"""Our transforms in the situations that PyG tests its own in: attributes, clusters, orders of nodes, walks, self-loops.

Where the answers differ on purpose, the test says how.
"""

import pytest
import torch
from torch_geometric import transforms as pyg
from torch_geometric.data import Data
from torch_geometric.utils import to_undirected

from graphtf.transforms import AddElectricPE, AddHeatKernelPE, AddLinearTransformerPE, AddRandomWalkPE, AddSpectralPE

# A triangle 0, 1, 4 beside a path 2, 3, 5.
PARTS = to_undirected(torch.tensor([[0, 0, 1, 2, 3], [1, 4, 4, 3, 5]]))
WAYS = {
    "laplacian_eigenvector_pe": (AddSpectralPE, {"k": 3}, 3),
    "random_walk_pe": (AddRandomWalkPE, {"walk_length": 3}, 3),
    "heat_kernel_pe": (AddHeatKernelPE, {"times": [0.5, 2.0]}, 2),
    "electric_pe": (AddElectricPE, {}, 1),
    "linear_transformer_pe": (AddLinearTransformerPE, {"k": 5}, 5),
}
ways = pytest.mark.parametrize("name", WAYS)


def parts(**attributes):
    return Data(edge_index=PARTS, num_nodes=6, **attributes)


@ways
def test_the_attribute_has_the_name_that_is_asked_for(name):
    made, options, columns = WAYS[name]
    data = parts(x=torch.arange(24.0).view(6, 4))
    out = made(**options)(data)
    assert out[name].shape == (6, columns)
    assert torch.equal(out.x, data.x)
    appended = made(**options, attr_name=None)(data)
    assert torch.equal(appended.x, torch.cat([data.x, out[name]], 1))
    assert name not in appended
    assert torch.equal(made(**options, attr_name="x")(data).x, out[name])
    assert name not in data  # the graph that was passed is left alone
    assert str(made(**options)).startswith(made.__name__ + "(")


@ways
def test_without_features_the_encoding_becomes_x(name):
    made, options, columns = WAYS[name]
    assert made(**options, attr_name=None)(parts()).x.shape == (6, columns)


@ways
def test_the_encoding_of_a_subgraph_in_another_order(name):
    made, options, _ = WAYS[name]
    order = torch.randperm(6, generator=torch.Generator().manual_seed(3))
    one, other = made(**options)(parts())[name], made(**options)(parts().subgraph(order))[name]
    if name == "laplacian_eigenvector_pe":  # the triangle has one eigenvalue twice: only the plane is unique
        torch.testing.assert_close(other[:, 0].abs(), one[order, 0].abs(), atol=1e-5, rtol=0)
        plane = one[order, 1:] @ one[order, 1:].T
        torch.testing.assert_close(other[:, 1:] @ other[:, 1:].T, plane, atol=1e-5, rtol=0)
    else:
        torch.testing.assert_close(other, one[order], atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("is_undirected", [True, False])
def test_the_fiedler_vector_finds_clusters(is_undirected):
    """Two triangles with a weak edge between them: one sign each, as in PyG."""
    index = to_undirected(torch.tensor([[0, 0, 1, 2, 2, 3, 4], [1, 4, 4, 3, 5, 5, 2]]))
    data = Data(edge_index=index, num_nodes=6)
    vector = AddSpectralPE(k=1, is_undirected=is_undirected)(data).laplacian_eigenvector_pe[:, 0]
    first, second = vector[[0, 1, 4]], vector[[2, 3, 5]]
    assert bool((first.sign() == first[0].sign()).all())
    assert bool((second.sign() == -first[0].sign()).all())
    theirs = pyg.AddLaplacianEigenvectorPE(k=1, is_undirected=True)(data.clone()).laplacian_eigenvector_pe[:, 0]
    torch.testing.assert_close(vector.abs(), theirs.abs(), atol=1e-5, rtol=0)


def test_components_are_no_clusters_to_be_found():
    """PyG's first vector of two separate triangles is constant on each; ours leaves out one such vector a component."""
    index = to_undirected(torch.tensor([[0, 0, 1, 2, 2, 3], [1, 4, 4, 3, 5, 5]]))
    data = Data(edge_index=index, num_nodes=6)
    out = AddSpectralPE(k=6, eigenvalues_name="values")(data)
    torch.testing.assert_close(out["values"][0], torch.tensor([1.5, 1.5, 1.5, 1.5, 0.0, 0.0]))
    V = out.laplacian_eigenvector_pe
    for cluster in ([0, 1, 4], [2, 3, 5]):
        torch.testing.assert_close(V[cluster].sum(0), torch.zeros(6), atol=1e-6, rtol=0)
    alone = AddSpectralPE(k=6)(Data(edge_index=to_undirected(torch.tensor([[0, 0, 1], [1, 2, 2]])), num_nodes=3))
    vectors = alone.laplacian_eigenvector_pe
    torch.testing.assert_close(V[[0, 1, 4]] @ V[[0, 1, 4]].T, vectors @ vectors.T, atol=1e-6, rtol=0)


def test_returns_of_walks():
    """Exact numbers: a triangle returns after two and three steps, a path after two."""
    expected = torch.tensor([[0, 0.5, 0.25]] * 2 + [[0, 0.5, 0], [0, 1, 0], [0, 0.5, 0.25], [0, 0.5, 0]])
    ours = AddRandomWalkPE(3)(parts()).random_walk_pe
    torch.testing.assert_close(ours, expected, atol=1e-6, rtol=0)
    torch.testing.assert_close(ours, pyg.AddRandomWalkPE(3)(parts()).random_walk_pe, atol=1e-6, rtol=0)
    torch.testing.assert_close(AddLinearTransformerPE(k=3)(parts()).linear_transformer_pe, expected, atol=1e-6, rtol=0)


@ways
def test_self_loops_are_no_edges(name):
    """PyG walks along them; an incidence matrix has no column for them, so that nothing flows."""
    made, options, columns = WAYS[name]
    loops = torch.tensor([[0, 1, 2], [0, 1, 2]])
    lonely = made(**options)(Data(edge_index=loops, num_nodes=4))[name]
    bare = made(**options)(Data(edge_index=loops[:, :0], num_nodes=4))[name]
    assert torch.equal(lonely, bare)
    assert lonely.shape == (4, columns)
    with_loops = made(**options)(Data(edge_index=torch.cat([PARTS, loops], 1), num_nodes=6))[name]
    torch.testing.assert_close(with_loops, made(**options)(parts())[name])
