import pytest
import torch

from graphtf import Incidence, LinearTransformer, StructuredAttention, electric_flow, random_walk, subspace_iteration
from graphtf.testing import disjoint_union, graph_zoo

ZOO = graph_zoo()
zoo = pytest.mark.parametrize("name", ZOO)


def random_transformer(kind, channels, seed=0):
    """Two random layers with everything that the kind allows, small enough to stay bounded."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return 0.3 * torch.randn(*shape, generator=generator, dtype=torch.float64)

    p = 1 if kind == "update" else 2
    c = channels if kind in ("per channel", "update") else 1
    layers = []
    for _ in range(2):
        options = {"identity": normal(2), "score": normal(2, p, p, c)}
        if kind == "linear":
            options = {}
        if kind == "update":
            options |= {"norm": "column", "update": normal(2), "update_score": normal(p, p, c)}
        if kind == "gram_schmidt":
            options["norm"] = "gram_schmidt"
        layers.append(StructuredAttention(normal(2), normal(2, p, p, c), normal(p, p, c), **options))
    return LinearTransformer(layers, ("a", "b")[:p], "a", loops=2)


def literal_readout(transformer, graph, batch=None, **registers):
    channels = next(iter(registers.values())).shape[1]
    Z = transformer.literal(graph.num_edges, channels)(transformer.tokens(graph, **registers), batch)
    start = graph.num_edges + transformer.registers.index(transformer.readout) * channels
    return Z[:, start : start + channels]


def unit_scale(graph):
    """The zoo's weights span eight orders of magnitude: scaled, errors are relative to the largest eigenvalue."""
    return graph.normalized("spectral")


@zoo
@pytest.mark.parametrize("kind", ["linear", "shared", "per channel", "update", "gram_schmidt"])
@pytest.mark.parametrize("layout", ["sparse", "padded"])
def test_random_structured_layers_equal_their_literal_twin(name, kind, layout):
    if (kind, layout) == ("update", "sparse"):
        pytest.skip("an updated operator is dense")
    graph = unit_scale(ZOO[name])
    transformer = random_transformer(kind, channels=3)
    state = torch.randn(graph.num_nodes, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        out = transformer(graph, layout=layout, a=state)
        torch.testing.assert_close(out, literal_readout(transformer, graph, a=state), atol=1e-10, rtol=1e-10)


@zoo
def test_constructions_equal_their_literal_twin(name):
    graph = unit_scale(ZOO[name])
    state = torch.randn(graph.num_nodes, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    for transformer, register in [
        (electric_flow(12, delta=1.0), "psi"),
        (subspace_iteration(6, mu=1.0), "phi"),
        (random_walk(5), "phi"),
    ]:
        with torch.no_grad():
            for layout in ("sparse", "padded"):
                out = transformer(graph, layout=layout, **{register: state})
                twin = literal_readout(transformer, graph, **{register: state})
                torch.testing.assert_close(out, twin, atol=1e-10, rtol=1e-10)


def test_a_batch_equals_its_graphs_one_by_one_in_every_form():
    graphs = [unit_scale(graph) for graph in ZOO.values()]
    union = unit_scale(disjoint_union(list(ZOO.values())))
    generator = torch.Generator().manual_seed(1)
    states = [torch.randn(graph.num_nodes, 3, dtype=torch.float64, generator=generator) for graph in graphs]
    for kind in ("linear", "shared", "per channel", "gram_schmidt", "update"):
        transformer = random_transformer(kind, channels=3)
        with torch.no_grad():
            expected = torch.cat([transformer(g, a=s) for g, s in zip(graphs, states, strict=True)])
            for layout in ("padded",) if kind == "update" else ("sparse", "padded", "auto"):
                out = transformer(union, layout=layout, a=torch.cat(states))
                torch.testing.assert_close(out, expected, atol=1e-9, rtol=1e-9)
            if kind != "update":
                twin = literal_readout(transformer, union, union.batch, a=torch.cat(states))
                torch.testing.assert_close(twin, expected, atol=1e-9, rtol=1e-9)


def test_layouts_agree_in_their_gradients():
    graph = ZOO["skip-links"]
    state = torch.randn(10, 3, dtype=torch.float64)
    for kind in ("linear", "shared", "per channel", "gram_schmidt"):
        gradients = []
        for layout in ("sparse", "padded"):
            transformer = random_transformer(kind, channels=3)
            weight = graph.weight.clone().requires_grad_()
            out = transformer(Incidence(graph.index, weight, 10).normalized("sym"), layout=layout, a=state)
            out.pow(2).mul(torch.arange(30.0).view(10, 3)).sum().backward()
            gradients.append([weight.grad, *[p.grad for p in transformer.parameters()]])
        for first, second in zip(*gradients, strict=True):
            torch.testing.assert_close(first, second, atol=1e-9, rtol=1e-7)


def test_return_all_and_single_columns():
    graph = ZOO["cycle"]
    psi = graph.center(torch.randn(6, dtype=torch.float64))
    transformer = electric_flow(5, delta=0.2)
    states = transformer(graph, psi=psi, return_all=True)
    assert states.shape == (6, 6)
    assert states[0].abs().max() == 0
    torch.testing.assert_close(states[-1], transformer(graph, psi=psi))
    torch.testing.assert_close(states[-1], transformer(graph, psi=psi.unsqueeze(1)).squeeze(1))


def test_bad_registers_and_layouts():
    graph, transformer = ZOO["cycle"], electric_flow(2, delta=0.1)
    with pytest.raises(ValueError, match=r"some of \('psi', 'x'\), but got \['phi'\]"):
        transformer(graph, phi=torch.ones(6))
    with pytest.raises(ValueError, match=r"\[6\] or \[6, k\]"):
        transformer(graph, psi=torch.ones(5))
    with pytest.raises(TypeError, match="Incidence"):
        transformer(torch.eye(3), psi=torch.ones(3))
    with pytest.raises(ValueError, match="layout"):
        transformer(graph, layout="dense", psi=torch.ones(6))
    with pytest.raises(ValueError, match="readout"):
        LinearTransformer([], ("a",), "b")
    with pytest.raises(ValueError, match="norm"):
        StructuredAttention(torch.ones(1), torch.ones(1, 1, 1, 1), torch.ones(1, 1, 1), norm="layer")
    with pytest.raises(ValueError, match="value"):
        StructuredAttention(torch.ones(1), torch.ones(1, 2, 1, 1), torch.ones(2, 2, 1))
