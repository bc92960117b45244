"""The pseudo-inverse by repeated squaring: doubly exponential, for small graphs."""

from __future__ import annotations

import torch
from torch import Tensor

from graphtf.attention import Layer
from graphtf.constructions._weights import attention, check_steps, frozen
from graphtf.incidence import Incidence
from graphtf.layout import SparseLayout
from graphtf.transformer import LinearTransformer


def fast_inverse(num_layers: int, dtype: torch.dtype = torch.float64) -> LinearTransformer:
    r"""Potentials :math:`L^+ \psi` by repeated squaring, the multiplicative construction.

    .. math:: x_{l+1} = x_l + M_l x_l, \quad M_{l+1} = M_l^2, \qquad
        x_l = \delta \prod_{j<l} (I + M_0^{2^j}) \psi \to L^+ \psi, \qquad M_0 = I - \Pi - \delta L

    with :math:`\Pi` the projector on the vectors that are constant on components. One layer: the score is
    :math:`M I^\top = M` (queries read register `M`, keys the one-hot register `identity`), values X to X and M to M of
    1, skip M to M of -1. For :math:`\delta \le 1 / \lambda_{max}` the relative error after `l` layers is at most
    :math:`(1 - \delta \lambda_2)^{2^l}`. Registers have as many columns as the largest graph has nodes:
    a layer costs :math:`n^3`.

    Args:
        num_layers: depth `l`.
        dtype: floating type of the weights.

    Returns:
        A transformer with registers `identity`, `M` and `x`, which it reads out. Start it at
        :func:`inverse_registers`.

    Raises:
        ValueError: the depth is not positive.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> B = Incidence(torch.tensor([[0, 1], [1, 2]]))  # a path
        >>> start = inverse_registers(B, delta=0.25, psi=torch.tensor([2.0, -1.0, -1.0]))
        >>> x = fast_inverse(6)(B, **start)[:, 0]
        >>> [round(value, 4) for value in x.tolist()]
        [1.6667, -0.3333, -1.3333]

    Reference: Cheng, Carin, Sra, ICLR 2025, Lemma on the fast (multiplicative) inverse.
    """
    check_steps(num_layers)
    names = ("identity", "M", "x")
    layers: list[Layer] = [
        attention(
            names,
            {("x", "x"): 1.0, ("M", "M"): 1.0},
            {("M", "M"): -1.0},
            dtype,
            score={("M", "identity"): 1.0},
        )
        for _ in range(num_layers)
    ]
    return frozen(layers, names, "x")


def inverse_registers(graph: Incidence, delta: float, psi: Tensor | None = None) -> dict[str, Tensor]:
    r"""Initial registers of :func:`fast_inverse`: :math:`I`, :math:`M_0 = I - \Pi - \delta L`, :math:`\delta \psi`.

    Args:
        graph: incidence operator of a graph or a batch, whose largest graph has `N` nodes.
        delta: step size, at most `1 / lambda_max`.
        psi: `[n]` or `[n, k]` demands, zero sum on every component; `None` means the projector :math:`I - \Pi`, for
            which the answer is :math:`L^+` itself.

    Returns:
        `identity`, `M` and `x`, each `[n, max(N, k)]`; column `j` of the first two belongs to the node at position
        `j` of its graph, and `x` starts with the columns of `psi`.

    Raises:
        ValueError: `delta` is not positive, or `psi` has another number of rows.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> start = inverse_registers(Incidence(torch.tensor([[0], [1]])), delta=0.25)
        >>> start["M"]
        tensor([[ 0.2500, -0.2500],
                [-0.2500,  0.2500]])
    """
    check_steps(1, delta=delta)
    identity = one_hot(graph)
    M = graph.center(identity)
    psi = M if psi is None else psi if psi.dim() > 1 else psi.unsqueeze(1)
    if psi.dim() != 2 or psi.shape[0] != graph.num_nodes:
        raise ValueError(f"psi must be [{graph.num_nodes}] or [{graph.num_nodes}, k], but has shape {list(psi.shape)}")
    columns = max(identity.shape[1], psi.shape[1])
    return {
        "identity": _widened(identity, columns),
        "M": _widened(M - delta * (graph.laplacian @ identity), columns),
        "x": _widened(delta * psi.to(graph.dtype), columns),
    }


def one_hot(graph: Incidence) -> Tensor:
    """`[n, N]` identity of every graph of a batch, `N` the size of the largest: the initial state of whole kernels.

    Example:
        >>> import torch
        >>> from graphtf import Incidence
        >>> one_hot(Incidence(torch.tensor([[0], [1]]), num_nodes=3, batch=torch.tensor([0, 0, 1])))
        tensor([[1., 0.],
                [0., 1.],
                [1., 0.]])
    """
    return SparseLayout(graph).identity()


def _widened(x: Tensor, columns: int) -> Tensor:
    return torch.cat([x, x.new_zeros(x.shape[0], columns - x.shape[1])], dim=1)
