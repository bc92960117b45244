"""Gaussian processes on graphs, and label propagation by attention against scikit-learn and the solvers."""

import networkx as nx
import numpy as np
import pytest
import torch
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import DotProduct
from sklearn.kernel_ridge import KernelRidge

from graphtf.incontext import memformer
from graphtf.incontext.graph_prompts import GraphGaussianProcessPrompt, graph_features, label_propagation
from graphtf.solvers import electric_potential, heat_kernel
from graphtf.testing import graph_zoo, permuted

ZOO = {name: g for name, g in graph_zoo().items() if name not in ("weighted", "no nodes")}
TIMES = {"heat": 0.7, "random-walk": 3, "electric": None}
KARATE = nx.karate_club_graph()
ENDS = [0, 33]  # the instructor and the officer


def kernel_of(graph: object, kernel: str, time: float | None) -> torch.Tensor:
    """The same kernel by the library's solvers, or from the definition."""
    n = graph.num_nodes  # type: ignore[attr-defined]
    eye = torch.eye(n, dtype=torch.float64)
    if kernel == "heat":
        return heat_kernel(graph, eye, times=time)
    if kernel == "electric":
        return electric_potential(graph, eye)
    L = graph.laplacian_dense()  # type: ignore[attr-defined]
    degree = L.diagonal()
    root = torch.where(degree > 0, degree, 1.0).rsqrt()
    walk = torch.where(degree > 0, 1.0, 2.0).diag() + root[:, None] * (degree.diag() - L) * root
    return torch.linalg.matrix_power(walk / 2, int(time or 0))


@pytest.mark.parametrize("kernel", TIMES)
@pytest.mark.parametrize("name", ZOO)
def test_inner_products_of_features_are_the_kernel(name: str, kernel: str) -> None:
    X = graph_features(ZOO[name], kernel, TIMES[kernel])  # type: ignore[arg-type]
    torch.testing.assert_close(X @ X.T, kernel_of(ZOO[name], kernel, TIMES[kernel]), rtol=0, atol=1e-8)


@pytest.mark.parametrize("kernel", TIMES)
def test_labels_have_the_kernel_as_covariance_and_nodes_are_shown_at_random(kernel: str) -> None:
    graph = ZOO["skip-links"]
    task = GraphGaussianProcessPrompt(graph, kernel, TIMES[kernel], n=9)  # type: ignore[arg-type]
    prompt = task.sample(8_000, torch.Generator().manual_seed(0), torch.float64)
    X = task.features
    nodes = (prompt.x.unsqueeze(2) - X).square().sum(-1).argmin(-1)  # [P, 10], all nodes of the graph
    assert all(len(row.unique()) == 10 for row in nodes[:50])
    assert torch.bincount(nodes[:, -1], minlength=10).min() > 650
    y = torch.zeros_like(prompt.y).scatter(1, nodes, prompt.y)
    torch.testing.assert_close(y.T @ y / len(y), X @ X.T, rtol=0, atol=0.05 * float((X @ X.T).max()))
    assert torch.equal(prompt.target, prompt.y[:, -1])


@pytest.mark.parametrize("kernel", ["heat", "random-walk"])
def test_posterior_mean_is_that_of_scikit_learn(kernel: str) -> None:
    task = GraphGaussianProcessPrompt(ZOO["grid"], kernel, TIMES[kernel], n=7)  # type: ignore[arg-type]
    prompt = task.sample(5, torch.Generator().manual_seed(1), torch.float64)
    for x, y, mean in zip(prompt.x.numpy(), prompt.y.numpy(), task.posterior_mean(prompt).tolist(), strict=True):
        model = GaussianProcessRegressor(DotProduct(0.0, "fixed"), alpha=0, optimizer=None).fit(x[:-1], y[:-1])
        assert mean == pytest.approx(float(model.predict(x[-1:])[0]), abs=1e-7)


def test_electric_labels_sum_to_zero_and_the_posterior_mean_knows() -> None:
    task = GraphGaussianProcessPrompt(ZOO["skip-links"], "electric", n=9)  # all nodes but one
    prompt = task.sample(20, torch.Generator().manual_seed(1), torch.float64)
    torch.testing.assert_close(prompt.y.sum(1), torch.zeros(20).double(), rtol=0, atol=1e-12)
    torch.testing.assert_close(task.posterior_mean(prompt), prompt.target, rtol=0, atol=1e-8)


def test_layers_of_conjugate_gradients_reach_the_posterior_mean() -> None:
    task = GraphGaussianProcessPrompt(KARATE, "heat", 0.1, n=14)
    prompt = task.sample(100, torch.Generator().manual_seed(2), torch.float64)
    model = memformer(34, 14, coefficients="adaptive", preconditioner="scalar").double().requires_grad_(False)
    predictions = model(prompt, return_all=True)
    best = task.posterior_mean(prompt)
    errors = (predictions - best).square().mean(1)
    assert float(errors[14]) < 1e-10
    losses = (predictions - prompt.target).square().mean(1)
    assert float((best - prompt.target).square().mean()) == pytest.approx(float(losses[14]), rel=1e-6)
    assert float(losses[14]) < float(losses[0])


