"""The encoding of all pairs of nodes of a batch."""

import pytest
import torch
from torch_geometric.data import Batch, Data

from graphtf import Incidence
from graphtf.nn import LinearTransformerPE, heads
from graphtf.testing import disjoint_union, graph_zoo, permuted

ZOO = graph_zoo()
STARTS = ("random-walk", "electric", "resistive", "heat", "eigenvectors", "random")
OPTIONS = {
    **{start: {"start": start} for start in STARTS},
    "spectral": {"normalization": "spectral"},
    "spectral-resistive": {"normalization": "spectral", "start": "resistive"},
    "shared": {"start": "resistive", "shared": True},
    "heads": {"heads": 3, "leverage": True},
    "heads-electric": {"heads": 2, "start": "electric", "memory": True},
    "random columns": {"init": "random", "num_probes": 8, "start": "resistive"},
    "random columns, heads": {"init": "random", "num_probes": 8, "heads": 2, "leverage": True},
    "slots": {"init": "slots", "num_loops": 2},
}
every = pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
NAMES = ("path", "two components", "single node", "skip-links", "single edge", "no edges")


def moved(options):
    """An encoder away from its start, as after training."""
    encoder = LinearTransformerPE(k=5, **options).double().eval()
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for p in encoder.parameters():
            p += 0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype)
    return encoder


def by_pairs(encoder, graph, **features):
    """The same pair by pair: `[G, N, N, node_channels]`."""
    count = torch.bincount(graph.batch, minlength=graph.num_graphs)
    largest = int(count.max()) if graph.num_graphs else 0
    out = torch.zeros(graph.num_graphs, largest, largest, encoder.node_channels, dtype=torch.float64)
    for g in range(graph.num_graphs):
        nodes = (graph.batch == g).nonzero().squeeze(1)
        n = len(nodes)
        pairs = torch.stack([nodes.repeat_interleave(n), nodes.repeat(n)])
        found = encoder.encode(graph, pairs, **features)[1]
        out[g, :n, :n] = found[:, : encoder.node_channels].view(n, n, -1)
    return out


@every
def test_all_pairs_are_the_single_pairs(options, path):
    encoder = moved(options)
    graph = disjoint_union([ZOO[name] for name in NAMES])
    found = encoder.all_pairs(graph)
    assert found.shape == (6, 10, 10, encoder.node_channels)
    with torch.no_grad():
        torch.testing.assert_close(found, by_pairs(encoder, graph), atol=1e-9, rtol=1e-9)
    if options.get("init") != "slots":
        torch.testing.assert_close(found, found.transpose(1, 2))
        nodes = torch.cat([found[g].diagonal().t()[: ZOO[name].num_nodes] for g, name in enumerate(NAMES)])
        torch.testing.assert_close(nodes, encoder(graph), atol=1e-9, rtol=1e-9)


@every
def test_projection_inside_is_projection_after(options, path):
    encoder = moved(options)
    graph = disjoint_union([ZOO["grid"], ZOO["two components"]])
    weight = torch.randn(3, encoder.node_channels, dtype=torch.float64, requires_grad=True)
    parameters = [weight, *(p for p in encoder.parameters())]
    results = []
    for project in (True, False):
        out = encoder.all_pairs(graph, project=weight) if project else encoder.all_pairs(graph) @ weight.t()
        results.append([out.detach(), *torch.autograd.grad(out.sin().sum(), parameters, allow_unused=True)])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)
    assert float(results[0][1].abs().max()) > 0


@every
@pytest.mark.parametrize("projected", [False, True])
def test_one_computation_gives_nodes_edges_and_pairs(options, projected, path):
    encoder = moved(options)
    graph = disjoint_union([ZOO[name] for name in NAMES])
    weight = torch.randn(3, encoder.node_channels, dtype=torch.float64, requires_grad=True)
    w = graph.weight.clone().requires_grad_()
    graph, project = graph._replace(weight=w), weight if projected else None
    inputs = [w, *encoder.parameters(), *([weight] if projected else [])]
    results = []
    for joint in (True, False):
        if joint:
            found = encoder.encode_with_pairs(graph, project=project)
        else:
            found = (*encoder(graph, return_edge=True), encoder.all_pairs(graph, project=project))
        gradients = torch.autograd.grad(sum(t.sin().sum() for t in found), inputs, allow_unused=True)
        results.append([*(t.detach() for t in found), *gradients])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, atol=1e-9, rtol=1e-9)
    assert float(results[0][3].abs().max()) > 1e-3


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_all_three_have_the_same_random_columns_or_slots(options):
    encoder, (tail, head) = LinearTransformerPE(k=3, **options).train(), ZOO["skip-links"].index
    node, edge, pairs = (t.detach() for t in encoder.encode_with_pairs(ZOO["skip-links"]))
    torch.testing.assert_close(pairs[0, tail, head], edge[:, : encoder.node_channels])
    if options.get("init") == "slots":
        torch.testing.assert_close(edge, node[tail] * node[head])
    else:
        torch.testing.assert_close(pairs[0].diagonal().t(), node)


