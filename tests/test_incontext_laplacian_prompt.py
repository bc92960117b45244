"""Laplacian systems in context: potentials against the pseudo-inverse, and a model with memory that solves them."""

import networkx as nx
import pytest
import torch

from graphtf import Incidence
from graphtf.incontext import GraphMemformer, LaplacianPrompt, LaplacianSystem, RandomGraphs, exact_potential
from graphtf.incontext.random_graphs import TOPOLOGIES
from graphtf.testing import graph_zoo

topologies = pytest.mark.parametrize("topology", TOPOLOGIES)


def systems(count: int = 5, seed: int = 0, **options: object) -> LaplacianSystem:
    prompt = LaplacianPrompt(**options)  # type: ignore[arg-type]
    return prompt.sample(count, torch.Generator().manual_seed(seed), torch.float64)


@topologies
@pytest.mark.parametrize("normalization", [None, "sym", "spectral"])
def test_potentials_are_those_of_the_pseudo_inverse(topology: str, normalization: str | None) -> None:
    graph, psi, x = systems(topology=topology, columns=3, normalization=normalization)
    inverse = torch.linalg.pinv(graph.laplacian_dense(), hermitian=True, rtol=1e-10)
    torch.testing.assert_close(x, inverse @ psi, rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(graph.laplacian @ x, psi, rtol=1e-9, atol=1e-10)
    assert float(psi.abs().max()) > 1


@pytest.mark.parametrize("name", sorted(graph_zoo()))
def test_exact_potentials_of_any_graph(name: str) -> None:
    graph = graph_zoo()[name]
    psi = torch.randn(graph.num_nodes, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inverse = torch.linalg.pinv(graph.to(torch.float64).laplacian_dense(), hermitian=True, rtol=1e-11)
    torch.testing.assert_close(exact_potential(graph, psi), inverse @ psi, rtol=1e-7, atol=1e-7)


def test_graphs_of_different_sizes_and_components() -> None:
    graph = Incidence(torch.tensor([[0, 1, 3], [1, 2, 4]]), num_nodes=7, batch=torch.tensor([0, 0, 0, 1, 1, 1, 2]))
    psi = torch.tensor([[1.0], [0.0], [-1.0], [2.0], [-2.0], [5.0], [5.0]])
    assert exact_potential(graph, psi).flatten().tolist() == pytest.approx([1, 0, -1, 1, -1, 0, 0], abs=1e-12)


def test_demands_are_normal_and_centred_on_every_component() -> None:
    graph, psi, _ = systems(300, num_edges=9, columns=4)  # sparse: most graphs are not connected
    labels = graph.components()
    number = int(labels.max()) + 1
    assert number > 300
    sums = torch.zeros(number, 4, dtype=torch.float64).index_add(0, labels, psi)
    assert float(sums.abs().max()) < 1e-12
    dense = systems(300, topology="ring", columns=4).psi
    assert float(dense.var()) == pytest.approx(11 / 12, abs=0.03)


def test_conductances_spread_as_asked_and_draws_repeat() -> None:
    logs = systems(200, spread=2.0).graph.weight.log()
    assert -2 < float(logs.min()) < -1.95
    assert 1.95 < float(logs.max()) < 2
    assert float(logs.mean()) == pytest.approx(0, abs=0.1)
    assert torch.equal(systems().x, systems().x)
    assert not torch.equal(systems().x, systems(seed=1).x)
    assert systems(spread=0.0).graph.weight.unique().tolist() == [1.0]
    assert LaplacianPrompt().sample(2, torch.Generator().manual_seed(0)).x.dtype == torch.float32


def test_graphs_of_a_batch_have_edges_of_their_own() -> None:
    graph = RandomGraphs(10, "ring", 14).sample(50, torch.Generator().manual_seed(0))
    assert torch.equal(graph.batch[graph.index[0]], torch.arange(50).repeat_interleave(14))
    whole = nx.Graph(graph.index.T.tolist())
    assert whole.number_of_edges() == 50 * 14
    assert len({frozenset(map(tuple, (graph.index[:, 14 * i : 14 * i + 14] % 10).T.tolist())) for i in range(50)}) > 40


def test_a_memformer_from_sample_graphs_solves_unseen_ones() -> None:
    known, unseen = (systems(300, seed, normalization="spectral") for seed in (1, 2))

    def error(model: GraphMemformer) -> float:
        with torch.no_grad():
            x = model(unseen.graph, psi=unseen.psi)
        square = [(v.view(300, 12).square().sum(1)) for v in (x - unseen.x, unseen.x)]
        return float((square[0] / square[1]).mean())

    best = [error(GraphMemformer.from_graphs(depth, known.graph, known.psi)) for depth in (1, 4, 12)]
    other = [error(GraphMemformer.from_spectrum(depth, lambda_min=0.05)) for depth in (4, 12)]
    assert best[0] > 2 * best[1] > 8 * best[2]
    assert best[1] < other[0]
    assert best[2] < other[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"n": 2}, "n must be at least 3"),
        ({"topology": "star"}, "topology must be one of"),
        ({"spread": float("inf")}, "spread must be at least 0 and finite"),
        ({"columns": 0}, "columns must be at least 1"),
        ({"normalization": "max"}, "normalization must be None, 'sym' or 'spectral'"),
        ({"topology": "preferential", "num_edges": 4}, "follows from n"),
    ],
)
def test_wrong_options_are_refused_with_a_sentence(options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        LaplacianPrompt(**options)  # type: ignore[arg-type]
