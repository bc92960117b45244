"""The encoding from random columns: what it estimates, how fast, its randomness, its gradients, its cost."""

import pytest
import torch
from torch_geometric.data import Batch

from graphtf import Incidence
from graphtf.nn import LinearTransformerPE
from graphtf.solvers import leverage_scores
from graphtf.testing import disjoint_union, graph_zoo, permuted

ZOO = graph_zoo()
STARTS = ("random-walk", "electric", "resistive", "heat", "eigenvectors", "random")
starts = pytest.mark.parametrize("start", STARTS)


def features(graph, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return {
        "x": torch.randint(5, (graph.num_nodes, 1), generator=generator),
        "edge_attr": torch.randint(3, (graph.num_edges,), generator=generator),
    }


@starts
@pytest.mark.parametrize("normalization", ["sym", "spectral"])
def test_many_columns_give_the_encoding_from_the_basis(start, normalization):
    graph = ZOO["two components"]
    options = {"k": 5, "start": start, "normalization": normalization}
    exact = LinearTransformerPE(**options)(graph, return_edge=True)
    encoder = LinearTransformerPE(init="random", num_probes=40_000, **options).eval()
    for found, expected in zip(encoder(graph, return_edge=True), exact, strict=True):
        scale = float(expected.detach().abs().max())
        torch.testing.assert_close(found, expected, atol=0.04 * scale, rtol=0)
        assert not torch.equal(found, expected)


def test_error_falls_with_the_root_of_the_number_of_columns():
    graph = ZOO["grid"]
    exact = torch.cat(LinearTransformerPE(k=4)(graph, return_edge=True)).detach()
    counts, errors = [16, 64, 256, 1024, 4096], []
    for count in counts:
        found = [
            LinearTransformerPE(k=4, init="random", num_probes=count, seed=seed).eval()(graph, return_edge=True)
            for seed in range(8)
        ]
        errors.append(torch.stack([(torch.cat(pair).detach() - exact).square().mean() for pair in found]).mean().sqrt())
    x, y = torch.tensor(counts).log(), torch.stack(errors).log()
    slope = ((x - x.mean()) * (y - y.mean())).sum() / (x - x.mean()).square().sum()
    assert -0.6 < float(slope) < -0.4


@starts
def test_estimates_are_the_products_of_registers_with_their_start(start):
    """One by one the layers, run from the same columns, have these inner products."""
    encoder = LinearTransformerPE(k=4, init="random", num_probes=8, start=start).double().eval()
    graph = ZOO["cycle"]
    node, edge = encoder(graph, return_edge=True)
    phi = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))[: graph.num_nodes].double()
    normalized = graph.normalized("sym")
    phi = normalized.center(phi) if start in ("electric", "resistive") else phi
    states = encoder.transformer(normalized, return_all=True, **{encoder.transformer.registers[0]: phi})
    states = states[1:] if encoder.memory is None else torch.einsum("lj,jnq->lnq", encoder.memory[0], states)
    torch.testing.assert_close(node, (states * phi).mean(2).t())
    u, v = graph.index
    both = (states[:, u] * phi[v] + states[:, v] * phi[u]).mean(2).t() / 2
    torch.testing.assert_close(edge, both)


def test_equivariant_in_distribution():
    """Over all draws, renaming the nodes changes nothing: means agree within their statistical error."""
    encoder = LinearTransformerPE(k=3, init="random", num_probes=4).train()
    graph, count = ZOO["star"], 1500
    order = torch.tensor([3, 0, 1, 2, 4, 5])
    torch.manual_seed(0)
    with torch.no_grad():
        draws = encoder(disjoint_union([graph] * count)).view(count, 6, 3)
        renamed = encoder(disjoint_union([permuted(graph, order)] * count)).view(count, 6, 3)[:, order]
        exact = LinearTransformerPE(k=3).double()(graph)
    for moment in (1, 2):
        one, other = draws**moment, renamed**moment
        error = (one.var(0) / count + other.var(0) / count).sqrt()
        assert ((one.mean(0) - other.mean(0)).abs() <= 5 * error).all()
    assert ((draws.mean(0) - exact).abs() <= 5 * (draws.var(0) / count).sqrt()).all()  # and it is not biased
    assert draws.std(0).min() > 1e-2


def test_training_draws_with_the_global_generator_and_evaluation_does_not():
    encoder, graph = LinearTransformerPE(k=3, init="random"), ZOO["grid"]
    torch.manual_seed(1)
    first, second = encoder(graph), encoder(graph)
    assert not torch.equal(first, second)
    torch.manual_seed(1)
    assert torch.equal(encoder(graph), first)
    state = torch.get_rng_state()
    evaluated = encoder.eval()(graph)
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(encoder(graph), evaluated)
    assert not torch.equal(LinearTransformerPE(k=3, init="random", seed=1).eval()(graph), evaluated)