@pytest.mark.parametrize("coefficients", ["adaptive", "fixed"])
@pytest.mark.parametrize("kernel", TIMES)
def test_label_propagation_is_kernel_ridge_regression(kernel: str, coefficients: str) -> None:
    X = graph_features(KARATE, kernel, TIMES[kernel])  # type: ignore[arg-type]
    K = (X @ X.T).numpy()
    generator = torch.Generator().manual_seed(0)
    labelled = torch.randperm(34, generator=generator)[:12]
    y = torch.randn(34, 2, generator=generator, dtype=torch.float64)
    found = label_propagation(KARATE, y, labelled, kernel, TIMES[kernel], 0.05, coefficients=coefficients)  # type: ignore[arg-type]
    shown = labelled.numpy()
    model = KernelRidge(alpha=0.05, kernel="precomputed").fit(K[np.ix_(shown, shown)], y.numpy()[shown])
    np.testing.assert_allclose(found.numpy(), model.predict(K[:, shown]), rtol=0, atol=1e-8)


def test_fixed_coefficients_fall_at_the_rate_of_richardson() -> None:
    X = graph_features(KARATE)
    y = torch.randn(34, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    labelled, ridge = torch.arange(0, 34, 3), 0.1
    top = float(torch.linalg.eigvalsh(X[labelled] @ X[labelled].T)[-1]) + ridge
    rate = (top - ridge) / (top + ridge)
    exact = label_propagation(KARATE, y, labelled, ridge=ridge)
    errors = []
    for depth in (5, 20, 40):
        got = label_propagation(KARATE, y, labelled, ridge=ridge, num_layers=depth, coefficients="fixed")
        errors.append(float((got - exact).norm()))
        # |K alpha error| <= |K| |error of alpha| <= top / ridge |y| rate^depth
        assert errors[-1] <= top / ridge * float(y[labelled].norm()) * rate**depth
    assert errors[2] < 0.2 * errors[1] < 0.2 * errors[0]


@pytest.mark.parametrize("kernel", ["heat", "random-walk", "electric"])
def test_two_labelled_members_divide_the_karate_club(kernel: str) -> None:
    truth = torch.tensor([KARATE.nodes[v]["club"] == "Officer" for v in KARATE])
    classes = torch.stack([~truth, truth], 1).float()
    shown = torch.zeros(34, dtype=torch.bool)
    shown[ENDS] = True
    hidden = torch.where(shown.unsqueeze(1), classes, torch.nan)  # labels of others are not looked at
    found = label_propagation(KARATE, hidden, shown, kernel, TIMES[kernel])  # type: ignore[arg-type]
    assert found.shape == (34, 2)
    assert found.dtype == torch.float32
    assert int((found.argmax(1) == truth.long()).sum()) >= 32


def test_label_propagation_does_not_depend_on_names_of_nodes_or_kind_of_graph() -> None:
    graph = ZOO["skip-links"]
    order = torch.randperm(10, generator=torch.Generator().manual_seed(0))
    y = torch.randn(10, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    labelled = torch.tensor([0, 4, 7])
    one = label_propagation(graph, y, labelled)
    renamed = torch.empty_like(y)
    renamed[order] = y
    other = label_propagation(permuted(graph, order), renamed, order[labelled])
    torch.testing.assert_close(other[order], one, rtol=1e-9, atol=1e-10)
    path = ZOO["path"]
    y = torch.tensor([1.0] + [0.0] * 7, dtype=torch.float64)
    edges = torch.cat([path.index, path.index.flip(0)], 1)
    with_isolated = label_propagation(edges, y, torch.tensor([0]))  # an eighth node, which no edge names
    alone = label_propagation(path, y[:7], torch.tensor([0]))
    torch.testing.assert_close(with_isolated[:7], alone, rtol=0, atol=1e-12)
    assert float(with_isolated[7]) == 0


Y, ONE = torch.ones(34), torch.tensor([0])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: graph_features(KARATE, "cosine"), "kernel must be one of"),  # type: ignore[arg-type]
        (lambda: graph_features(KARATE, "electric", 2.0), "has no time"),
        (lambda: graph_features(KARATE, "heat", -1.0), "not negative"),
        (lambda: graph_features(KARATE, "random-walk", 1.5), "an integer"),
        (lambda: GraphGaussianProcessPrompt(KARATE, n=34), "below the 34 nodes"),
        (lambda: label_propagation(KARATE, Y[:3], ONE), "each of the 34 nodes, but has 3"),
        (lambda: label_propagation(KARATE, Y, Y[:3].bool()), "a boolean for each of the 34"),
        (lambda: label_propagation(KARATE, Y, torch.tensor([0, 0])), "different nodes"),
        (lambda: label_propagation(KARATE, Y, torch.tensor([34])), r"different nodes 0 \.\.\. 33"),
        (lambda: label_propagation(KARATE, Y, ONE[:0]), "no node is labelled"),
        (lambda: label_propagation(KARATE, Y, ONE, ridge=0.0), "ridge must be positive"),
        (lambda: label_propagation(KARATE, Y, ONE, ridge=1e-9, coefficients="fixed"), "give num_layers"),
        (lambda: label_propagation(KARATE, Y, ONE, coefficients="free"), "coefficients must be one of"),  # type: ignore[arg-type]
        (lambda: label_propagation(KARATE, Y, ONE, num_layers=0), "at least 1"),
    ],
)
def test_wrong_input_is_refused_with_a_sentence(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_wrong_types_are_refused_with_a_sentence() -> None:
    with pytest.raises(TypeError, match="floating-point tensor"):
        label_propagation(KARATE, torch.ones(34, dtype=torch.long), ONE)
    with pytest.raises(TypeError, match="labelled must be"):
        label_propagation(KARATE, Y, Y)
