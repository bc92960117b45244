"""Memformers on incidence matrices: solvers with memory whose coefficients come from spectra, or are learned."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from graphtf.constructions._weights import check_interval
from graphtf.constructions.momentum import chebyshev_steps
from graphtf.incidence import Incidence
from graphtf.layout import PaddedLayout
from graphtf.momentum import Momentum
from graphtf.transformer import LayoutName, LinearTransformer
from graphtf.validate import check_positive_int


class GraphMemformer(LinearTransformer):
    r"""Layers with memory on a graph, two trained numbers each, that approximate :math:`L^+ \psi` on many graphs.

    .. math:: x_{l+1} = x_l + \alpha_l (\psi - L x_l) + \beta_l (x_l - x_{l-1})

    The numbers are shared by all graphs, and the operator is meant to be scaled, :math:`L / \lambda_{bound}`, as
    `graphtf.solvers.electric_potential(graph, psi, method=model)` does it and `graph.normalized("spectral")`. They
    start at Chebyshev's (:meth:`from_spectrum`) or at those that are best on average (:meth:`from_moments`,
    :meth:`from_graphs`); what is trained from there on can adapt to another loss.

    Args:
        steps: `(alpha, beta)` of every layer.
        dtype: floating type of the weights.

    Raises:
        ValueError: there are no steps, or one is not finite.

    Example:
        >>> from graphtf.solvers import electric_potential
        >>> path = torch.tensor([[0, 1, 2], [1, 2, 3]])
        >>> model = GraphMemformer.from_spectrum(12, lambda_min=0.1)
        >>> x = electric_potential(path, torch.tensor([1.0, 0.0, 0.0, -1.0]), method=model)
        >>> [round(value, 2) for value in x.tolist()], x.num_layers
        ([1.5, 0.5, -0.5, -1.5], 12)

    Reference: Dutta, Sra, "Memory-augmented Transformers can implement Linear First-Order Optimization Methods", 2024.
    """

    def __init__(self, steps: Sequence[tuple[float, float]], dtype: torch.dtype = torch.float64) -> None:
        if not steps or not all(math.isfinite(number) for step in steps for number in step):
            raise ValueError(f"steps must be finite pairs (alpha, beta), at least one, but are {list(steps)}")
        layers = [Momentum(torch.tensor(a, dtype=dtype), torch.tensor(b, dtype=dtype)) for a, b in steps]
        super().__init__(layers, Momentum.REGISTERS, readout="x")

    def coefficients(self) -> list[tuple[float, float]]:
        """`(alpha, beta)` of every layer."""
        return [layer.coefficients() for layer in self.layers]  # type: ignore[operator]

    def forward(
        self, graph: Incidence, *, layout: LayoutName = "auto", return_all: bool = False, **registers: Tensor
    ) -> Tensor:
        """Run the layers, see :meth:`graphtf.LinearTransformer.forward`.

        Raises:
            ValueError: a register holds numbers that are not finite.
        """
        for name, register in registers.items():
            if isinstance(register, Tensor) and not bool(torch.isfinite(register).all()):
                raise ValueError(f"{name} holds numbers that are not finite; remove or replace them")
        return super().forward(graph, layout=layout, return_all=return_all, **registers)

    @classmethod
    def from_spectrum(
        cls, num_layers: int, lambda_min: float, lambda_max: float = 1.0, dtype: torch.dtype = torch.float64
    ) -> GraphMemformer:
        r"""Chebyshev's coefficients: the least worst case over eigenvalues in an interval.

        Args:
            num_layers: depth.
            lambda_min: at most the smallest positive eigenvalue of all operators.
            lambda_max: at least the largest.
            dtype: floating type of the weights.
        """
        check_positive_int("num_layers", num_layers)
        check_interval(lambda_min, lambda_max)
        return cls(chebyshev_steps(num_layers, lambda_min, lambda_max), dtype)

    @classmethod
    def from_moments(
        cls, num_layers: int, moments: Sequence[float], dtype: torch.dtype = torch.float64
    ) -> GraphMemformer:
        r"""The coefficients of least mean squared error, at every depth at once.

        After `l` layers the error is :math:`p_l(L) x`, `x` the solution. The best polynomials,
        :math:`\min_{p(0) = 1} \mathbb{E} \|p(L) x\|^2`, are orthogonal for the measure :math:`\lambda\, d\mu` with the
        moments below, so that they obey a recurrence of three terms, which is what memory can run.

        Args:
            num_layers: depth `l`.
            moments: :math:`m_k = \mathbb{E}\, x^\top L^k x` for `k = 0, ..., 2 l`; with white demands
                :math:`\mathbb{E} \operatorname{tr} L^{k - 2}` on the complement of the constants.
            dtype: floating type of the weights.

        Raises:
            ValueError: there are too few moments, or they are those of no spectrum of so many eigenvalues to rounding.

        Example:
            >>> one = GraphMemformer.from_moments(1, [2.0, 3.0, 5.0])  # eigenvalues 1 and 2, equally
            >>> [(round(a, 6), b) for a, b in one.coefficients()]
            [(0.6, 0.0)]

        Reference: Golub, Welsch, Math. Comp. 23, 1969; Fischer, "Polynomial based iteration methods for symmetric
        linear systems", 1996.
        """
        check_positive_int("num_layers", num_layers)
        if len(moments) < 2 * num_layers + 1:
            raise ValueError(
                f"{num_layers} layers need {2 * num_layers + 1} moments, k = 0 ... {2 * num_layers}, but got "
                f"{len(moments)}"
            )
        m = torch.tensor([float(v) for v in moments[: 2 * num_layers + 1]], dtype=torch.float64)
        scale = float(m[2 * num_layers] / m[2 * num_layers - 1]) if float(m[2 * num_layers - 1]) > 0 else 0.0
        if not (bool(torch.isfinite(m).all()) and scale > 0):
            raise ValueError(f"moments of positive eigenvalues are positive and finite, but got {m.tolist()}")
        m = m / scale ** torch.arange(len(m), dtype=torch.float64)  # eigenvalues about 1 keep the matrix tame
        i = torch.arange(num_layers)
        hankel = m[1 + i[:, None] + i[None, :]]  # inner products of powers for lambda d mu
        factor, info = torch.linalg.cholesky_ex(hankel, upper=True)
        if int(info):
            raise ValueError(
                f"these moments are not those of a spectrum with {num_layers} or more different eigenvalues, to "
                f"rounding; use at most {int(info) - 1} layers, or from_graphs, which is stable"
            )
        diagonal, above = factor.diagonal(), factor.diagonal(1)
        first = torch.linalg.solve_triangular(factor.T, m[1 + i + num_layers].unsqueeze(1), upper=False)[:, 0]
        above = torch.cat([above, first[-1:]])  # what the next column would hold
        slopes = above / diagonal
        a = slopes - torch.cat([slopes.new_zeros(1), slopes[:-1]])
        b = torch.cat([a.new_zeros(1), (diagonal[1:] / diagonal[:-1]).square()])
        return cls([(step / scale, memory) for step, memory in _steps(a.tolist(), b.tolist())], dtype)

    @classmethod
    def from_graphs(
        cls, num_layers: int, graph: Incidence, psi: Tensor, dtype: torch.dtype = torch.float64
    ) -> GraphMemformer:
        """:meth:`from_moments` of sample graphs and demands, by the Lanczos process, at the relative squared error.

        Args:
            num_layers: depth.
            graph: a batch of samples, scaled as those that the model will run on.
            psi: `[n, k]` demands; every graph and column counts the same.
            dtype: floating type of the weights.

        Raises:
            TypeError, ValueError: the input is not as described.
        """
        check_positive_int("num_layers", num_layers)
        values, weights = error_measure(graph, psi)
        return cls(_steps(*_lanczos(values, weights * values, num_layers)), dtype)


def error_measure(graph: Incidence, psi: Tensor) -> tuple[Tensor, Tensor]:
    r"""The spectral measure of solutions: eigenvalues `[G N]`, and the mean share of the solution's square at each.

    .. math:: \mathbb{E} \frac{\|p(L) x\|^2}{\|x\|^2} = \int p^2\, d\mu, \qquad x = L^+ \psi

    Args:
        graph: a batch of `G` graphs of at most `N` nodes.
        psi: `[n, k]` demands.

    Raises:
        TypeError: `graph` is no operator.
        ValueError: the demands have the wrong shape, or there are none that are not constant.

    Example:
        >>> edge = Incidence(torch.tensor([[0], [1]]))
        >>> values, weights = error_measure(edge, torch.tensor([[1.0], [-1.0]]))
        >>> [round(v, 6) for v in values.tolist()], [round(w, 6) for w in weights.tolist()]
        ([2.0], [1.0])
    """
    if not isinstance(graph, Incidence):
        raise TypeError(f"expected a graphtf.Incidence, but got {type(graph).__name__}; see Incidence.from_data")
    if psi.dim() != 2 or psi.shape[0] != graph.num_nodes:
        raise ValueError(f"psi must be [{graph.num_nodes}, k] demands, but has shape {list(psi.shape)}")
    graph = graph.to(torch.float64)
    layout = PaddedLayout(graph)
    eigenvalues, vectors = torch.linalg.eigh(layout.laplacian_blocks)  # [G, N], [G, N, N]
    psi = graph.center(psi.double())
    x = vectors.mT @ layout.pack(psi)  # [G, N, k] coordinates
    positive = eigenvalues > 1e-10 * eigenvalues.amax(1, keepdim=True)
    inverse = torch.where(positive, 1 / torch.where(positive, eigenvalues, 1.0), 0.0)
    squares = (x * inverse.unsqueeze(-1)).square()
    total = squares.sum(1, keepdim=True)
    if not bool((total > 0).any()):
        raise ValueError("all demands are constant on every component: there is nothing to solve")
    share = torch.where(total > 0, squares / torch.where(total > 0, total, 1.0), 0.0).sum(2)  # [G, N]
    weights = share / (total > 0).sum()
    return eigenvalues[positive], weights[positive]


def _lanczos(nodes: Tensor, weights: Tensor, num_layers: int) -> tuple[list[float], list[float]]:
    """Recurrence `(a, b)` of the polynomials that are orthogonal for a discrete measure, reorthogonalised."""
    v = weights.clamp(min=0).sqrt()
    v = v / v.norm()
    basis, a, b = [v], [], [0.0]
    for step in range(num_layers):
        w = nodes * basis[-1]
        a.append(float(w @ basis[-1]))
        Q = torch.stack(basis, 1)
        for _ in range(2):
            w = w - Q @ (Q.T @ w)
        norm = float(w.norm())
        if step + 1 < num_layers:
            if norm <= 1e-12 * float(nodes.max()):
                raise ValueError(f"these spectra have only {step + 1} different eigenvalues; use as many layers")
            b.append(norm**2)
            basis.append(w / norm)
    return a, b


def _steps(a: Sequence[float], b: Sequence[float]) -> list[tuple[float, float]]:
    """Steps and memory from the recurrence of monic polynomials, for residual polynomials, which are 1 at 0."""
    steps, last, value = [], 0.0, 1.0
    for centre, square in zip(a, b, strict=True):
        following = -centre * value - square * last
        steps.append((-value / following, square * last / following + 0.0))  # no -0
        last, value = value, following
    return steps
