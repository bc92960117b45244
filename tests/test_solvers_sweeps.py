"""Many right-hand sides on a large graph: conjugate gradient behind symmetric Gauss-Seidel."""

import pytest
import torch

from graphtf import Incidence
from graphtf.solvers import ConvergenceError, electric_potential
from graphtf.solvers.linear_system import LinearSystem

pytest.importorskip("numba")

N = 3000


def graph(weighted: bool = True, isolated: int = 0, copies: int = 1) -> Incidence:
    """An expander of random edges; perhaps several of them, and isolated nodes at the end."""
    generator = torch.Generator().manual_seed(0)
    index = torch.randint(N, (2, 6 * N), generator=generator)
    index = index[:, index[0] != index[1]]
    index = torch.cat([index + copy * N for copy in range(copies)], 1)
    weight = torch.exp(2 * torch.rand(index.shape[1], dtype=torch.float64, generator=generator) - 1)
    n = copies * N + isolated
    return Incidence.from_edge_index(index, weight if weighted else None, num_nodes=n, directions="once")


def demands(n: int, k: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(n, k, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("k", [1, 6, 16, 21, 40])
@pytest.mark.parametrize("tol", [1e-4, 1e-8, 1e-11])
def test_tolerance_is_kept_and_the_answer_is_centered(k: int, tol: float) -> None:
    B = graph()
    psi = B.center(demands(B.num_nodes, k))
    x = electric_potential(B, psi, tol=tol)
    assert x.method == "preconditioned (Gauss-Seidel)"
    true = (psi - B.laplacian @ x.value).norm(dim=0) / psi.norm(dim=0)
    assert bool((true <= tol).all())
    assert bool((x.residual >= 0.5 * true).all())
    assert float(x.value.mean(0).abs().max()) < 1e-12


def test_half_as_many_steps_as_conjugate_gradient_with_jacobi() -> None:
    B = graph()
    psi = B.center(demands(B.num_nodes, 2))
    jacobi = electric_potential(B, psi, tol=1e-8)  # two columns have no sweeps
    assert jacobi.method == "preconditioned (Jacobi)"
    assert electric_potential(B, psi[:, 0], tol=1e-8).num_layers <= 0.6 * jacobi.num_layers


def test_a_column_does_not_depend_on_the_others() -> None:
    B = graph()
    psi = B.center(demands(B.num_nodes, 33))
    psi[:, 3] = 0
    psi[:, 4] *= 1e30
    psi[:, 5] *= 1e-30
    x = electric_potential(B, psi, tol=1e-9).value
    assert bool((x[:, 3] == 0).all())
    other = electric_potential(B, psi.flip(1), tol=1e-9).value.flip(1)
    assert bool(((x - other).norm(dim=0) <= 1e-8 * x.norm(dim=0)).all())
    plain = electric_potential(B, psi[:, 6:7], tol=1e-11).value
    assert float((x[:, 6:7] - plain).norm() / plain.norm()) < 1e-8


def test_components_and_isolated_nodes() -> None:
    B = graph(isolated=5, copies=2)
    psi = demands(B.num_nodes, 8)
    psi[-5:] = 0
    psi = B.center(psi)
    x = electric_potential(B, psi, tol=1e-9).value
    assert bool((x[-5:] == 0).all())
    for part in (slice(0, N), slice(N, 2 * N)):
        alone = electric_potential(graph(copies=1), psi[part], tol=1e-9) if part.start == 0 else None
        if alone is not None:
            assert float((x[part] - alone.value).norm() / alone.value.norm()) < 1e-7
        assert float(x[part].mean(0).abs().max()) < 1e-12


def test_several_threads_give_the_same() -> None:
    B = graph()
    psi = B.center(demands(B.num_nodes, 40))
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        several = electric_potential(graph(), psi, tol=1e-9).value
        torch.set_num_threads(1)
        one = electric_potential(graph(), psi, tol=1e-9).value
    finally:
        torch.set_num_threads(before)
    torch.testing.assert_close(several, one, rtol=1e-12, atol=1e-14)


def test_an_answer_of_another_method_is_judged_by_its_true_residual() -> None:
    """The first column is easy, so that the sweeps begin; the others need a factor."""
    pytest.importorskip("approx_chol")
    side, generator = 60, torch.Generator().manual_seed(0)
    easy = torch.randint(N, (2, 6 * N), generator=generator)
    easy = easy[:, easy[0] != easy[1]]
    nodes = N + torch.arange(side * side).view(side, side)
    across = torch.stack([nodes[:, :-1].flatten(), nodes[:, 1:].flatten()])
    grid = torch.cat([across, torch.stack([nodes[:-1].flatten(), nodes[1:].flatten()])], 1)
    spread = 10 ** (6 * torch.rand(grid.shape[1], dtype=torch.float64, generator=generator) - 3)
    weight = torch.cat([torch.ones(easy.shape[1], dtype=torch.float64), spread])
    B = Incidence.from_edge_index(torch.cat([easy, grid], 1), weight, num_nodes=N + side * side, directions="once")
    psi = demands(B.num_nodes, 8)
    psi[N:, 0] = 0
    psi = B.center(psi)
    for tol in (1e-8, 1e-13):  # the second is beyond float64 here
        try:
            x = electric_potential(B, psi, tol=tol)
        except ConvergenceError as error:
            x = error.solution
        else:
            assert tol == 1e-8
        assert x.method == "preconditioned (approximate Cholesky)"
        true = (psi - B.laplacian @ x.value).norm(dim=0) / psi.norm(dim=0)
        assert bool((x.residual >= 0.5 * true).all())


def test_the_method_is_that_of_the_last_answer() -> None:
    system = LinearSystem(graph(), "auto")
    psi = system.graph.center(demands(N, 8))
    assert system.solve(psi, 1e-8, 1000)[1].method == "preconditioned (Gauss-Seidel)"
    assert system.solve(psi[:, :2], 1e-8, 1000)[1].method == "preconditioned (Jacobi)"
