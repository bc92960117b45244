"""What the weights compute at the start, one layer in a loop, and columns that combine the states of all layers."""

import pytest
import torch

from graphtf.nn import LinearTransformerPE
from graphtf.testing import graph_zoo

ZOO = graph_zoo()
STARTS = ("random-walk", "electric", "resistive", "heat", "eigenvectors", "random")
starts = pytest.mark.parametrize("start", STARTS)


def spectrum(graph, normalization):
    return torch.linalg.eigh(graph.split_components().normalized(normalization).laplacian_dense())


@pytest.mark.parametrize("normalization", ["sym", "spectral"])
@pytest.mark.parametrize("k", [4, 16, 64])
def test_heat_is_the_heat_kernel_at_several_times(k, normalization):
    graph = ZOO["skip-links"]
    values, vectors = spectrum(graph, normalization)
    encoder = LinearTransformerPE(k=k, start="heat", normalization=normalization).double()
    node, edge = encoder(graph, return_edge=True)
    for column in range(k):
        kernel = (vectors * torch.exp(-values * (column + 1) / 2)) @ vectors.T
        error = 4e-3 if k == 4 else 1e-6  # of the expansion; then weights in single precision
        torch.testing.assert_close(node[:, column], kernel.diagonal(), atol=error, rtol=0)
        torch.testing.assert_close(edge[:, column], kernel[graph.index[0], graph.index[1]], atol=error, rtol=0)


@pytest.mark.parametrize("start", ["electric", "resistive"])
@pytest.mark.parametrize("options", [{}, {"memory": True}, {"shared": True}], ids=["plain", "memory", "shared"])
def test_electric_starts_approach_powers_of_the_pseudoinverse(start, options):
    graph = ZOO["two components"]
    values, vectors = spectrum(graph, "sym")
    power = -1.0 if start == "electric" else -0.5
    inverse = torch.where(values > 1e-9, values.clamp(min=1e-9) ** power, 0.0)
    exact = ((vectors * inverse) @ vectors.T).diagonal()
    node = LinearTransformerPE(k=120, start=start, **options).double()(graph)
    error = (node.detach() - exact.unsqueeze(1)).abs().max(0).values / exact.max()
    rate = float(1 - values[values > 1e-9].min() / 2)
    bound = rate ** torch.arange(1, 121, dtype=torch.float64)
    assert (error <= 1.01 * bound + 2e-6).all()
    assert error[-1] < 1e-3 < error[0]


@starts
@pytest.mark.parametrize("init", ["basis", "random"])
def test_memory_changes_nothing_at_the_start(start, init):
    graph = ZOO["grid"]
    expected = LinearTransformerPE(k=6, init=init, start=start).eval()(graph, return_edge=True)
    found = LinearTransformerPE(k=6, init=init, start=start, memory=True).eval()(graph, return_edge=True)
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-6, rtol=1e-5)


@starts
def test_one_layer_in_a_loop_is_that_layer_many_times(start):
    graph = ZOO["grid"]
    shared = LinearTransformerPE(k=6, start=start, shared=True, memory=True).double()
    with torch.no_grad():
        for p in shared.parameters():
            p += 0.1 * torch.randn(p.shape, generator=torch.Generator().manual_seed(0), dtype=p.dtype)
    separate = LinearTransformerPE(k=6, start=start, memory=True).double()
    with torch.no_grad():
        for layer in separate.transformer.stack:
            layer.load_state_dict(shared.transformer.stack[0].state_dict())
        separate.memory.copy_(shared.memory)
    for one, other in zip(shared(graph, return_edge=True), separate(graph, return_edge=True), strict=True):
        torch.testing.assert_close(one, other)
    assert sum(p.numel() for p in shared.transformer.parameters()) <= 9


@pytest.mark.parametrize("start", ["heat", "random"])
def test_heads_have_memories_of_their_own(start):
    encoder = LinearTransformerPE(k=4, heads=2, start=start, memory=True).double()
    graph = ZOO["skip-links"]
    node, edge = (t.detach() for t in encoder(graph, return_edge=True))
    with torch.no_grad():
        encoder.memory[1].mul_(2.0)
    double, edges = encoder(graph, return_edge=True)
    torch.testing.assert_close(double, torch.cat([node[:, :4], 2 * node[:, 4:]], 1))
    torch.testing.assert_close(edges, torch.cat([edge[:, :4], 2 * edge[:, 4:]], 1))


@pytest.mark.parametrize("normalization", ["sym", "spectral"])
def test_random_weights_keep_the_encoding_bounded(normalization):
    for seed in range(20):
        encoder = LinearTransformerPE(k=24, start="random", normalization=normalization, seed=seed).double()
        for name in ("grid", "star", "cycle", "complete"):
            node, edge = encoder(ZOO[name], return_edge=True)
            assert max(float(node.detach().abs().max()), float(edge.detach().abs().max())) <= 1 + 1e-5
        assert float(node.detach()[:, 0].abs().max()) > 1e-2


def test_trained_memory_survives_saving_and_reset():
    encoder = LinearTransformerPE(k=3, start="heat", heads=2)
    start = encoder.memory.detach().clone()
    with torch.no_grad():
        encoder.memory.add_(1.0)
    other = LinearTransformerPE(encoder.config)
    other.load_state_dict(encoder.state_dict())
    torch.testing.assert_close(other(ZOO["grid"]), encoder(ZOO["grid"]))
    encoder.reset_parameters()
    assert torch.equal(encoder.memory, start)
