"""Entries of powers, the shortcut behind the encodings: dense blocks, sparse products and chunks agree."""

import pytest
import torch

from graphtf import Incidence, LinearTransformer, StructuredAttention, random_walk
from graphtf import powers as module
from graphtf.convert import disjoint_union
from graphtf.polynomial import polynomial_coefficients
from graphtf.powers import power_entries
from graphtf.testing import graph_zoo

ZOO = graph_zoo()


def random_graph(num_nodes, seed):
    generator = torch.Generator().manual_seed(seed)
    index = torch.randint(0, num_nodes, (2, 2 * num_nodes), generator=generator)
    index = index[:, index[0] != index[1]]
    weight = torch.rand(index.shape[1], generator=generator, dtype=torch.float64) + 0.1
    return Incidence.from_edge_index(index, weight, num_nodes, directions="once")


def explicit(graph, degree, pairs):
    T = torch.eye(graph.num_nodes, dtype=graph.dtype) - graph.laplacian_dense()
    powers = torch.stack([torch.linalg.matrix_power(T, j) for j in range(degree + 1)], -1)
    return powers.diagonal(dim1=0, dim2=1).t(), powers[pairs[0], pairs[1]]


def assert_same(found, expected):
    for first, second in zip(found, expected, strict=True):
        torch.testing.assert_close(first, second, atol=1e-12, rtol=1e-12)