@pytest.mark.parametrize("leverage", [False, True])
def test_listed_edges_may_be_loops_and_nodes_mixed(leverage, path):
    edge_index = torch.tensor([[1, 3, 0, 2, 2, 2, 4, 5], [3, 1, 2, 0, 2, 4, 2, 5]])  # 5 is isolated
    encoder = LinearTransformerPE(k=3, heads=2, leverage=leverage, edge_types=4)
    given = {"batch": torch.tensor([1, 0, 1, 0, 1, 0]), "edge_attr": torch.tensor([1, 1, 2, 2, 0, 3, 3, 0])}
    found = encoder.encode_with_pairs(edge_index, **given)
    expected = (*encoder(edge_index, return_edge=True, **given), encoder.all_pairs(edge_index, **given))
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other)
    assert found[1].shape == (8, 8 if leverage else 6)
    torch.testing.assert_close(found[1][4, :6], found[0][2])  # a loop is a pair of a node with itself


@pytest.mark.parametrize(
    "options", [{"start": "electric"}, {"normalization": "spectral"}, {"heads": 2, "start": "resistive"}]
)
def test_gradients_are_those_of_finite_differences(options, path):
    # (The largest degree of the spectral normalization has a gradient only where it is attained once.)
    encoder, graph = moved(options), disjoint_union([ZOO["skip-links"], ZOO["star"]])
    weight = graph.weight.clone().requires_grad_()

    def encode(weight):
        return encoder.all_pairs(graph._replace(weight=weight))

    assert torch.autograd.gradcheck(encode, (weight,), fast_mode=True)
    encode(weight).sin().sum().backward()
    for name, p in encoder.named_parameters():
        assert p.grad is not None, name
        assert float(p.grad.abs().max()) > 0, name


def test_compiled_loops_and_products_of_blocks_agree(monkeypatch):
    pytest.importorskip("numba")
    encoder = LinearTransformerPE(k=16, heads=4, node_types=5, edge_types=3)
    graph = disjoint_union([ZOO[name] for name in ("grid", "single node", "skip-links", "barbell")]).to(torch.float32)
    generator = torch.Generator().manual_seed(0)
    x = torch.randint(5, (graph.num_nodes,), generator=generator)
    edge_attr = torch.randint(3, (graph.num_edges,), generator=generator)
    results = []
    for has_numba in (True, False):
        monkeypatch.setattr(heads, "has_numba", lambda has_numba=has_numba: has_numba)
        encoder.zero_grad()
        out = encoder.all_pairs(graph, x=x, edge_attr=edge_attr)
        out.pow(3).sum().backward()
        results.append([out.detach(), *(p.grad.clone() for p in encoder.parameters())])
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    assert float(results[0][-1].abs().max()) > 0


@pytest.mark.parametrize("start", STARTS)
def test_equivariant_and_padded_with_zeros(start, path):
    encoder, graph = moved({"start": start, "heads": 2}), ZOO["skip-links"]
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    found = encoder.all_pairs(graph)[0]
    renamed = encoder.all_pairs(permuted(graph, order))[0]
    torch.testing.assert_close(renamed[order][:, order], found, atol=1e-9, rtol=1e-9)
    both = encoder.all_pairs(disjoint_union([ZOO["single edge"], graph]))
    torch.testing.assert_close(both[1], found, atol=1e-9, rtol=1e-9)
    torch.testing.assert_close(both[0, :2, :2], encoder.all_pairs(ZOO["single edge"])[0], atol=1e-9, rtol=1e-9)
    assert float(both[0, 2:].detach().abs().max()) == float(both[0, :, 2:].detach().abs().max()) == 0


def test_nodes_of_a_batch_may_be_mixed():
    batch = torch.tensor([1, 0, 1, 0, 1])
    graph = Incidence(torch.tensor([[1, 0, 2], [3, 2, 4]]), batch=batch)  # an edge, and a path 0 - 2 - 4
    found = LinearTransformerPE(k=2).all_pairs(graph).detach()
    assert found[0, :2, :2, 0].tolist() == [[0, 1], [1, 0]]
    torch.testing.assert_close(found[1, :, :, 0] > 0, torch.tensor([[0, 1, 0], [1, 0, 1], [0, 1, 0]]) > 0)


