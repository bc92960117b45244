"""Powers and leverages of several networks on the same edges, against dense matrices."""

import pytest
import torch

from graphtf import Incidence
from graphtf.nn import heads
from graphtf.solvers import leverage_scores
from graphtf.testing import graph_zoo

ZOO = graph_zoo()


@pytest.mark.parametrize("name", ["grid", "skip-links", "two components", "no edges"])
def test_entries_and_leverages_are_those_of_dense_matrices(name, path):
    graph = ZOO[name]
    generator = torch.Generator().manual_seed(0)
    weight = torch.rand(3, graph.num_edges, dtype=torch.float64, generator=generator) + 0.1
    node, edge = heads.head_entries(graph, weight, 7)
    leverage = heads.head_leverages(graph, weight)
    u, v = graph.index
    for h, w in enumerate(weight):
        network = Incidence(graph.index, w, graph.num_nodes, graph.batch, graph.num_graphs)
        T = torch.eye(graph.num_nodes).double() - network.normalized("sym").laplacian_dense()
        for power in range(1, 8):
            expected = torch.linalg.matrix_power(T, power)
            torch.testing.assert_close(node[h, :, power - 1], expected.diagonal())
            torch.testing.assert_close(edge[h, :, power - 1], expected[u, v])
        torch.testing.assert_close(leverage[:, h], leverage_scores(network, tol=1e-12).value)


def test_gradients_are_those_of_finite_differences(path):
    graph = ZOO["two components"]
    weight = torch.rand(2, graph.num_edges, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) + 0.5
    weight.requires_grad_()
    torch.autograd.gradcheck(lambda w: heads.head_entries(graph, w, 6), weight)
    torch.autograd.gradcheck(lambda w: heads.head_leverages(graph, w), weight)


@pytest.mark.parametrize("spread", [0, 4, 8])
def test_leverages_are_exact_however_far_conductances_spread(spread):
    pytest.importorskip("numba")
    generator = torch.Generator().manual_seed(spread)
    for size in (3, 8, 30):
        order = torch.randperm(size, generator=generator)
        ring = Incidence(torch.stack([order, order.roll(1)]).sort(0)[0])
        power = spread * (2 * torch.rand(2, size, generator=generator, dtype=torch.float64) - 1)
        weight = (10**power).requires_grad_()
        others = (1 - torch.eye(size, dtype=torch.float64)) @ (1 / weight).t()  # in series
        expected = others / (1 / weight.t() + others)
        found = heads.head_leverages(ring, weight)
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-15 * size)
        of_leverage = torch.randn(size, 2, generator=generator, dtype=torch.float64)
        found, expected = (torch.autograd.grad(x, weight, of_leverage)[0] * weight for x in (found, expected))
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-14)  # of the logarithms of the conductances


@pytest.mark.parametrize("shape", ["star", "grid", "random"])
def test_leverages_do_not_depend_on_the_numbering(shape):
    """Numberings in which the elimination of the last node first would fill the matrix among them."""
    generator = torch.Generator().manual_seed(0)
    if shape == "star":
        edges = torch.stack([torch.zeros(60, dtype=torch.int64), torch.arange(1, 61)])
    elif shape == "grid":
        nodes = torch.arange(64).view(8, 8)
        across, down = ((nodes[:, :-1], nodes[:, 1:]), (nodes[:-1], nodes[1:]))
        edges = torch.cat([torch.stack([a.flatten(), b.flatten()]) for a, b in (across, down)], 1)
    else:
        edges = torch.triu_indices(40, 40, 1)
        edges = edges[:, torch.rand(edges.shape[1], generator=generator) < 0.1]
    n = int(edges.max()) + 1
    weight = torch.rand(2, edges.shape[1], dtype=torch.float64, generator=generator) + 0.5
    of_leverage = torch.randn(edges.shape[1], 2, dtype=torch.float64, generator=generator)
    found = []
    for order in (torch.arange(n), torch.arange(n).flip(0), torch.randperm(n, generator=generator)):
        graph, w = Incidence(order[edges], num_nodes=n), weight.clone().requires_grad_()
        leverage = heads.head_leverages(graph, w)
        found.append([leverage.detach(), *torch.autograd.grad(leverage, w, of_leverage)])
    first = Incidence(edges, weight[0], n)
    torch.testing.assert_close(found[0][0][:, 0], leverage_scores(first, tol=1e-12).value)
    for other in found[1:]:
        torch.testing.assert_close(other, found[0], rtol=1e-12, atol=1e-13)