@pytest.mark.parametrize("kind", ["sym", "spectral"])
@pytest.mark.parametrize("largest_dense", [0, 6, 96], ids=["sparse", "mixed", "dense"])
@pytest.mark.parametrize("chunk", [1, 200, 1 << 16], ids=["one graph a chunk", "few", "all"])
def test_all_paths_and_chunks_equal_explicit_powers(kind, largest_dense, chunk, monkeypatch):
    monkeypatch.setattr(module, "LARGEST_DENSE", largest_dense)
    monkeypatch.setattr(module, "CHUNK", chunk)
    monkeypatch.setattr(module, "SPARSE_CHUNK", 64)
    graphs = [*ZOO.values(), *[ZOO["no nodes"]] * 40, *(random_graph(size, size) for size in (5, 33, 40, 9))]
    union = disjoint_union(graphs).normalized(kind)
    # pairs of all kinds: the same node, neighbours, far apart, in different graphs
    pairs = torch.randint(0, union.num_nodes, (2, 500), generator=torch.Generator().manual_seed(0))
    pairs = torch.cat([pairs, union.index, pairs[:1].expand(2, -1)], 1)
    node, edge = explicit(union, 7, pairs)
    assert_same(power_entries(union, 7, pairs), (node, edge))
    mix = torch.randn(3, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    assert_same(power_entries(union, 7, pairs, mix), (node @ mix.t(), edge @ mix.t()))


def test_nodes_in_any_order():
    union = disjoint_union([random_graph(size, size) for size in (5, 12, 7)])
    order = torch.randperm(24, generator=torch.Generator().manual_seed(0))
    batch = torch.empty_like(union.batch)
    batch[order] = union.batch
    mixed = Incidence(order[union.index], union.weight, 24, batch, 3).normalized("sym")
    node, edge = power_entries(union.normalized("sym"), 5, union.index)
    assert_same(power_entries(mixed, 5, mixed.index), explicit(mixed, 5, mixed.index))
    found = power_entries(mixed, 5, order[union.index])
    assert_same((found[0][order], found[1]), (node, edge))


@pytest.mark.parametrize("size", [97, 300])
def test_large_graphs_go_the_sparse_way_and_with_gradients_the_dense_one(size):
    graph = random_graph(size, seed=1)
    weight = graph.weight.clone().requires_grad_()
    learned = Incidence(graph.index, weight, size).normalized("sym")
    plain = graph.normalized("sym")
    assert_same(power_entries(plain, 6, plain.index), explicit(plain, 6, plain.index))
    node, edge = power_entries(learned, 6, plain.index)
    assert_same((node.detach(), edge.detach()), explicit(plain, 6, plain.index))
    (node.sin().sum() + edge.sin().sum()).backward()
    again = graph.weight.clone().requires_grad_()
    node, edge = explicit(Incidence(graph.index, again, size).normalized("sym"), 6, plain.index)
    (node.sin().sum() + edge.sin().sum()).backward()
    torch.testing.assert_close(weight.grad, again.grad, atol=1e-10, rtol=1e-10)


def test_gradients_through_parallel_edges_and_isolated_nodes():
    index = torch.tensor([[0, 1, 0, 1, 1, 2], [1, 0, 1, 0, 2, 1]])  # (0, 1) twice in both directions; 3 is isolated

    def encode(weight):
        graph = Incidence.from_edge_index(index, torch.cat([weight, weight]).view(2, 3).t().reshape(-1), 4)
        return power_entries(graph.normalized("sym"), 4, graph.index)

    weight = torch.tensor([1.0, 2.0, 3.0], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(encode, (weight,))
    node, _ = encode(weight)
    node.sum().backward()
    assert torch.isfinite(weight.grad).all()
    assert node[3].tolist() == [1.0] * 5  # the walk stays on an isolated node


def test_coefficients_with_and_without_gradients_are_the_same():
    generator = torch.Generator().manual_seed(0)

    def normal(*shape):
        return torch.randn(shape, generator=generator, dtype=torch.float64)

    layers = [
        StructuredAttention(normal(heads), normal(heads, 2, 2, 1), normal(2, 2, 1), identity=identity)
        for heads, identity in ((1, None), (2, normal(2)), (1, normal(1)))
    ]
    transformer = LinearTransformer(layers, ("a", "b"), "b", loops=2)
    start = normal(2)
    with_gradients = polynomial_coefficients(transformer, start)
    assert with_gradients.requires_grad
    with torch.no_grad():
        torch.testing.assert_close(polynomial_coefficients(transformer, start), with_gradients)
        graph = ZOO["skip-links"].normalized("sym")
        powers = torch.stack(
            [torch.linalg.matrix_power(torch.eye(10).double() - graph.laplacian_dense(), j) for j in range(7)]
        )
        eye = torch.eye(10, dtype=torch.float64)
        states = transformer(graph, return_all=True, a=start[0] * eye, b=start[1] * eye)
        torch.testing.assert_close(torch.einsum("lj,jab->lab", with_gradients, powers), states)


def test_bad_degree_and_layers_that_are_no_polynomials():
    graph = ZOO["cycle"]
    with pytest.raises(ValueError, match="degree must be at least 0"):
        power_entries(graph, -1, graph.index)
    assert power_entries(graph, 0, graph.index)[0].tolist() == [[1.0]] * 6
    transformer = random_walk(2)
    transformer.stack[1].norm = "column"
    with pytest.raises(ValueError, match="polynomials in L"):
        polynomial_coefficients(transformer, torch.ones(1))


def test_coefficients_follow_torch_where_arrays_cannot():
    """Jacobians row by row or all at once, forwards or backwards, weights of several models, and bfloat16."""
    model = random_walk(3).double()
    values = torch.randn(3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)

    def coefficients(values):
        weights = {f"layers.{i}.value": v.view(1, 1, 1, 1) for i, v in enumerate(values)}
        model_with = torch.func.functional_call(Coefficients(model), {f"model.{k}": w for k, w in weights.items()}, ())
        return model_with

    expected = torch.autograd.functional.jacobian(coefficients, values)
    assert expected.abs().sum() > 1
    torch.testing.assert_close(torch.autograd.functional.jacobian(coefficients, values, vectorize=True), expected)
    torch.testing.assert_close(torch.func.jacrev(coefficients)(values), expected)
    torch.testing.assert_close(torch.func.jacfwd(coefficients)(values), expected)
    several = torch.stack([values, 2 * values])
    torch.testing.assert_close(torch.vmap(coefficients)(several), torch.stack([coefficients(v) for v in several]))
    half = polynomial_coefficients(model, torch.ones(1, dtype=torch.bfloat16))
    torch.testing.assert_close(half.float(), polynomial_coefficients(model, torch.ones(1)))


class Coefficients(torch.nn.Module):
    def __init__(self, model):
        super().__init__()
        self.model = model

    def forward(self):
        return polynomial_coefficients(self.model, torch.ones(1, dtype=torch.float64))
