"""The encoding by soft shortest paths: betweenness and distance in the limit, and what PyG asks of a transform."""

import networkx as nx
import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData

from graphtf.incontext import ShortestPathTransformer
from graphtf.testing import graph_zoo
from graphtf.transforms import AddPathFlowPE

ZOO = graph_zoo()
NAMES = ["path", "cycle", "weighted", "two components", "no edges", "single node"]


def data_of(name: str) -> Data:
    graph = ZOO[name]
    both = torch.cat([graph.index, graph.index.flip(0)], dim=1)
    return Data(edge_index=both, edge_weight=torch.cat([graph.weight, graph.weight]), num_nodes=graph.num_nodes)


def weighted(seed: int = 4, n: int = 9, m: int = 15) -> tuple[Data, nx.Graph]:
    graph = nx.gnm_random_graph(n, m, seed=seed)
    lengths = torch.exp(2 * torch.rand(m, generator=torch.Generator().manual_seed(seed), dtype=torch.float64) - 1)
    for (u, v), length in zip(graph.edges, lengths.tolist(), strict=True):
        graph.edges[u, v]["length"] = length
    index = torch.tensor(list(graph.edges)).T
    data = Data(torch.eye(n), torch.cat([index, index.flip(0)], 1), edge_weight=1 / torch.cat([lengths, lengths]))
    return data, graph


def accurate() -> ShortestPathTransformer:
    return ShortestPathTransformer.with_decreasing_thresholds(400, last=1e-5)


def test_accurate_flows_are_betweenness_and_distance() -> None:
    data, graph = weighted()
    assert nx.is_connected(graph)
    out = AddPathFlowPE(1, accurate())(data)
    between = nx.edge_betweenness_centrality(graph, weight="length")
    expected = torch.tensor([between[tuple(sorted(edge))] for edge in data.edge_index.T.tolist()]).double()
    torch.testing.assert_close(out.path_flow_edge_pe[:, 0], expected, rtol=0, atol=1e-3)
    nodes = nx.betweenness_centrality(graph, weight="length")
    closeness = nx.closeness_centrality(graph, distance="length")
    n = len(graph)
    through = torch.tensor([nodes[v] * (n - 2) / n + 1 / n for v in range(n)]).double()  # networkx leaves ends out
    torch.testing.assert_close(out.path_flow_pe[:, 0], through, rtol=0, atol=1e-3)
    far = torch.tensor([1 / closeness[v] for v in range(n)]).double()
    torch.testing.assert_close(out.path_flow_pe[:, 1], far, rtol=1e-3, atol=0)


def test_the_weights_that_come_along_are_close_to_that() -> None:
    data, graph = weighted()
    between = nx.edge_betweenness_centrality(graph, weight="length")
    expected = torch.tensor([between[tuple(sorted(edge))] for edge in data.edge_index.T.tolist()]).double()
    out = AddPathFlowPE()(data)
    assert out.path_flow_pe.shape == (9, 16)
    assert out.path_flow_edge_pe.shape == (30, 8)
    error = (out.path_flow_edge_pe - expected.unsqueeze(1)).abs().mean(0)
    assert float(error[-1]) < 0.02 < 0.05 < float(error[0])


def test_columns_are_steps_and_scale_is_left_to_the_distances() -> None:
    data, _ = weighted()
    model = ShortestPathTransformer.from_pretrained("shortest-path")
    eight, four = AddPathFlowPE(8, model)(data), AddPathFlowPE(4, model)(data)
    assert torch.equal(eight.path_flow_edge_pe[:, 1::2], four.path_flow_edge_pe)
    scaled = data.clone()
    scaled.edge_weight = data.edge_weight / 10  # ten times as long
    out = AddPathFlowPE(8)(scaled)
    torch.testing.assert_close(out.path_flow_edge_pe, eight.path_flow_edge_pe)
    torch.testing.assert_close(out.path_flow_pe[:, :8], eight.path_flow_pe[:, :8])
    torch.testing.assert_close(out.path_flow_pe[:, 8:], 10 * eight.path_flow_pe[:, 8:])


def test_order_of_nodes_and_of_edges_does_not_matter() -> None:
    data, _ = weighted()
    one = AddPathFlowPE(3)(data)
    order = torch.randperm(9, generator=torch.Generator().manual_seed(0))
    columns = torch.randperm(30, generator=torch.Generator().manual_seed(1))
    moved = Data(edge_index=order[data.edge_index[:, columns]], edge_weight=data.edge_weight[columns], num_nodes=9)
    other = AddPathFlowPE(3)(moved)
    torch.testing.assert_close(other.path_flow_pe[order], one.path_flow_pe)
    torch.testing.assert_close(other.path_flow_edge_pe, one.path_flow_edge_pe[columns])