def test_data_with_learned_conductances():
    generator = torch.Generator().manual_seed(0)

    def ring(n):
        tail = torch.arange(n)
        head = (tail + 1) % n
        kind = torch.randint(3, (n,), generator=generator)
        edge_index = torch.stack([torch.cat([tail, head]), torch.cat([head, tail])])
        x = torch.randint(5, (n,), generator=generator)
        return Data(x=x, edge_index=edge_index, edge_attr=torch.cat([kind, kind]))

    encoder = moved({"heads": 2, "leverage": True, "node_types": 5, "edge_types": 3})
    graphs = [ring(n) for n in (5, 9, 3)]
    batch = Batch.from_data_list(graphs)
    found = encoder.all_pairs(batch)
    features = {"listed": batch.edge_index, "x": batch.x, "edge_attr": batch.edge_attr}
    torch.testing.assert_close(found, by_pairs(encoder, Incidence.from_data(batch).to(torch.float64), **features))
    other = encoder.all_pairs(batch.edge_index, batch=batch.batch, x=batch.x, edge_attr=batch.edge_attr)
    torch.testing.assert_close(other, found)
    with pytest.raises(ValueError, match="learned from x"):
        encoder.all_pairs(batch.edge_index, batch=batch.batch, edge_attr=batch.edge_attr)
    joint, apart = encoder.encode_with_pairs(batch), (*encoder(batch, return_edge=True), found)
    for one, expected in zip(joint, apart, strict=True):
        torch.testing.assert_close(one, expected)


@every
def test_degenerate_batches(options, path):
    encoder = LinearTransformerPE(k=3, **options).eval()
    for name, shape in [("no nodes", 0), ("single node", 1), ("no edges", ZOO["no edges"].num_nodes)]:
        found = encoder.all_pairs(ZOO[name])
        assert found.shape == (ZOO[name].num_graphs, shape, shape, encoder.node_channels)
        assert bool(torch.isfinite(found).all())
        joint = encoder.encode_with_pairs(ZOO[name])
        assert [len(t) for t in joint] == [ZOO[name].num_nodes, ZOO[name].num_edges, ZOO[name].num_graphs]
        torch.testing.assert_close(joint[0], encoder(ZOO[name]))


def test_half_precision_and_autocast():
    encoder, graph = LinearTransformerPE(k=4, heads=2), ZOO["skip-links"].to(torch.float32)
    expected = encoder.all_pairs(graph)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(encoder.all_pairs(graph), expected, atol=0, rtol=0)
    found = encoder.to(torch.bfloat16).all_pairs(graph)
    assert found.dtype == torch.bfloat16
    for one, other in zip(encoder.encode_with_pairs(graph), (*encoder(graph, return_edge=True), found), strict=True):
        assert one.dtype == torch.bfloat16
        torch.testing.assert_close(one, other, atol=1e-6, rtol=2**-7)
    torch.testing.assert_close(found.float(), expected, atol=1e-6, rtol=2**-7)


def test_large_graphs_use_blocks():
    tail = torch.arange(150)
    ring = Incidence(torch.stack([tail, (tail + 1) % 150]))
    found = LinearTransformerPE(k=2).all_pairs(ring).detach()
    torch.testing.assert_close(found[0, 0, :3, 1], torch.tensor([0.5, 0.0, 0.25]))


def test_wrong_projection():
    encoder = LinearTransformerPE(k=4, heads=2)
    for project in (torch.ones(8), torch.ones(8, 3)):
        with pytest.raises(ValueError, match=r"project must be \[C, 8\]"):
            encoder.all_pairs(ZOO["path"], project=project)
        with pytest.raises(ValueError, match=r"project must be \[C, 8\]"):
            encoder.encode_with_pairs(ZOO["path"], project=project)


def test_normalized_operators():
    graph = ZOO["skip-links"]
    for init in ("basis", "random"):
        one = LinearTransformerPE(k=3, init=init).eval()
        torch.testing.assert_close(one.all_pairs(graph.normalized("sym")), one.all_pairs(graph))
        torch.testing.assert_close(one(graph.normalized("sym")), one(graph))
        for ours, theirs in zip(*(one.encode_with_pairs(g) for g in (graph.normalized("sym"), graph)), strict=True):
            torch.testing.assert_close(ours, theirs)
        with pytest.raises(ValueError, match="without normalization"):
            LinearTransformerPE(k=3, init=init, heads=2).all_pairs(graph.normalized("sym"))
