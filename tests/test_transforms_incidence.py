"""AddIncidence: what it stores, how PyG batches and cuts it, and when it is stale."""

import pytest
import torch
from torch_geometric import transforms as T  # noqa: N812
from torch_geometric.data import Batch, Data

from graphtf import Incidence
from graphtf.nn import LinearTransformerPE
from graphtf.testing import graph_zoo
from graphtf.transforms import AddIncidence

ZOO = graph_zoo()


def data_of(graph, **attributes):
    both = torch.cat([graph.index, graph.index.flip(0)], dim=1)
    weight = torch.cat([graph.weight, graph.weight])
    return Data(edge_index=both, edge_weight=weight, num_nodes=graph.num_nodes, **attributes)


def path(**attributes):
    return Data(edge_index=torch.tensor([[0, 1, 1, 2], [1, 0, 2, 1]]), num_nodes=3, **attributes)


@pytest.mark.parametrize("name", ZOO)
def test_stored_incidence_is_that_of_the_graph(name):
    data = AddIncidence()(data_of(ZOO[name]))
    assert data.incidence_index.shape == (2, ZOO[name].num_edges)
    assert data.incidence_weight.shape == (ZOO[name].num_edges,)
    stored = Incidence(data.incidence_index, data.incidence_weight, data.num_nodes)
    torch.testing.assert_close(stored.laplacian_dense(), ZOO[name].laplacian_dense())


def test_incidence_is_batched_by_pyg_with_node_offsets():
    graphs = [AddIncidence()(data_of(ZOO[name])) for name in ("path", "no edges", "skip-links", "single node")]
    batch = Batch.from_data_list(graphs)
    expected = torch.block_diag(*[ZOO[n].laplacian_dense() for n in ("path", "no edges", "skip-links", "single node")])
    stored = Incidence(batch.incidence_index, batch.incidence_weight, batch.num_nodes, batch.batch)
    torch.testing.assert_close(stored.laplacian_dense(), expected)
    torch.testing.assert_close(Incidence.from_data(batch).laplacian_dense(), expected)
    second = batch[2]
    torch.testing.assert_close(second.incidence_index, graphs[2].incidence_index)


def test_incidence_of_a_batch_is_made_anew_graph_by_graph():
    both_ways, once = path(), Data(edge_index=torch.tensor([[0, 1], [1, 2]]), num_nodes=3)
    batch = Batch.from_data_list([both_ways, once])
    first = AddIncidence()(batch)
    second = AddIncidence()(first)
    assert first.incidence_weight.tolist() == [1.0] * 4
    assert torch.equal(second.incidence_index, first.incidence_index)
    assert torch.equal(second.incidence_weight, first.incidence_weight)


def without_first_edge(data):
    keep = data.edge_index.sum(0) > 1
    return data.update({"edge_index": data.edge_index[:, keep], "edge_weight": data.edge_weight[keep]})


CHANGES = {
    "drop the end": lambda data: data.subgraph(torch.tensor([0, 1, 2, 3])),
    "drop the start": lambda data: data.subgraph(torch.tensor([2, 3, 4, 5, 6])),
    "drop isolated nodes": lambda data: T.RemoveIsolatedNodes()(without_first_edge(data)),
    "drop an edge": without_first_edge,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_stale_incidence_is_an_error_until_it_is_made_anew(change):
    changed = change(AddIncidence()(data_of(ZOO["path"])))
    with pytest.raises(ValueError, match=r"incidence.*apply AddIncidence again"):
        LinearTransformerPE(k=3)(changed)
    again = LinearTransformerPE(k=3)(AddIncidence()(changed))
    del changed.incidence_index, changed.incidence_weight
    torch.testing.assert_close(again, LinearTransformerPE(k=3)(changed))


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_incidence_that_pyg_cuts_as_an_edge_attribute_is_right_or_an_error(change):
    """With every edge listed once `m` equals `E`: PyG then cuts the columns of the incidence, but renames no node."""
    graph = ZOO["path"]
    once = Data(edge_index=graph.index, edge_weight=graph.weight, num_nodes=7)
    changed = change(AddIncidence()(once))
    expected = LinearTransformerPE(k=3)(changed.edge_index, changed.edge_weight, num_nodes=changed.num_nodes)
    try:
        out = LinearTransformerPE(k=3)(changed)
    except ValueError as error:
        assert "apply AddIncidence again" in str(error)  # noqa: PT017 (either outcome is right, a wrong encoding is not)
    else:
        torch.testing.assert_close(out, expected)


def test_learned_weights_of_a_stored_incidence_are_used():
    data = AddIncidence()(path())
    data.incidence_weight = torch.tensor([1.0, 3.0], requires_grad=True)
    node = LinearTransformerPE(k=2)(data)
    torch.testing.assert_close(node[:, 1].detach(), torch.tensor([0.25, 1.0, 0.75]))
    node[:, 1].square().sum().backward()
    assert data.incidence_weight.grad.abs().min() > 0
