import pytest
import torch
from torch_geometric.data import Batch, Data, HeteroData

from graphtf import Incidence
from graphtf.nn import LinearTransformerPE, pretrain_to_eigenvectors
from graphtf.nn.pretrain import eigenvector_targets, sign_minimized_loss
from graphtf.testing import graph_zoo

ZOO = graph_zoo()


def weighted_trees(count):
    """Random trees: their eigenvalues are simple."""
    generator = torch.Generator().manual_seed(0)
    graphs = []
    for _ in range(count):
        parent = (torch.rand(9, generator=generator) * torch.arange(1, 10)).long()
        weight = torch.exp(torch.randn(9, generator=generator))
        graphs.append(Incidence(torch.stack([torch.arange(1, 10), parent]), weight))
    return graphs


@pytest.mark.parametrize(
    ("options", "factor"),
    [({"start": "release"}, 0.95), ({"start": "random"}, 0.8), ({"start": "eigenvectors", "num_loops": 16}, 0.8)],
    ids=lambda o: o.get("start") if isinstance(o, dict) else "",
)
def test_loss_falls(options, factor):
    encoder = LinearTransformerPE(k=3, init="slots", num_slots=12, **options)
    seen = []
    history = pretrain_to_eigenvectors(
        encoder, weighted_trees(32), epochs=40, batch_size=16, progress=lambda *step: seen.append(step)
    )
    assert seen == list(enumerate(history, start=1))
    assert sum(history[-5:]) / 5 < factor * history[0]


def test_training_is_seeded_and_leaves_the_generator_and_the_mode():
    graphs = weighted_trees(6)
    histories, weights = [], []
    for seed in (3, 3, 4):
        encoder = LinearTransformerPE(k=2, init="slots", num_slots=10).eval()
        torch.manual_seed(len(histories))
        state = torch.get_rng_state()
        histories.append(pretrain_to_eigenvectors(encoder, graphs, epochs=3, batch_size=4, seed=seed))
        assert torch.equal(torch.get_rng_state(), state)
        assert not encoder.training
        weights.append(encoder.table.detach())
    assert histories[0] == histories[1]
    assert histories[0] != histories[2]
    assert torch.equal(weights[0], weights[1])


def test_targets_are_eigenvectors_of_every_component():
    graph = ZOO["two components"]  # a hexagon, a path of three and a single node
    v = eigenvector_targets(graph, 4)
    L = graph.normalized("sym").laplacian_dense()
    null = graph.normalized("sym").null_vector()
    for nodes, count in ((slice(0, 6), 4), (slice(6, 9), 2), (slice(9, 10), 0)):
        part = v[nodes]
        torch.testing.assert_close(part[:, :count].T @ part[:, :count], torch.eye(count, dtype=torch.float64))
        assert part[:, count:].abs().sum() == 0
        image = L[nodes, nodes] @ part[:, :count]
        torch.testing.assert_close(image, part[:, :count] * (part[:, :count] * image).sum(0))
        assert float((null[nodes] @ part).abs().max()) < 1e-12


def test_loss_takes_the_better_sign_component_by_component():
    graph = ZOO["two components"]
    v = eigenvector_targets(graph, 3)
    turned = v * torch.where(graph.components() == 1, -1.0, 1.0).unsqueeze(1) * torch.tensor([1.0, -1.0, 1.0])
    assert float(sign_minimized_loss(graph, turned, v)) == 0.0
    assert float(sign_minimized_loss(graph, torch.zeros_like(v), v)) == pytest.approx((3 + 2 + 0) / 3)
    assert float(sign_minimized_loss(graph, 2 * v, v)) == pytest.approx((3 + 2 + 0) / 3)


def test_degenerate_graphs_and_data():
    edge = Data(edge_index=torch.tensor([[0, 1], [1, 0]]), num_nodes=2)
    graphs = [ZOO["no nodes"], ZOO["single node"].to(torch.float32), ZOO["no edges"].to(torch.float32), edge]
    graphs += [Batch.from_data_list([edge, edge])]
    for start in ("release", "random", "eigenvectors"):
        encoder = LinearTransformerPE(k=4, init="slots", num_slots=6, start=start, num_loops=2)
        history = pretrain_to_eigenvectors(encoder, graphs, epochs=2, batch_size=2)
        assert all(0 <= loss < float("inf") for loss in history)
        assert all(torch.isfinite(p).all() for p in encoder.parameters())
    assert pretrain_to_eigenvectors(encoder, [edge], epochs=0) == []


@pytest.mark.parametrize(
    ("error", "message", "encoder", "graphs", "options"),
    [
        (TypeError, "LinearTransformerPE", torch.nn.Linear(1, 1), [ZOO["path"]], {}),
        (ValueError, "init='basis'", LinearTransformerPE(k=2), [ZOO["path"]], {}),
        (ValueError, "no graph", LinearTransformerPE(k=2, init="slots"), [], {}),
        (ValueError, "no graph", LinearTransformerPE(k=2, init="slots"), [ZOO["no nodes"]], {}),
        (ValueError, "requires grad", LinearTransformerPE(k=2, init="slots").requires_grad_(False), [ZOO["path"]], {}),
        (TypeError, "HeteroData", LinearTransformerPE(k=2, init="slots"), [HeteroData()], {}),
        (ValueError, "epochs", LinearTransformerPE(k=2, init="slots"), [ZOO["path"]], {"epochs": -1}),
        (ValueError, "lr must be", LinearTransformerPE(k=2, init="slots"), [ZOO["path"]], {"lr": 0.0}),
        (ValueError, "num_slots=3", LinearTransformerPE(k=2, init="slots", num_slots=3), [ZOO["path"]], {}),
    ],
)  # fmt: skip
def test_bad_arguments(error, message, encoder, graphs, options):
    with pytest.raises(error, match=message):
        pretrain_to_eigenvectors(encoder, graphs, **options)


def test_divergence_is_an_error():
    encoder = LinearTransformerPE(k=2, init="slots", start="random", num_slots=10)
    with torch.no_grad():
        encoder.readout.weight.fill_(1e30)
    with pytest.raises(FloatingPointError, match="smaller lr"):
        pretrain_to_eigenvectors(encoder, weighted_trees(2), epochs=1)
