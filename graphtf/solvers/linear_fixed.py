"""The methods of fixed depth, with their proven bounds: gradient descent, Chebyshev, and the multiplicative inverse."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from graphtf.constructions import chebyshev, electric_flow, fast_inverse, inverse_registers
from graphtf.incidence import Incidence
from graphtf.layout import PaddedLayout
from graphtf.solvers.linear_cg import relative_residual
from graphtf.solvers.linear_learned import run_transformer
from graphtf.solvers.linear_parts import selected

DEEPEST = 10_000  # layers that a tolerance may ask for
LARGEST_DENSE = 2048  # nodes of a graph whose powers are formed, or whose eigenvalues are computed for a bound


def contraction(graph: Incidence) -> float:
    r"""Proven bound :math:`1 - \lambda_2 / \lambda_{bound}` of what one gradient layer leaves of the error.

    :math:`\lambda_2` is the smallest eigenvalue of any component that is not zero: computed for graphs of at most 2,048
    nodes, else bounded by :math:`\min_e w_e \cdot 4 / (n (n - 1))`, since a component's diameter is at most `n - 1`.

    Args:
        graph: plain operator; a batch gets the bound of its slowest graph.

    Returns:
        A number in [0, 1); 0 without edges.

    Example:
        >>> import torch
        >>> contraction(Incidence(torch.tensor([[0], [1]])))  # eigenvalues 0 and 2, bound 2
        0.0

    Source: Mohar, "Eigenvalues, diameter, and mean distance in graphs", Graphs and Combinatorics 1991.
    """
    if graph.num_edges == 0:
        return 0.0
    graph = graph.split_components()
    nodes = torch.bincount(graph.batch, minlength=graph.num_graphs).double()
    weight, owner = graph.weight.detach().double(), graph.batch[graph.index[0]]
    lightest = torch.full_like(nodes, math.inf).scatter_reduce(0, owner, weight, "amin")
    low = 4 * lightest / (nodes * (nodes - 1).clamp(min=1))
    high = graph.lambda_bound().detach().double()
    size = int(nodes.max())
    if size <= LARGEST_DENSE and graph.num_graphs * size**2 <= 1 << 24:
        L = PaddedLayout(graph).laplacian_blocks.detach().double()
        eigenvalues = torch.linalg.eigvalsh(L)
        place = (size - nodes.long() + 1).clamp(max=size - 1)  # behind the padding's zeros and the component's own
        second = eigenvalues.gather(1, place.unsqueeze(1)).squeeze(1)
        low = torch.maximum(low, second - 4 * size * torch.finfo(torch.float64).eps * high)
    has_edges = nodes > 1
    rate = (1 - low / high)[has_edges].max()
    return min(max(float(rate), 0.0), math.nextafter(1.0, 0.0))


def depth_for_tolerance(rate: float, tol: float, method: str) -> int:
    """Number of layers after which the bound is at most `tol`."""
    steps = 1.0 if rate <= tol else math.log(tol) / math.log(rate)
    if method == "chebyshev":
        q = _q(rate)
        steps = 1.0 if q <= tol / 2 else math.log(tol / 2) / math.log(q)
    layers = max(math.ceil(math.log2(steps)) if method == "multiplicative" else math.ceil(steps), 1)
    if layers > DEEPEST:
        raise ValueError(
            f"method={method!r} would need {layers} layers for tol={tol:g} on this graph, more than {DEEPEST}; use "
            "method='memory' or 'auto', a looser tol, or max_layers to run a depth of your choice"
        )
    return layers


def proven_bound(rate: float, layers: int, method: str) -> float:
    """Bound of the relative error after so many layers: in the Euclidean norm, and for the residual as well."""
    if method == "chebyshev":
        power = _q(rate) ** layers
        return 2 * power / (1 + power**2)
    return float(rate ** (2.0**layers if method == "multiplicative" else layers))


def run_fixed(
    graph: Incidence, psi: Tensor, num_layers: int, method: str, history: bool
) -> tuple[Tensor, Tensor | None]:
    """Run a transformer of :mod:`graphtf.constructions`, every graph with the step `1 / lambda_bound` of its own.

    Args:
        graph: plain operator.
        psi: `[n, k]` centered demands in its dtype.
        num_layers: depth.
        method: `"gradient"`, `"chebyshev"` or `"multiplicative"`.
        history: whether to return the residuals of all layers.

    Returns:
        Potentials `[n, k]` and `[num_layers + 1, k]` residuals, or `None`.

    Raises:
        ValueError: a graph is too large for dense powers.
    """
    if method == "chebyshev" and graph.num_nodes:
        return _chebyshev(graph, psi, num_layers, history)
    if method == "gradient" or graph.num_nodes == 0:
        return run_transformer(graph, psi, electric_flow(num_layers, 1.0, dtype=psi.dtype), history)
    size = int(torch.bincount(graph.batch).max())
    if size > LARGEST_DENSE:
        raise ValueError(
            f"method='multiplicative' forms dense powers of graphs of at most {LARGEST_DENSE} nodes, but one has "
            f"{size}; use method='memory' or 'auto'"
        )
    inverse = fast_inverse(num_layers, dtype=psi.dtype)
    return run_transformer(graph, psi, inverse, history, lambda scaled: inverse_registers(scaled, 1.0, psi))


def _chebyshev(graph: Incidence, psi: Tensor, num_layers: int, history: bool) -> tuple[Tensor, Tensor | None]:
    """One graph after the other: the coefficients are those of its own spectrum."""
    x, tables = torch.zeros_like(psi), []
    for number in range(graph.num_graphs):
        mask = torch.arange(graph.num_graphs, device=graph.device) == number
        part, nodes = selected(graph, mask)
        if part.num_edges == 0:
            continue
        high = float(part.lambda_bound().max().detach())
        low = min(1 - contraction(part), 1 - 1e-9) * high
        states = chebyshev(num_layers, low, high, dtype=psi.dtype)(
            part, psi=psi[nodes], return_all=history, layout="sparse"
        )
        x = x.index_copy(0, nodes, states[-1] if history else states)
        if history:
            tables.append(torch.stack([relative_residual(part, psi[nodes], state).detach() for state in states]))
    if not history:
        return x, None
    return x, torch.stack(tables).amax(0) if tables else psi.new_zeros(num_layers + 1, psi.shape[1])


def _q(rate: float) -> float:
    root = math.sqrt(1 / max(1 - max(rate, 1e-9), 1e-300))  # as in the run
    return (root - 1) / (root + 1)