def test_a_batch_is_its_graphs(monkeypatch: pytest.MonkeyPatch) -> None:
    graphs = [data_of(name) for name in NAMES]
    whole = AddPathFlowPE(2)(Batch.from_data_list(graphs))
    monkeypatch.setattr("graphtf.transforms.path_flow.CHUNK", 1)  # and one pair at a time
    apart = [AddPathFlowPE(2)(data) for data in graphs]
    for name in ("path_flow_pe", "path_flow_edge_pe"):
        torch.testing.assert_close(whole[name], torch.cat([data[name] for data in apart]))
        assert bool(torch.isfinite(whole[name]).all())


def test_components_self_loops_and_lonely_nodes() -> None:
    index = torch.tensor([[0, 1, 2, 3, 0], [1, 0, 3, 2, 0]])
    out = AddPathFlowPE(1, accurate())(Data(edge_index=index, num_nodes=5))
    edge = out.path_flow_edge_pe.flatten()
    assert edge[:4].tolist() == pytest.approx([1 / 10] * 4, abs=1e-3)  # one of ten pairs
    assert edge[4] == 0
    assert not out.path_flow_pe[4].any()


def test_steps_too_large_for_a_hub_are_told_before_and_have_a_remedy() -> None:
    graph = nx.barabasi_albert_graph(20, 3, seed=1)
    index = torch.tensor(list(graph.edges)).T
    data = Data(edge_index=torch.cat([index, index.flip(0)], 1), num_nodes=20)
    with pytest.warns(RuntimeWarning, match=r"15 neighbors.*too large.*_thresholds\(400, max_degree=15\)") as told:
        AddPathFlowPE(1)(data)
    assert len(told) == 1  # not that of training as well
    remedy = ShortestPathTransformer.with_decreasing_thresholds(400, max_degree=15)
    between = nx.edge_betweenness_centrality(graph)
    expected = torch.tensor([between[tuple(sorted(edge))] for edge in data.edge_index.T.tolist()])
    found = AddPathFlowPE(1, remedy)(data).path_flow_edge_pe[:, 0]
    assert float((found - expected).abs().mean()) < 0.03 * float(expected.mean())
    tree = nx.balanced_tree(5, 2)  # degrees 5 and 6 side by side are too much for the bound, but not for the steps
    AddPathFlowPE(1)(Data(edge_index=torch.tensor(list(tree.edges)).T, num_nodes=len(tree)))


def test_names_appending_and_representation() -> None:
    data, _ = weighted()
    out = AddPathFlowPE(2, attr_name=None, edge_attr_name=None)(data)
    assert out.x.shape == (9, 13)
    assert "path_flow_edge_pe" not in out
    text = repr(AddPathFlowPE(2))
    assert text.startswith("AddPathFlowPE(k=2, weights='")
    assert text == repr(AddPathFlowPE(2, ShortestPathTransformer.from_pretrained("shortest-path")))
    assert text != repr(AddPathFlowPE(2, accurate()))
    named = AddPathFlowPE(2, attr_name="a", edge_attr_name="b")(data)
    assert named.a.shape == (9, 4)
    assert named.b.shape == (30, 2)
    assert "a" not in data


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: AddPathFlowPE(0), ValueError, "k must be at least 1"),
        (lambda: AddPathFlowPE(33), ValueError, "k must be at most 32"),
        (lambda: AddPathFlowPE(2, torch.nn.Identity()), TypeError, "must be a ShortestPathTransformer"),
        (lambda: AddPathFlowPE(2, attr_name=3), TypeError, "attr_name must be a str"),
        (lambda: AddPathFlowPE(2)(HeteroData()), TypeError, "HeteroData"),
        (
            lambda: AddPathFlowPE(2)(Data(edge_index=torch.tensor([[0, 1, 1], [1, 0, 2]]), num_nodes=3)),
            ValueError,
            "directed graph",
        ),
    ],
)
def test_wrong_input_is_refused_with_a_sentence(make: object, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        make()  # type: ignore[operator]


def test_directed_graphs_on_request() -> None:
    data = Data(edge_index=torch.tensor([[0, 1, 1], [1, 0, 2]]), num_nodes=3)
    assert AddPathFlowPE(2, symmetrize=True)(data).path_flow_edge_pe.shape == (3, 2)