@pytest.mark.parametrize("num_probes", [1, 5, 32])
def test_a_large_graph_in_the_batch_changes_nothing(num_probes):
    tail = torch.arange(700)
    small, large = ZOO["skip-links"], Incidence(torch.stack([tail, tail + 1]), torch.ones(700, dtype=torch.float64))
    encoder = LinearTransformerPE(k=3, init="random", num_probes=num_probes).eval()
    alone = [encoder(graph, return_edge=True) for graph in (large, small)]
    together = encoder(disjoint_union([large, small]), return_edge=True)
    for i in (0, 1):
        torch.testing.assert_close(together[i], torch.cat([pair[i] for pair in alone]), atol=1e-12, rtol=0)
    prefix = Incidence(torch.stack([tail[:64], tail[:64] + 1]), torch.ones(64, dtype=torch.float64))
    torch.testing.assert_close(encoder(prefix)[:50], encoder(large)[:50], atol=1e-12, rtol=0)  # the same draws


@pytest.mark.parametrize("options", [{}, {"start": "resistive"}, {"normalization": "spectral"}, {"start": "heat"}])
def test_gradients_are_those_of_finite_differences(options):
    graph = ZOO["skip-links"]
    encoder = LinearTransformerPE(k=4, init="random", num_probes=3, **options).double().eval()
    weight = graph.weight.clone().requires_grad_()

    def encode(weight):
        return encoder(Incidence(graph.index, weight, graph.num_nodes), return_edge=True)

    assert torch.autograd.gradcheck(encode, (weight,))
    layer = encoder.transformer.stack[0].value
    assert torch.autograd.gradcheck(lambda _: encode(graph.weight), (layer,))
    with torch.no_grad():
        for p in encoder.parameters():  # away from zeros, where some gradients vanish
            p += 0.1
    torch.stack([part.sin().sum() for part in encode(weight)]).sum().backward()
    assert all(p.grad is not None and float(p.grad.abs().max()) > 0 for p in encoder.parameters())


def test_heads_with_learned_conductances_and_leverages():
    graph = disjoint_union([ZOO["grid"], ZOO["skip-links"]]).to(torch.float32)
    options = {"k": 4, "heads": 2, "leverage": True, "node_types": 5, "edge_types": 3}
    given = features(graph)
    exact = LinearTransformerPE(**options)
    encoder = LinearTransformerPE(init="random", num_probes=20_000, **options).eval()
    with torch.no_grad():
        exact.conductances.outer.weight.mul_(5)
    encoder.load_state_dict(exact.state_dict())
    node, edge = encoder(graph, return_edge=True, **given)
    expected, edges = exact(graph, return_edge=True, **given)
    torch.testing.assert_close(node, expected, atol=0.05, rtol=0)
    torch.testing.assert_close(edge, edges, atol=0.05, rtol=0)
    torch.testing.assert_close(edge[:, 8:], edges[:, 8:])  # leverages are exact
    assert float((node[:, :4] - node[:, 4:]).detach().abs().max()) > 0.01
    (node.square().sum() + edge.square().sum()).backward()
    assert all(p.grad is not None and bool(p.grad.isfinite().all()) for p in encoder.parameters())
    assert float(encoder.conductances.outer.weight.grad.norm()) > 0


def test_leverages_of_large_graphs():
    tail = torch.arange(400)
    ring = Incidence(torch.stack([tail, (tail + 1) % 400]))
    edge = LinearTransformerPE(k=2, init="random", leverage=True).eval()(ring, return_edge=True)[1]
    torch.testing.assert_close(edge[:, 2], leverage_scores(ring).value, atol=1e-5, rtol=0)


def test_training_on_a_large_graph_needs_linear_memory():
    n = 50_000  # a matrix of all pairs would take 10 GB
    tail = torch.arange(n)
    weight = torch.ones(n, requires_grad=True)
    ring = Incidence(torch.stack([tail, (tail + 1) % n]), weight)
    node, edge = LinearTransformerPE(k=4, init="random", num_probes=16).eval()(ring, return_edge=True)
    torch.testing.assert_close(node.mean(0), torch.tensor([0.0, 0.5, 0.0, 0.375]), atol=0.05, rtol=0)
    torch.testing.assert_close(edge.mean(0), torch.tensor([0.5, 0.0, 0.375, 0.0]), atol=0.05, rtol=0)
    (node.square().sum() + edge.square().sum()).backward()
    assert bool(weight.grad.isfinite().all())


def test_the_transform_is_deterministic():
    from torch_geometric.data import Data

    from graphtf.transforms import AddLinearTransformerPE

    def ring(n):
        tail = torch.arange(n)
        edge_index = torch.stack([torch.cat([tail, (tail + 1) % n]), torch.cat([(tail + 1) % n, tail])])
        return Data(edge_index=edge_index, num_nodes=n)

    transform = AddLinearTransformerPE(k=3, init="random", num_probes=8, edge_attr_name="edge_pe")
    alone = [transform(ring(n)) for n in (5, 8)]
    batch = transform(Batch.from_data_list([ring(5), ring(8)]))
    torch.testing.assert_close(batch.linear_transformer_pe, torch.cat([data.linear_transformer_pe for data in alone]))
    torch.testing.assert_close(batch.edge_pe, torch.cat([data.edge_pe for data in alone]))
