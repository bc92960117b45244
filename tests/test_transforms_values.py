"""The values that AddLinearTransformerPE stores: degenerate graphs, components, listings, and PyG's random walk."""

import pytest
import torch
from torch_geometric import transforms as T  # noqa: N812
from torch_geometric.data import Batch, Data
from torch_geometric.utils import to_undirected

from graphtf.testing import graph_zoo
from graphtf.transforms import AddLinearTransformerPE, AddRandomWalkPE

ZOO = graph_zoo()
PE = "linear_transformer_pe"
STARTS = [
    {},
    {"start": "electric"},
    {"start": "random", "normalization": "spectral"},
    {"init": "slots"},
    {"init": "slots", "start": "eigenvectors"},
]
starts = pytest.mark.parametrize("options", STARTS, ids=lambda o: "-".join(o.values()) or "default")


def data_of(graph, **attributes):
    both = torch.cat([graph.index, graph.index.flip(0)], dim=1)
    weight = torch.cat([graph.weight, graph.weight])
    return Data(edge_index=both, edge_weight=weight, num_nodes=graph.num_nodes, **attributes)


def path(**attributes):
    return Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3, **attributes)


@starts
@pytest.mark.parametrize("name", ["no nodes", "single node", "no edges", "single edge", "two components", "weighted"])
def test_degenerate_graphs(name, options):
    data = data_of(ZOO[name])
    out = AddLinearTransformerPE(k=9, edge_attr_name="pair_pe", **options)(data)
    assert out[PE].shape == (data.num_nodes, 9)
    assert out.pair_pe.shape == (data.edge_index.shape[1], 9)
    assert out[PE].dtype == torch.float64
    assert torch.isfinite(out[PE]).all()
    assert torch.isfinite(out.pair_pe).all()


def test_more_columns_than_nodes_are_zero():
    out = AddLinearTransformerPE(k=8, init="slots", start="eigenvectors")(path())[PE]
    assert out[:, 2:].abs().max() == 0
    torch.testing.assert_close(out[:, :2].T @ out[:, :2], torch.eye(2), atol=1e-4, rtol=0)


@starts
def test_components_are_encoded_one_by_one(options):
    transform = AddLinearTransformerPE(k=4, **options)
    parts = [data_of(ZOO[name]) for name in ("path", "single node", "cycle")]
    whole = Batch.from_data_list(parts)
    one = Data(edge_index=whole.edge_index, edge_weight=whole.edge_weight, num_nodes=whole.num_nodes)
    expected = torch.cat([transform(part)[PE] for part in parts])
    torch.testing.assert_close(transform(one)[PE], expected, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(transform(whole)[PE], expected, atol=1e-9, rtol=1e-9)


def test_listings_of_the_same_graph_agree():
    transform = AddLinearTransformerPE(k=6)
    expected = transform(path())[PE]
    edge_index = path().edge_index
    listings = {
        "one direction": torch.tensor([[0, 2], [1, 1]]),
        "int32": edge_index.int(),
        "self-loop": torch.cat([edge_index, torch.tensor([[1], [1]])], 1),
        "not contiguous": edge_index.t().contiguous().t(),
        "another order": edge_index[:, [3, 1, 0, 2]],
        "every edge twice": torch.cat([edge_index, edge_index], 1),  # all weights doubled: the same walk
    }
    for listing, index in listings.items():
        out = transform(Data(edge_index=index, num_nodes=3))[PE]
        torch.testing.assert_close(out, expected, msg=listing)
    double = transform(Data(edge_index=torch.cat([edge_index, edge_index[:, :2]], 1), num_nodes=3))[PE]
    weighted = transform(path(edge_weight=torch.tensor([2.0, 2, 1, 1])))[PE]
    torch.testing.assert_close(double, weighted)  # a parallel edge is one of the summed weight
    column = transform(path(edge_weight=torch.tensor([[2.0], [2], [1], [1]])))[PE]
    torch.testing.assert_close(column, weighted)


def test_a_list_without_reverses_is_undirected():
    once = Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    for transform in (AddRandomWalkPE(3), AddLinearTransformerPE(k=3)):
        name = transform.attr_name
        assert torch.equal(transform(once)[name], transform(path())[name])
    some = Data(edge_index=torch.tensor([[0, 1, 1], [1, 0, 2]]), num_nodes=3)
    with pytest.raises(
        ValueError, match=r"a directed graph.*to_undirected.*symmetrize=True \(to Incidence.from_edge_index"
    ):
        AddRandomWalkPE(3)(some)


def test_random_walk_returns_equal_those_of_pyg_on_unweighted_graphs():
    for name in ("path", "cycle", "star", "complete", "grid", "barbell", "tree"):
        data = data_of(ZOO[name])
        data.edge_weight = None
        expected = T.AddRandomWalkPE(walk_length=8)(data).random_walk_pe
        torch.testing.assert_close(AddLinearTransformerPE(k=8)(data)[PE], expected, atol=1e-6, rtol=1e-6)


def test_random_walk_returns_are_right_on_weighted_graphs():
    """PyG divides by the degree without multiplying by the weight (its issue 10098): 2.0 as a probability here."""
    index, weight = to_undirected(torch.tensor([[0, 1, 2], [1, 2, 0]]), torch.tensor([1.0, 2.0, 3.0]))
    A = torch.zeros(3, 3)
    A[index[0], index[1]] = weight
    P = A / A.sum(1, keepdim=True)
    expected = torch.stack([torch.linalg.matrix_power(P, j).diagonal() for j in range(1, 9)], 1)
    for scale in (1e-6, 1.0, 1e6):  # conductances are relative
        data = Data(edge_index=index, edge_weight=weight * scale, num_nodes=3)
        torch.testing.assert_close(AddLinearTransformerPE(k=8)(data)[PE], expected, atol=1e-6, rtol=1e-5)
    data = Data(edge_index=index, edge_weight=weight, num_nodes=3)
    assert (T.AddRandomWalkPE(walk_length=8)(data).random_walk_pe - expected).abs().max() > 0.05
